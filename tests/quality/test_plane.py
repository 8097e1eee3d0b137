"""Planes over several scores: what they weigh, what they refuse, and that their intervals hold."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from segtrust.errors import ModelError
from segtrust.quality import Plane, Regression, Rows, fit_plane, fit_regression
from segtrust.quality.plane import PENALTY


def rows(target, ordinary=None, subjects=None, **scores):
    n = len(target)
    return Rows(
        subjects or [f"s{i:02d}" for i in range(n)],
        {name: np.asarray(values, float) for name, values in scores.items()},
        np.asarray(target, float),
        np.ones(n, bool) if ordinary is None else np.asarray(ordinary, bool),
    )


def test_a_plane_adds_weighted_scores_and_says_nothing_where_one_is_missing_or_not_finite():
    plane = Plane({"sure": 2.0, "large": -1.0}, 0.5)
    assert plane.at({"sure": 1.0, "large": 3.0, "other": math.nan}) == -0.5
    for wrong in (None, math.nan, math.inf):
        assert plane.at({"sure": 1.0, "large": wrong}) is None
    assert plane.at({"sure": 1.0}) is None


def test_a_plane_is_read_as_it_was_written_and_refused_with_a_number_that_is_none():
    plane = Plane({"sure": 2.0, "large": -1.0}, 0.5)
    assert Plane.from_json(plane.to_json()) == plane
    for wrong in ({"weights": {"sure": 1.0}}, {"weights": [1.0], "level": 0.0},
                  {"weights": {"sure": math.inf}, "level": 0.0}):  # fmt: skip
        with pytest.raises(ModelError, match="a plane must have"):
            Plane.from_json(wrong)


def test_a_score_that_one_scan_lacks_or_that_never_changes_takes_no_part():
    x = np.arange(12.0)
    fitted = fit_plane(rows(x, sure=x, same=np.ones(12), holed=np.where(x == 3, np.nan, x)),
                       ["sure", "same", "holed"])  # fmt: skip
    assert set(fitted.weights) == {"sure"}
    assert fit_plane(rows(x, same=np.ones(12)), ["same"]) == Plane({}, 5.5)  # the median


def test_weights_are_those_of_scikit_learns_ridge_along_a_theil_sen_line():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 3)) * (1, 10, 100) + (0, 5, 7)
    y = x @ (1, 0.2, -0.01) + 0.3 * draw.normal(size=40)
    names = ["a", "b", "c"]
    plane = fit_plane(rows(y, **dict(zip(names, x.T, strict=True))), names)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    ridge = Ridge(alpha=PENALTY * 40).fit(z, y).predict(z)
    line = stats.theilslopes(y, ridge, method="joint")
    ours = [plane.at(dict(zip(names, map(float, row), strict=True))) for row in x]
    assert ours == pytest.approx(line.intercept + line.slope * ridge, abs=1e-9)


def test_one_wild_subject_moves_a_plane_little():
    draw = np.random.default_rng(1)
    a, b = draw.normal(size=(2, 30))
    y = a + b
    wild = np.where(np.arange(30) == 3, -8.0, y)
    tame, moved = (fit_plane(rows(t, a=a, b=b), ["a", "b"]) for t in (y, wild))
    apart = [abs(moved.at({"a": u, "b": v}) - tame.at({"a": u, "b": v})) for u, v in zip(a, b, strict=True)]
    assert np.median(apart) < 0.25  # of targets with a spread of 1.4


def test_copies_give_weights_and_ordinary_scans_the_level():
    x = np.arange(20.0)
    y = -x + np.where(x < 10, 3.0, 0.0)  # the first ten are ordinary
    plane = fit_plane(rows(y, ordinary=x < 10, a=x), ["a"])
    ordinary = y[:10] - [plane.at({"a": v}) for v in x[:10]]
    assert np.median(ordinary) == pytest.approx(0, abs=1e-12)


def test_a_regression_of_planes_is_read_as_it_was_written():
    draw = np.random.default_rng(2)
    a, b = draw.normal(size=(2, 12))
    fitted = fit_regression(rows(a + b, a=a, b=b), ["a", "b"], fit_plane)
    assert Regression.from_json(fitted.to_json()) == fitted
    assert fitted.interval({"a": 0.0, "b": math.nan}, 0.9) is None
    low, high = fitted.interval({"a": 0.0, "b": 0.0}, 0.9)
    assert low < fitted.predict({"a": 0.0, "b": 0.0}) < high


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 20, 50])
@pytest.mark.parametrize("law", ["lognormal", "cauchy"])
def test_intervals_of_planes_hold_nine_times_in_ten_with_skewed_and_wild_errors(law, subjects):
    draw = np.random.default_rng(subjects)
    held = []
    for _ in range(400):
        x = draw.normal(size=(subjects + 1, 6))
        x[:, 3] = x[:, 0] + 0.1 * x[:, 3]  # scores that nearly agree
        error = (
            draw.lognormal(0, 1, subjects + 1) if law == "lognormal" else draw.standard_cauchy(subjects + 1)
        )
        y = x[:, 0] + x[:, 1] + (0.2 + 0.3 * x[:, 2] ** 2) * error
        names = [f"x{i}" for i in range(6)]
        inside = rows(y[:-1], **dict(zip(names, x[:-1].T, strict=True)))
        low, high = fit_regression(inside, names, fit_plane).interval(
            dict(zip(names, x[-1], strict=True)), 0.9
        )
        held.append(low <= y[-1] <= high)
    assert np.mean(held) >= 0.9 - 3 * math.sqrt(0.09 / 400)  # three standard errors


def test_many_subjects_and_one_value_of_a_score_make_no_weight_that_is_not_finite():
    x = np.array([1e-300, *np.zeros(19)])  # so small that its square is 0
    assert all(map(math.isfinite, fit_plane(rows(np.arange(20.0), tiny=x), ["tiny"]).weights.values()))
