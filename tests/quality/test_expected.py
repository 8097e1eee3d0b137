"""Structures that a model usually finds: missing or tiny ones are doubt."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.errors import ModelError
from segtrust.quality import ExpectedStructures, fit_expected
from segtrust.scores import StructureScores, scan_doubt

# ln sizes -0.2 .. 0.2: median 0, median absolute deviation 0.1, so a spread of 0.14826
SIZES = tuple(1000 * math.exp(0.1 * step) for step in (-2, -2, -1, -1, -1, 0, 1, 1, 1, 2, 2))
EXPECTED = ExpectedStructures({1: SIZES, 2: (*SIZES[:5], *[None] * 6)}, "mm3")


def structure(doubt, size=None):
    return StructureScores(*[None] * 5, entropy_share=doubt, size=size)


MISSING = structure(None)


def test_structures_of_usual_size_count_what_they_are():
    assert EXPECTED.doubt({1: structure(0.3, 1000.0), 2: structure(0.5, 900.0)}, "mm3") == pytest.approx(0.4)


def test_a_missing_expected_structure_counts_one():
    both = ExpectedStructures({1: SIZES, 2: SIZES}, "mm3")
    assert both.doubt({1: structure(0.3, 1000.0), 2: MISSING}, "mm3") == pytest.approx((0.3 + 1) / 2)


def test_a_missing_structure_that_half_of_the_scans_lack_is_left_out():
    assert EXPECTED.doubt({1: structure(0.3, 1000.0), 2: MISSING}, "mm3") == pytest.approx(0.3)


def test_an_empty_prediction_is_the_most_doubtful_of_all():
    assert EXPECTED.doubt({1: MISSING, 2: MISSING}, "mm3") == 1.0


def test_nothing_predicted_and_nothing_expected_is_not_defined():
    rare = ExpectedStructures({2: EXPECTED.sizes[2]}, "mm3")
    assert rare.doubt({2: MISSING}, "mm3") is None


def test_a_tiny_structure_counts_its_tail_probability_by_hand():
    # 2.5 spreads below the median: Phi(-2.5) = .00621, presence .00621 / .05 = .1242,
    # doubt 1 - .1242 * (1 - .2) = .9006
    tiny = 1000 * math.exp(-2.5 * 0.14826)
    assert EXPECTED.presence(1, tiny, "mm3") == pytest.approx(0.1242, abs=1e-4)
    assert EXPECTED.doubt({1: structure(0.2, tiny)}, "mm3") == pytest.approx(0.9006, abs=1e-4)


def test_a_large_structure_is_there():
    assert EXPECTED.presence(1, 1e6, "mm3") == 1.0


def test_sizes_in_another_unit_are_not_compared():
    assert EXPECTED.presence(1, 1.0, "voxels") == 1.0
    assert EXPECTED.presence(1, None, "voxels") == 0.0


def test_equal_sizes_leave_some_room():
    same = ExpectedStructures({1: (100.0,) * 12}, "voxels")
    assert same.presence(1, 98.0, "voxels") == 1.0
    assert same.presence(1, 50.0, "voxels") == pytest.approx(0, abs=1e-9)


@given(st.lists(st.floats(1, 1e6), min_size=10, max_size=30), st.floats(0.1, 1e7), st.floats(1, 100))
def test_presence_never_falls_with_size(sizes, size, factor):
    expected = ExpectedStructures({1: tuple(sizes)}, "mm3")
    small, large = (expected.presence(1, s, "mm3") for s in (size, size * factor))
    assert 0 <= small <= large <= 1


@given(
    st.dictionaries(st.integers(1, 3), st.none() | st.floats(0, 0.99), min_size=1),
    st.floats(0.1, 1e4),
)
def test_expecting_never_lowers_the_doubt_of_what_is_predicted(shares, size):
    details = {v: structure(share, None if share is None else size) for v, share in shares.items()}
    expected = ExpectedStructures({1: SIZES, 2: SIZES, 3: EXPECTED.sizes[2]}, "mm3")
    plain, completed = scan_doubt(details), expected.doubt(details, "mm3")
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


def test_small_numbers_of_subjects_do_not_make_a_usual_size_tiny():
    # of sizes that come from one log-normal law, a new one is called tiny in about 5 %: with 26 subjects and
    # an estimated median and spread somewhat more. 2000 draws: standard error below .008
    rng = np.random.default_rng(0)
    logs = rng.normal(0, 0.3, (2000, 27))
    tiny = [
        ExpectedStructures({1: tuple(np.exp(row[:26]))}, "mm3").presence(1, float(np.exp(row[26])), "mm3") < 1
        for row in logs
    ]
    assert np.mean(tiny) == pytest.approx(0.07, abs=0.025)
