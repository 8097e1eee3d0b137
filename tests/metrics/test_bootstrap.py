"""Intervals over subjects."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segtrust.metrics import Resamples, bootstrap_of, cluster_bootstrap

FORTY = [str(i) for i in range(40)]


def mean_of(values):
    return lambda rows: float(np.mean([values[i] for i in rows]))


def test_the_figure_itself_is_that_of_all_scans():
    assert cluster_bootstrap(["a", "b", "b"], mean_of([1.0, 2.0, 6.0])).value == 3.0


def test_every_scan_counts_once_then_each_subject_is_left_out_then_come_the_draws():
    subjects = [str(i // 2) for i in range(60)]
    resamples = Resamples.of(subjects, draws=7)
    times = resamples.times
    assert times.shape == (1 + 30 + 7, 60)
    assert (times[0] == 1).all()
    for scan, subject in enumerate(subjects):
        left_out = sorted(set(subjects)).index(subject)
        assert [k for k in range(30) if times[1 + k, scan] == 0] == [left_out]
    assert (times.sum(axis=1)[31:] == 60).all()  # 30 subjects drawn, two scans each
    assert np.array_equal(times[:, 0::2], times[:, 1::2])
    assert [len(rows) for rows in resamples.rows()] == [60] + [58] * 30 + [60] * 7


def test_subjects_are_drawn_inside_their_stratum():
    strata = [i % 3 for i in range(40)]
    times = Resamples.of(FORTY, strata=strata, draws=20).times[41:]
    for stratum in range(3):
        inside = [i for i in range(40) if strata[i] == stratum]
        assert (times[:, inside].sum(axis=1) == len(inside)).all()


def test_fewer_than_thirty_subjects_give_no_interval():
    seen = []
    got = cluster_bootstrap(
        [str(i) for i in range(29)] * 2, lambda rows: seen.append(rows) or float(len(rows))
    )
    assert got.to_json() == {
        "value": 58.0, "low": None, "high": None, "subjects": 29, "interval": "n too small"
    }  # fmt: skip
    assert len(seen) == 1  # no draw is taken in vain


def test_scans_without_the_figure_count_neither_as_scans_nor_as_subjects():
    values = np.r_[np.full(31, 0.5), np.full(9, np.nan)]
    got = cluster_bootstrap(FORTY, mean_of(values), where=np.isfinite(values))
    assert (got.value, got.subjects, got.method) == (0.5, 31, "studentised")
    nobody = cluster_bootstrap(FORTY, mean_of(values), where=np.zeros(40, bool)).to_json()
    assert nobody == {"value": None, "low": None, "high": None, "subjects": 0, "interval": "not defined"}


def test_a_figure_that_hangs_on_one_subject_has_no_interval():
    got = cluster_bootstrap(FORTY, lambda rows: 1.0 if 3 in rows else math.nan)
    assert (got.value, got.method) == (1.0, "not defined")
    assert math.isnan(got.low)


def test_the_interval_of_a_mean_is_students_at_least():
    values = np.random.default_rng(0).normal(0, 1, 200)
    got = cluster_bootstrap([str(i) for i in range(200)], mean_of(values), draws=2000)
    low, high = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    assert got.low <= low + 1e-12
    assert got.high >= high - 1e-12
    # of normal values the studentised draws have nearly Student's quantiles: at most a tenth wider
    assert got.high - got.low < 1.1 * (high - low)


def test_the_interval_reaches_further_to_the_side_of_the_long_tail():
    values = np.random.default_rng(0).lognormal(0, 1, 60)
    got = cluster_bootstrap([str(i) for i in range(60)], mean_of(values))
    assert got.high - got.value > 1.2 * (got.value - got.low)


def test_copies_of_a_scan_do_not_narrow_the_interval():
    values = list(np.random.default_rng(1).normal(0, 1, 40))
    once = cluster_bootstrap(FORTY, mean_of(values))
    thrice = cluster_bootstrap(FORTY * 3, mean_of(values * 3))
    assert (thrice.low, thrice.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert thrice.subjects == 40


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=30, max_size=34), st.integers(0, 99))
def test_an_interval_holds_the_figure_keeps_its_limits_and_follows_from_the_seed(values, seed):
    subjects = [str(i) for i in range(len(values))]
    got = cluster_bootstrap(subjects, mean_of(values), kind="share", draws=60, seed=seed)
    assert 0 <= got.low <= got.value + 1e-12
    assert got.value - 1e-12 <= got.high <= 1
    assert cluster_bootstrap(subjects, mean_of(values), kind="share", draws=60, seed=seed) == got


def test_turning_all_values_turns_the_interval():
    values = np.random.default_rng(4).exponential(size=40)
    one, other = (cluster_bootstrap(FORTY, mean_of(v)) for v in (values, -values))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_one_failure_among_equals_gives_a_finite_interval():
    # most draws without it have no spread at all
    got = cluster_bootstrap(FORTY, mean_of([0.0] * 39 + [-0.5]))
    # the spread of a draw is at least a fifth of .0125: at most 5 of that on either side
    assert (got.low, got.high) == (pytest.approx(-0.075, rel=0.01), pytest.approx(0.05, rel=0.01))


def test_a_correlation_stays_below_one_and_is_studentised_as_fishers_z():
    rng = np.random.default_rng(5)
    x = rng.normal(size=40)
    y = x + 0.1 * rng.normal(size=40)
    got = cluster_bootstrap(
        FORTY, lambda rows: float(np.corrcoef(x[list(rows)], y[list(rows)])[0, 1]), kind="correlation"
    )
    assert 0.97 < got.low < got.value < got.high < 1
    assert math.atanh(got.high) - math.atanh(got.value) >= stats.t.ppf(0.975, 39) * 0.1
    alike = cluster_bootstrap(FORTY, lambda _: 1.0, kind="correlation")
    assert (alike.low, alike.high) == (pytest.approx(1), pytest.approx(1))


def test_a_difference_is_paired_if_one_statistic_holds_both_systems():
    # two systems with the same hard and easy subjects, the second better by about .1 everywhere
    rng = np.random.default_rng(2)
    first = rng.normal(0, 1, 40)
    second = first + 0.1 + rng.normal(0, 0.01, 40)
    paired = cluster_bootstrap(FORTY, lambda rows: mean_of(second)(rows) - mean_of(first)(rows), draws=500)
    # every draw takes the same subjects from both: the spread of subjects cancels, .01 / sqrt(40) is left
    assert 0.09 < paired.low < paired.high < 0.11
    apart = [cluster_bootstrap(FORTY, mean_of(v), draws=500, seed=s) for s, v in enumerate((first, second))]
    assert apart[0].low < apart[1].value < apart[0].high  # intervals of each alone say nothing


def test_a_result_says_which_bootstrap_its_intervals_are_from():
    new = cluster_bootstrap(FORTY, mean_of([0.0, 1.0] * 20)).to_json()
    few = cluster_bootstrap(["a"], mean_of([1.0])).to_json()
    old = {"value": 0.8, "low": 0.7, "high": 0.9, "subjects": 12}
    assert bootstrap_of({"a": [new], "b": few}) == "studentised bootstrap"
    assert bootstrap_of({"a": old}) == "percentile bootstrap"
    assert bootstrap_of({"a": old, "b": [new]}) == "studentised or percentile bootstrap"


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        lambda rng, n: rng.normal(0, 1, n),
        lambda rng, n: rng.lognormal(0, 0.75, n) - math.exp(0.75**2 / 2),
        lambda rng, n: 10.0 * (0.1 - (rng.random(n) < 0.1)) + rng.normal(0, 1, n),
    ],
    ids=["normal", "skewed", "one in ten fails"],
)
def test_thirty_subjects_cover_what_is_promised(law):
    rng, resamples = np.random.default_rng(8), Resamples.of([str(i) for i in range(30)])
    held = 0
    for _ in range(1500):
        got = resamples.interval(resamples.times @ law(rng, 30) / resamples.times.sum(axis=1))
        held += got.low <= 0 <= got.high
    # .93 less twice the standard error of 1500 draws, .0066
    assert held / 1500 >= 0.917
