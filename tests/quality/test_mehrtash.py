"""The line of Mehrtash et al. 2020."""

import numpy as np
import pytest
from scipy import stats

from segtrust.errors import ShapeError
from segtrust.quality import fit_segment_entropy, logit_dice


def test_dice_on_a_line_comes_back_with_its_slope_and_a_correlation_of_minus_one():
    entropy = np.linspace(0.05, 0.6, 12)
    dice = 1 / (1 + np.exp(-(3.1 - 6.2 * entropy)))  # read off the paper's prostate figure
    line = fit_segment_entropy(entropy, dice)
    assert (line.slope, line.intercept) == (pytest.approx(-6.2), pytest.approx(3.1))
    assert (line.pearson, line.spearman) == (pytest.approx(-1), pytest.approx(-1))
    assert line.predict(0.5) == pytest.approx((0.5, 0.5, 0.5), abs=1e-6)


def test_the_interval_is_that_of_ordinary_least_squares():
    draw = np.random.default_rng(0)
    x = draw.uniform(0, 0.6, 20)
    dice = 1 / (1 + np.exp(-(2.5 - 4 * x + 0.3 * draw.normal(size=20))))
    line = fit_segment_entropy(x, dice)
    design = np.stack([np.ones(20), x], axis=1)
    y = np.array([logit_dice(d) for d in dice])
    beta, rest = np.linalg.lstsq(design, y, rcond=None)[:2]
    new = np.array([1, 0.3])
    error = np.sqrt(rest[0] / 18 * (1 + new @ np.linalg.inv(design.T @ design) @ new))
    ends = new @ beta + np.array([0, -1, 1]) * stats.t.ppf(0.975, 18) * error
    assert line.predict(0.3) == pytest.approx(tuple(1 / (1 + np.exp(-ends))))


def test_a_dice_of_zero_does_not_run_to_infinity():
    assert logit_dice(0.0) == pytest.approx(-5.2933, abs=1e-4)
    assert logit_dice(0.75) == pytest.approx(np.log(3))


@pytest.mark.parametrize("cases", [9, 0], ids=["nine cases", "no case"])
def test_too_few_cases_are_refused(cases):
    with pytest.raises(ShapeError, match="at least 10 cases that differ"):
        fit_segment_entropy(np.linspace(0, 0.5, cases), np.linspace(0.5, 0.9, cases))
