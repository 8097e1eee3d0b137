"""Planes over several scores: what they weigh, what they refuse, and that their intervals hold."""

import math

import numpy as np
import pytest
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


def test_many_subjects_and_one_value_of_a_score_make_no_weight_that_is_not_finite():
    x = np.array([1e-300, *np.zeros(19)])  # so small that its square is 0
    assert all(map(math.isfinite, fit_plane(rows(np.arange(20.0), tiny=x), ["tiny"]).weights.values()))
