"""Curves of a report by hand, and their intervals by slow loops."""

import numpy as np
import pytest
import torch

from segtrust.evaluate.curves import reliability_points, risk_coverage, subject_draws
from segtrust.metrics import voxel_totals


def totals(p, wrong):
    """Ten voxels of one class with probability p, some of them wrong."""
    probs = torch.tensor([[1 - p] * 10, [p] * 10])
    labels = torch.tensor([0] * wrong + [1] * (10 - wrong))
    return voxel_totals(probs, labels, torch.ones(10, dtype=torch.bool))


def test_a_bin_by_hand():
    draws = subject_draws(["a", "b"], draws=200)
    (point,) = reliability_points([totals(0.9, 1), totals(0.9, 3)], draws)
    assert (point["voxels"], point["scans"]) == (20, 2)
    assert point["accuracy"] == pytest.approx(0.8)
    assert point["confidence"] == pytest.approx(0.9)
    assert (point["accuracy_low"], point["accuracy_high"]) == (pytest.approx(0.7), pytest.approx(0.9))


def test_scans_of_a_subject_are_drawn_together():
    draws = subject_draws(["a", "a", "b"], draws=50)
    assert np.array_equal(draws[:, 0], draws[:, 1])
    assert set((draws[:, 0] + draws[:, 2]).tolist()) == {2.0}


def test_risk_coverage_by_hand():
    # the surest half of 0, .1, .3, .6 in this order has a mean risk of .05
    found = risk_coverage([0.1, 0.2, 0.3, 0.4], [0.0, 0.1, 0.3, 0.6], np.ones((1, 4)))
    assert found["risk"][9] == pytest.approx(0.05)
    assert found["risk"][-1] == pytest.approx(0.25)
    assert found["best"] == found["risk"]
    assert found["aurc"] == pytest.approx((0 + 0.05 + 0.4 / 3 + 0.25) / 4)


def test_a_scan_without_a_score_is_set_aside_first():
    found = risk_coverage([None, 0.2, 0.3], [0.9, 0.0, 0.0], np.ones((1, 3)))
    assert found["risk"][12] == 0.0  # at 65 % of three scans: the two with a score
    assert found["risk"][-1] == pytest.approx(0.3)


def test_drawn_curves_are_those_of_the_repeated_scans():
    rng = np.random.default_rng(1)
    scores, risks = rng.random(6).tolist(), rng.random(6).tolist()
    draws = subject_draws([str(k) for k in range(6)], draws=1, seed=3)
    found = risk_coverage(scores, risks, draws)
    repeated = [risks[i] for i in np.argsort(scores) for _ in range(int(draws[0, i]))]
    assert found["low"][-1] == pytest.approx(np.mean(repeated))


def test_three_scans_are_the_least():
    assert risk_coverage([0.1, 0.2], [0.1, 0.2], np.ones((1, 2))) is None
