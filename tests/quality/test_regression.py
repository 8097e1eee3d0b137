"""Lines that leave out one subject at a time: what they choose, and what their intervals hold."""

import numpy as np
import pytest
from scipy import stats

from segtrust.errors import ModelError
from segtrust.quality import Regression, Rows, fit_regression
from segtrust.quality.line import CONSTANT, fit_line


def rows(target, ordinary=None, subjects=None, **scores):
    n = len(target)
    return Rows(
        subjects or [f"s{i:02d}" for i in range(n)],
        {name: np.asarray(values, float) for name, values in scores.items()},
        np.asarray(target, float),
        np.ones(n, bool) if ordinary is None else np.asarray(ordinary, bool),
    )


def scores_of(all_rows, i):
    return {name: float(values[i]) for name, values in all_rows.scores.items()}


def test_the_slope_is_the_median_of_all_pairs_and_does_not_mind_one_wild_subject():
    x = np.arange(12.0)
    y = 3 - 0.5 * x
    y[4] = 40.0
    line = fit_line(rows(y, sure=x), ["sure"])
    assert (line.score, line.slope, line.level) == ("sure", pytest.approx(-0.5), pytest.approx(3))


def test_the_slope_equals_scipys_theil_sen():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 15))
    y += 3 * x
    line = fit_line(rows(y, sure=x), ["sure"])
    assert line.slope == pytest.approx(stats.theilslopes(y, x).slope, abs=1e-12)
    assert line.level == pytest.approx(stats.theilslopes(y, x, method="joint").intercept, abs=1e-12)


def test_the_score_is_chosen_that_predicts_subjects_left_out_and_noise_leaves_the_constant():
    draw = np.random.default_rng(1)
    good, noise = draw.normal(size=(2, 20))
    target = 2 * good + 0.1 * draw.normal(size=20)
    assert fit_line(rows(target, noise=noise, good=good), ["noise", "good"]).score == "good"
    assert fit_line(rows(np.tile([1.0, 2.0], 10), noise=np.arange(20.0)), ["noise"]).score == CONSTANT


def test_a_score_that_one_scan_lacks_takes_no_part():
    x = np.arange(12.0)
    holed = np.where(x == 3, np.nan, x)
    assert fit_line(rows(x, holed=holed), ["holed"]).score == CONSTANT


def test_worsened_copies_give_the_slope_and_ordinary_scans_the_level():
    # ordinary: score 0, target 1; copies on a line through (0, 0) with slope -2, eighteen of them
    subjects = [f"s{i}" for i in range(6)] * 4
    copies = np.arange(1.0, 19)
    score, target = np.r_[np.zeros(6), copies], np.r_[np.ones(6), -2 * copies]
    line = fit_line(rows(target, np.arange(24) < 6, subjects, sure=score), ["sure"])
    assert (line.level, line.slope) == (1, pytest.approx(-2))


def test_nine_subjects_are_too_few_and_ten_are_not():
    assert fit_regression(rows(np.arange(9.0)), []) is None
    ten = fit_regression(rows(np.arange(10.0)), [])
    assert ten.interval({}, 0.95) is None  # an interval of 95 % needs nineteen
    assert ten.interval({}, 0.8) is not None


def test_the_interval_by_hand():
    # medians of nine of 0..9: 5 without one of 0..4, 4 without one of 5..9; errors 5 4 3 2 1 1 2 3 4 5
    ten = fit_regression(rows(np.arange(10.0)), [])
    assert ten.line.level == 4.5
    assert ten.residuals == (5, 4, 3, 2, 1, 1, 2, 3, 4, 5)
    assert ten.spread({}) == (4, 5)
    assert ten.interval({}, 0.8) == (4 - 5, 5 + 5)  # the ninth smallest error
    assert ten.interval({}, 0.5) == (4 - 3, 5 + 3)  # the sixth


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_over_all_choices_of_the_new_subject_intervals_hold_as_often_as_promised(seed):
    draw = np.random.default_rng(seed)
    n = 11
    x, noise = draw.normal(size=(2, n))
    everyone = rows(x * draw.integers(0, 2) + draw.standard_cauchy(n), sure=x, noise=noise)
    outside = 0
    for i in range(n):
        rest = everyone.pick(np.arange(n) != i)
        low, high = fit_regression(rest, ["sure", "noise"]).interval(scores_of(everyone, i), 0.9)
        outside += not low <= everyone.target[i] <= high
    assert outside <= 0.1 * n


def test_a_subject_with_several_scans_counts_by_its_worst():
    subjects = [f"s{i}" for i in range(10)] + ["s0"]
    fitted = fit_regression(rows(np.r_[np.zeros(10), 7.0], subjects=subjects), [])
    assert fitted.residuals == (7,) + (0,) * 9


def test_a_regression_survives_json_and_a_strange_document_is_refused():
    x = np.arange(12.0)
    fitted = fit_regression(rows(np.sin(x) + x, sure=x), ["sure"])
    assert Regression.from_json(fitted.to_json()) == fitted
    with pytest.raises(ModelError, match="must have line, without and held_out"):
        Regression.from_json({"line": ["sure", 1.0, 0.0]})


def test_without_its_score_a_line_says_nothing():
    x = np.arange(12.0)
    fitted = fit_regression(rows(x, sure=x), ["sure"])
    assert fitted.predict({"sure": None}) is None
    assert fitted.interval({}, 0.9) is None
