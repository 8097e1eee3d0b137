"""Intervals, bounds and controlled risks agree with MAPIE's, which were computed elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

from segtrust.quality.conformal import conformal_bound, control_risk
from segtrust.quality.regression import Line, Regression

OTHERS = json.loads((Path(__file__).parents[1] / "data" / "other_libraries.json").read_text("utf-8"))
MAPIE = OTHERS["mapie"]
PATIENTS = {name: np.array(values) for name, values in MAPIE["patients"].items()}
LEVELS = list(enumerate(MAPIE["intervals"]["levels"]))


@pytest.mark.parametrize(("row", "level"), LEVELS)
def test_a_bound_is_that_of_split_conformal_prediction(row, level):
    residuals = np.abs(PATIENTS["target"])  # around 0
    assert conformal_bound(residuals, 1 - level) == pytest.approx(MAPIE["intervals"]["split"][row])


@pytest.fixture(scope="module")
def regression():
    """Least squares without each patient in turn, as MAPIE fitted it."""
    x, y, n = PATIENTS["score"], PATIENTS["target"], len(PATIENTS["score"])
    without = [Line("score", *np.polyfit(np.delete(x, i), np.delete(y, i), 1).tolist()) for i in range(n)]
    held_out = tuple(((without[i].at({"score": x[i]}), y[i]),) for i in range(n))
    return Regression(without[0], tuple(without), held_out)


@pytest.mark.parametrize(("row", "level"), LEVELS)
def test_an_interval_is_that_of_the_jackknife_minmax(regression, row, level):
    got = [regression.interval({"score": score}, level) for score in PATIENTS["new_score"].tolist()]
    np.testing.assert_allclose(got, MAPIE["intervals"]["minmax"][row], rtol=1e-9)


@pytest.mark.parametrize(("row", "level"), LEVELS)
def test_coverage_and_width_are_those_of_its_intervals(regression, row, level):
    ends = np.array([regression.interval({"score": score}, level) for score in PATIENTS["score"].tolist()])
    held = (ends[:, 0] <= PATIENTS["target"]) & (PATIENTS["target"] <= ends[:, 1])
    assert held.mean() == pytest.approx(MAPIE["intervals"]["coverage"][row])
    assert np.diff(ends).mean() == pytest.approx(MAPIE["intervals"]["width"][row])


@pytest.mark.parametrize("missed", [0.1, 0.2, 0.4])
def test_a_controlled_share_of_missed_structures_is_that_of_conformal_risk_control(missed):
    limits, there = np.array(MAPIE["risk"]["limits"]), PATIENTS["there"]
    named = PATIENTS["chance"][:, :, None] > limits
    misses = 1 - (named & there[:, :, None]).sum(axis=1) / np.maximum(there.sum(axis=1), 1)[:, None]
    misses = np.where(there.any(axis=1)[:, None], misses, 0.0)
    boldest = control_risk(misses[:, ::-1], missed)  # naming fewer is bolder
    assert limits[::-1][boldest] == MAPIE["risk"]["highest"][str(missed)]
