"""Structures that a model usually finds: missing ones are doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.errors import ModelError
from segtrust.quality import ExpectedStructures, fit_expected
from segtrust.scores import StructureScores, scan_doubt

SIZES = (900.0, 1000.0, 1100.0) * 4
HALF = (*SIZES[:6], *[None] * 6)
EXPECTED = ExpectedStructures({1: SIZES, 2: HALF}, "mm3")


def structure(doubt, size=None):
    return StructureScores(None, None, None, None if doubt is None else 1 - doubt, None, size=size)


MISSING = structure(None)


def test_structures_that_are_there_count_what_they_are():
    assert EXPECTED.doubt({1: structure(0.3), 2: structure(0.5)}) == pytest.approx(0.4)


def test_a_missing_expected_structure_counts_one():
    both = ExpectedStructures({1: SIZES, 2: SIZES}, "mm3")
    assert both.doubt({1: structure(0.3), 2: MISSING}) == pytest.approx((0.3 + 1) / 2)


def test_a_missing_structure_that_half_of_the_scans_lack_is_left_out():
    assert EXPECTED.doubt({1: structure(0.3), 2: MISSING}) == pytest.approx(0.3)


@pytest.mark.parametrize(("found", "is_expected"), [(10, True), (9, True), (8, False)])
def test_nine_of_ten_scans_make_an_expectation(found, is_expected):
    sizes = {1: (1.0,) * found + (None,) * (10 - found)}
    assert ExpectedStructures(sizes, "voxels").is_expected(1) is is_expected


def test_an_empty_prediction_is_the_most_doubtful_of_all():
    assert EXPECTED.doubt({1: MISSING, 2: MISSING}) == 1.0


def test_nothing_predicted_and_nothing_expected_is_not_defined():
    assert ExpectedStructures({2: HALF}, "mm3").doubt({2: MISSING}) is None


def test_a_structure_that_the_calibration_scans_do_not_know_is_not_expected():
    assert EXPECTED.doubt({1: structure(0.3), 3: MISSING}) == pytest.approx(0.3)


@given(st.dictionaries(st.integers(1, 3), st.none() | st.floats(0, 1), min_size=1))
def test_expecting_never_lowers_the_doubt_of_what_is_predicted(doubts):
    details = {value: structure(own) for value, own in doubts.items()}
    expected = ExpectedStructures({1: SIZES, 2: SIZES, 3: HALF}, "mm3")
    plain, completed = scan_doubt(details), expected.doubt(details)
    if plain is not None:
        assert completed >= plain - 1e-12  # a sum of at most three float64 numbers


def test_fewer_than_ten_subjects_say_nothing():
    scans = [{1: structure(0.2, 100.0)}] * 10
    assert fit_expected(scans[:9], "mm3") is None
    assert fit_expected(scans, "mm3").sizes == {1: (100.0,) * 10}


def test_what_is_written_can_be_read():
    fitted = fit_expected([{1: structure(0.2, 100.0 / 3), 2: MISSING}] * 10, "voxels")
    assert ExpectedStructures.from_json(fitted.to_json()) == fitted
    assert fitted.to_json()["sizes"]["1"][0] == 33.3333


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"unit": "ml", "sizes": {"1": [1.0]}},
        {"unit": "mm3", "sizes": {"1": [0.0]}},
        {"unit": "mm3", "sizes": {"1": [float("nan")]}},
        {"unit": "mm3", "sizes": [1.0]},
    ],
    ids=["empty", "unit", "zero", "nan", "list"],
)
def test_a_damaged_part_is_refused(document):
    with pytest.raises(ModelError, match="expected structures must have"):
        ExpectedStructures.from_json(document)
