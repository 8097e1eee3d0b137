"""The order in which scans are looked at."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.selection import rank_scans, uniform_order
from strategies import score_tables


def test_the_least_sure_scan_comes_first():
    got = rank_scans({"sure": 0.1, "unsure": 0.9, "middle": 0.5})
    assert [(r.scan_id, r.rank, r.of) for r in got] == [("unsure", 1, 3), ("middle", 2, 3), ("sure", 3, 3)]


def test_equal_scores_are_in_order_of_their_names():
    assert [r.scan_id for r in rank_scans({"b": 0.5, "a": 0.5})] == ["a", "b"]


def test_a_scan_without_score_comes_last_even_after_zero():
    assert [r.scan_id for r in rank_scans({"none": None, "zero": 0.0})] == ["zero", "none"]


@given(score_tables(), st.randoms())
def test_the_order_of_the_input_changes_nothing(scores, random):
    items = list(scores.items())
    random.shuffle(items)
    assert rank_scans(dict(items)) == rank_scans(scores)


@given(score_tables())
def test_every_scan_is_ranked_once_and_scores_fall(scores):
    ranked = rank_scans(scores)
    assert sorted(r.scan_id for r in ranked) == sorted(scores)
    assert [r.rank for r in ranked] == list(range(1, len(scores) + 1))
    known = [r.score for r in ranked if r.score is not None]
    assert known == sorted(known, reverse=True)


@given(st.sets(st.text("abc", max_size=3), max_size=8), st.integers(0, 2**31))
def test_a_uniform_order_has_every_scan_once_and_follows_from_the_seed(scans, seed):
    first = uniform_order(scans, seed)
    assert sorted(first) == sorted(scans)
    assert uniform_order(sorted(scans, reverse=True), seed) == first


def test_every_scan_comes_first_equally_often():
    first = Counter(uniform_order(["a", "b", "c"], seed)[0] for seed in range(900))
    # 300 expected, standard deviation sqrt(900 * 1/3 * 2/3) = 14: five of them is 70
    assert all(count == pytest.approx(300, abs=70) for count in first.values())
    assert len(first) == 3


def test_a_score_that_is_not_a_number_counts_as_undefined_wherever_it_stands():
    for scores in ({"a": math.nan, "b": 0.1}, {"b": 0.1, "a": math.nan}):
        assert [(r.scan_id, r.score) for r in rank_scans(scores)] == [("b", 0.1), ("a", None)]
