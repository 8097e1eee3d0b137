"""Candidates for the doubt of a scan: by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.experiments.doubt import CANDIDATES, Candidate, compare, excess_aurc, mixed, presence_of
from segtrust.experiments.fold_ranking import ScoredScan, completed, expected_by_fold
from segtrust.quality import ExpectedStructures, StructureTruth
from segtrust.scores import ScanScores, StructureScores

EXPECTED = ExpectedStructures({1: (90.0, 100.0, 110.0) * 4, 2: (90.0, 100.0, 110.0) * 4}, "voxels")


def structure(entropy, size=100.0):
    if entropy is None:
        return StructureScores(*[None] * 5)
    return StructureScores(entropy, None, None, 1 - entropy, None, size=size, entropy_share=entropy)


def scan(index, dice, *structures, fold=0):
    details = dict(enumerate(structures, start=1))
    scores = ScanScores(None, None, None, None, None, None, 0.0, {}, details)
    truth = {value: StructureTruth(dice, None, None) for value in details}
    return ScoredScan(f"s{index}", f"p{index}", fold, np.array([dice]), scores, {}, truth)


def test_candidates_differ_in_what_is_missing_and_what_is_tiny():
    one = scan(0, 0.9, structure(0.2), structure(None))
    tiny = scan(1, 0.9, structure(0.2, 1.0), structure(0.4))
    assert Candidate("entropy").of(one, EXPECTED) == pytest.approx(0.2)
    assert Candidate("entropy", missing=True).of(one, EXPECTED) == pytest.approx((0.2 + 1) / 2)
    assert Candidate("soft Dice", missing=True).of(tiny, EXPECTED) == pytest.approx(0.3)
    assert Candidate("entropy share", missing=True, tiny=True).of(tiny, EXPECTED) == pytest.approx(0.7)
    assert Candidate("entropy", missing=True).of(one, None) == pytest.approx(0.2)


def test_soft_dice_with_what_is_missing_is_what_versions_compute():
    candidate = Candidate("soft Dice", missing=True)
    scans = [scan(i, 0.9, structure(0.1 * i, 80.0 + i), structure(None)) for i in range(1, 5)]
    assert [candidate.of(s, EXPECTED) for s in scans] == pytest.approx(
        [s.scores.doubt for s in completed(scans, {0: EXPECTED})]
    )


def test_a_tiny_structure_counts_its_tail_probability_by_hand():
    # ln sizes -.2 to .2: median 0, median absolute deviation .1, spread .14826. 2.5 spreads below the median:
    # Phi(-2.5) = .00621, over .05 = .1242
    sizes = tuple(1000 * math.exp(0.1 * step) for step in (-2, -2, -1, -1, -1, 0, 1, 1, 1, 2, 2))
    usual = ExpectedStructures({1: sizes}, "voxels")
    assert presence_of(usual, 1, 1000 * math.exp(-2.5 * 0.14826)) == pytest.approx(0.1242, abs=1e-4)
    assert presence_of(usual, 1, None) == 0.0
    assert presence_of(usual, 2, None) == 1.0  # not expected


@given(st.lists(st.floats(1, 1e6), min_size=10, max_size=30), st.floats(0.1, 1e7), st.floats(1, 100))
def test_presence_never_falls_with_size(sizes, size, factor):
    usual = ExpectedStructures({1: tuple(sizes)}, "mm3")
    small, large = (presence_of(usual, 1, s) for s in (size, size * factor))
    assert 0 <= small <= large <= 1


def test_what_a_fold_expects_comes_from_the_other_folds():
    scans = [scan(i, 0.9, structure(0.1, 10.0 * (1 + i % 2)), fold=i % 2) for i in range(24)]
    expected = expected_by_fold(scans)
    assert expected[0].sizes == {1: (20.0,) * 12}
    assert expected[0].unit == "voxels"
    assert expected_by_fold(scans[:18])[0] is None  # nine subjects


def test_hard_scans_take_the_place_of_clean_ones():
    clean, hard = [scan(i, 0.9, structure(0.1)) for i in range(3)], scan(1, 0.2, structure(0.5))
    assert mixed(clean, [hard]) == [clean[0], hard, clean[2]]


@given(st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=2, max_size=8, unique=True))
def test_the_best_order_has_no_excess_and_no_information_has_all_of_it(risks):
    assert excess_aurc(risks, risks) == pytest.approx(0, abs=1e-9)
    # equal scores share the mean of their risks
    assert excess_aurc([0.5] * len(risks), risks) == pytest.approx(1, abs=1e-9)


def test_equal_risks_have_no_order():
    assert np.isnan(excess_aurc([0.1, 0.2], [0.5, 0.5]))


def test_a_comparison_of_a_score_that_orders_and_one_that_does_not():
    # every second scan misses structure 2, and loses half of its Dice
    clean = [scan(i, 0.9 - i / 100, structure(0.1 + i / 100), structure(0.3), fold=i % 2) for i in range(8)]
    hard = [
        scan(i, 0.45 - i / 100, structure(0.1 + i / 100), structure(None), fold=i % 2) for i in range(2, 8, 4)
    ]
    found = compare(
        {"clean": {"clean": clean}, "missed": {"missed": mixed(clean, hard)}}, {0: EXPECTED, 1: EXPECTED}
    )
    assert set(found) == {str(candidate) for candidate in CANDIDATES}
    assert found["entropy"]["spearman"]["clean"] == pytest.approx(-1)
    excess = found["entropy + missing"]["excess_aurc"]
    assert excess == {"clean": pytest.approx(0), "missed": pytest.approx(0)}
    assert found["entropy"]["excess_aurc"]["missed"] > 0.5
    assert found["entropy + missing"]["less"]["value"] > 0
    json.dumps(found, allow_nan=False)
