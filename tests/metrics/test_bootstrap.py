"""Intervals over subjects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.metrics import cluster_bootstrap


def mean_of(values):
    return lambda rows: float(np.mean([values[i] for i in rows]))


def test_the_figure_itself_is_that_of_all_scans():
    assert cluster_bootstrap(["a", "b", "b"], mean_of([1.0, 2.0, 6.0]), draws=5).value == 3.0


def test_scans_of_one_subject_are_drawn_together():
    seen = []
    cluster_bootstrap(["a", "b", "b", "a"], lambda rows: seen.append(sorted(rows)) or 0.0, draws=50)
    # two draws of two subjects: both scans of a subject are in, or neither is
    assert {tuple(rows) for rows in seen[:-1]} == {(0, 0, 3, 3), (1, 1, 2, 2), (0, 1, 2, 3)}


def test_the_interval_of_a_mean_agrees_with_its_standard_error():
    values = np.random.default_rng(0).normal(0, 1, 200)
    got = cluster_bootstrap([str(i) for i in range(200)], mean_of(values), draws=2000)
    # normal theory: mean +- 1.96 s / sqrt(n), to within a tenth of its width
    half = 1.96 * values.std() / np.sqrt(200)
    assert got.low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert got.high == pytest.approx(values.mean() + half, abs=0.2 * half)


def test_copies_of_a_scan_do_not_narrow_the_interval():
    values = list(np.random.default_rng(1).normal(0, 1, 20))
    once = cluster_bootstrap([str(i) for i in range(20)], mean_of(values))
    thrice = cluster_bootstrap([str(i % 20) for i in range(60)], mean_of(values * 3))
    assert (thrice.low, thrice.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert thrice.subjects == 20


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.integers(0, 99))
def test_an_interval_is_ordered_and_follows_from_the_seed(values, seed):
    subjects = [str(i) for i in range(len(values))]
    got = cluster_bootstrap(subjects, mean_of(values), draws=30, seed=seed)
    assert got.low <= got.high
    assert cluster_bootstrap(subjects, mean_of(values), draws=30, seed=seed) == got


def test_draws_without_a_figure_are_left_out():
    got = cluster_bootstrap(["a", "b"], lambda rows: float("nan") if 0 not in rows else 2.0, draws=50)
    assert (got.low, got.high) == (2.0, 2.0)


def test_an_interval_is_plain_numbers():
    got = cluster_bootstrap(["a"], lambda rows: 1.0, draws=3).to_json()
    assert got == {"value": 1.0, "low": 1.0, "high": 1.0, "subjects": 1}


def test_a_difference_is_paired_if_one_statistic_holds_both_systems():
    # two systems with the same hard and easy subjects, the second better by about .1 everywhere
    rng = np.random.default_rng(2)
    first = rng.normal(0, 1, 40)
    second = first + 0.1 + rng.normal(0, 0.01, 40)
    subjects = [str(i) for i in range(40)]
    paired = cluster_bootstrap(subjects, lambda rows: mean_of(second)(rows) - mean_of(first)(rows), draws=500)
    # every draw takes the same subjects from both: the spread of subjects cancels, .01 / sqrt(40) is left
    assert 0.09 < paired.low < paired.high < 0.11
    apart = [
        cluster_bootstrap(subjects, mean_of(v), draws=500, seed=s) for s, v in enumerate((first, second))
    ]
    assert apart[0].low < apart[1].value < apart[0].high  # intervals of each alone say nothing
