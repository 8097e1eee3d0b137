"""Intervals from two scores by full conformal prediction: by hand, by a slow loop, and by simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.errors import ModelError
from segtrust.quality import Regression, Ridge, Rows, fit_regression, fit_ridge
from segtrust.quality.ridge import PENALTY, RIDGE_SCORES


def rows(target, ordinary=None, subjects=None, **scores):
    n = len(target)
    return Rows(
        subjects or [f"s{i:02d}" for i in range(n)],
        {name: np.asarray(values, float) for name, values in scores.items()},
        np.asarray(target, float),
        np.ones(n, bool) if ordinary is None else np.asarray(ordinary, bool),
    )


def ridge_of(x, y):
    return Ridge({name: tuple(map(float, column)) for name, column in zip("ab", x.T, strict=False)},
                 tuple(map(float, y)))  # fmt: skip


def point(x):
    return dict(zip("ab", map(float, x), strict=False))


def left_out_error(x, y, i):
    """Of a ridge on the others, with the centre, spread and penalty of all; the slow way."""
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    others = np.arange(len(y)) != i
    design = np.c_[np.ones(len(y)), z]
    penalty = PENALTY * len(y) * np.diag([0.0, 1.0, 1.0])
    left = design[others]
    weights = np.linalg.solve(left.T @ left + penalty, left.T @ y[others])
    return abs(y[i] - design[i] @ weights)


def is_usual(x, y, coverage):
    """Whether the last scan is not stranger than the others."""
    errors = [left_out_error(x, y, i) for i in range(len(y))]
    count = sum(e >= errors[-1] - 1e-12 for e in errors[:-1])
    return count + 1 > (1 - coverage) * len(y) + 1e-9


def test_without_a_telling_score_the_interval_is_that_of_ranks_around_the_mean():
    # with the new one at y, left-out errors are (11 y_i - y) / 10 and y; of y_i = -4.5 it is y at y = 5.5
    y = np.arange(-4.5, 5.0)
    low, high = ridge_of(np.zeros((10, 1)), y).interval({"a": 0.0}, 0.9)
    assert (low, high) == (pytest.approx(-5.5), pytest.approx(5.5))


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_the_ends_are_where_a_slow_loop_over_values_finds_them(coverage):
    draw = np.random.default_rng(3)
    x = draw.normal(size=(13, 2))
    y = x @ (1.0, -0.5) + 0.5 * draw.normal(size=13)
    low, high = ridge_of(x[:-1], y[:-1]).interval(point(x[-1]), coverage)
    for value, inside in ((low + 1e-6, True), (high - 1e-6, True), (low - 1e-6, False), (high + 1e-6, False)):
        assert is_usual(x, np.r_[y[:-1], value], coverage) == inside


def test_a_score_that_is_the_same_in_all_scans_changes_nothing():
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=20), draw.normal(size=20)
    alone = ridge_of(x[:, None], y).interval({"a": 0.3}, 0.9)
    for same in (0.05, 0.1, 7.7e9):  # their means are rounded
        both = ridge_of(np.c_[x, np.full(20, same)], y).interval({"a": 0.3, "b": same}, 0.9)
        assert both == pytest.approx(alone, abs=1e-9)


def test_too_few_subjects_and_scores_that_are_no_numbers_give_no_interval():
    x, y = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9.0)
    nine = ridge_of(x, y)
    assert nine.interval(point(x[0]), 0.9) is not None
    assert nine.interval(point(x[0]), 0.91) is None  # takes ten
    for wrong in (None, math.nan, math.inf):
        assert nine.interval({"a": 0.0, "b": wrong}, 0.9) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5.3, 5.3), min_size=10, max_size=12), st.floats(-50, 50), st.integers(0, 99))
def test_every_interval_is_a_pair_of_ends_in_order_also_with_equal_scores_and_a_scan_far_away(y, far, seed):
    x = np.round(np.random.default_rng(seed).normal(size=(len(y), 2)))
    low, high = ridge_of(x, y).interval({"a": far, "b": -far}, 0.8)
    assert low <= high  # neither is NaN


def test_ordinary_scans_of_one_each_make_a_ridge_and_several_scans_of_a_subject_none():
    y = np.arange(12.0)
    both = dict.fromkeys(RIDGE_SCORES, y)
    half = np.arange(12) < 10
    assert fit_ridge(rows(y, ordinary=half, **both)).target == tuple(y[:10])
    assert fit_ridge(rows(y, subjects=["s00", *(f"s{i:02d}" for i in range(11))], **both)) is None
    holed = {**both, RIDGE_SCORES[0]: np.where(y == 3, np.nan, y)}
    assert set(fit_ridge(rows(y, **holed)).scores) == {RIDGE_SCORES[1]}
    assert fit_ridge(rows(y)) is None


def test_a_ridge_without_a_subject_never_saw_it():
    x, y = np.random.default_rng(0).normal(size=(11, 2)), np.arange(11.0)
    whole, rest = ridge_of(x, y), ridge_of(np.delete(x, 4, axis=0), np.delete(y, 4))
    assert whole.without(4) == rest
    assert whole.of(4) == point(x[4])


def test_a_ridge_is_read_as_it_was_written_and_refused_where_a_number_is_missing():
    ridge = ridge_of(np.arange(20.0).reshape(10, 2), np.arange(10.0))
    assert Ridge.from_json(ridge.to_json()) == ridge
    one_less = {"scores": {"a": [1.0]}, "target": [1.0, 2.0]}
    not_a_number = {"scores": {"a": [math.nan]}, "target": [1.0]}
    for wrong in ({"scores": {}}, {"scores": [1.0], "target": []}, one_less, not_a_number):
        with pytest.raises(ModelError, match="a ridge must have"):
            Ridge.from_json(wrong)


def test_a_regression_without_a_ridge_keeps_the_intervals_of_its_lines():
    fitted = fit_regression(rows(np.arange(10.0)), [])
    assert Regression.from_json(fitted.to_json()).ridge is None
    assert fitted.narrow_interval({}, 0.8) == fitted.interval({}, 0.8)


def test_where_the_line_predicts_a_value_beyond_the_ridge_the_two_intervals_are_joined():
    y = np.linspace(-1, 1, 12)
    fitted = replace(fit_regression(rows(y, sure=y), ["sure"]), ridge=ridge_of(np.zeros((12, 1)), y))
    narrow, near, far = (
        fitted.ridge.interval({"a": 0.0}, 0.9),
        {"a": 0.0, "sure": 0.5},
        {"a": 0.0, "sure": 9.0},
    )
    assert fitted.narrow_interval(near, 0.9) == narrow
    low, high = fitted.narrow_interval(far, 0.9)
    assert (low, high) == (narrow[0], fitted.interval(far, 0.9)[1])
    assert low < fitted.predict(far) <= high


def test_where_a_score_lies_beyond_those_of_the_calibration_scans_the_two_intervals_are_joined():
    x = np.linspace(0, 1, 12)
    ridge = ridge_of(x[:, None], np.cos(40 * x))
    wide = (-9.0, 9.0)
    for value, is_known in ((0.0, True), (1.0, True), (1.01, False), (-0.01, False)):
        scan = {"a": value}
        assert ridge.knows(scan) == is_known
        narrow = ridge.interval(scan, 0.9)
        assert ridge.beside(wide, sum(narrow) / 2, scan, 0.9) == (narrow if is_known else wide)


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 20, 50])
@pytest.mark.parametrize("law", ["lognormal", "cauchy"])
def test_intervals_hold_nine_times_in_ten_and_not_much_more_with_skewed_and_wild_errors(law, subjects):
    draw = np.random.default_rng(subjects)
    held = []
    for _ in range(2000):
        x = draw.normal(size=(subjects + 1, 2))
        x[:, 1] += x[:, 0]
        errors = {"lognormal": draw.lognormal, "cauchy": draw.standard_cauchy}[law](size=subjects + 1)
        y = x[:, 0] + (0.2 + 0.3 * x[:, 1] ** 2) * errors
        low, high = ridge_of(x[:-1], y[:-1]).interval(point(x[-1]), 0.9)
        held.append(low <= y[-1] <= high)
    rank = math.ceil(0.9 * (subjects + 1)) / (subjects + 1)  # exact, as errors of a law are never equal
    assert abs(np.mean(held) - rank) <= 4 * math.sqrt(0.09 / 2000)  # four standard errors
