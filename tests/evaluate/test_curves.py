"""Curves of a report by hand, and their intervals beside those of the figure itself."""

import numpy as np
import pytest
import torch

from segtrust.evaluate.curves import reliability_points, risk_coverage
from segtrust.metrics import cluster_bootstrap, voxel_totals


def totals(p, wrong):
    """Ten voxels of one class with probability p, some of them wrong."""
    probs = torch.tensor([[1 - p] * 10, [p] * 10])
    labels = torch.tensor([0] * wrong + [1] * (10 - wrong))
    return voxel_totals(probs, labels, torch.ones(10, dtype=torch.bool))


def test_a_bin_by_hand():
    (point,) = reliability_points([totals(0.9, 1), totals(0.9, 3)], ["a", "b"])
    assert (point["voxels"], point["scans"]) == (20, 2)
    assert point["accuracy"] == pytest.approx(0.8)
    assert point["confidence"] == pytest.approx(0.9)
    assert (point["accuracy_low"], point["accuracy_high"]) == (None, None)  # of two subjects


def test_the_interval_of_a_bin_is_that_of_the_share_right():
    wrong = np.random.default_rng(0).binomial(10, 0.2, 40)
    subjects = [str(k // 2) for k in range(80)]
    (point,) = reliability_points([totals(0.9, int(wrong[k // 2])) for k in range(80)], subjects)
    got = cluster_bootstrap(subjects, lambda rows: 1 - wrong[np.asarray(rows) // 2].mean() / 10, kind="share")
    assert (point["accuracy_low"], point["accuracy_high"]) == pytest.approx((got.low, got.high))


def test_a_bin_that_few_subjects_reach_has_no_interval():
    scans = [totals(0.9, 1)] * 40 + [totals(0.6, 1)] * 9
    points = reliability_points(scans, [str(k) for k in range(49)])
    assert [point["accuracy_low"] is None for point in points] == [True, False]


def test_risk_coverage_by_hand():
    # the surest half of 0, .1, .3, .6 in this order has a mean risk of .05
    found = risk_coverage([0.1, 0.2, 0.3, 0.4], [0.0, 0.1, 0.3, 0.6], list("abcd"))
    assert found["risk"][9] == pytest.approx(0.05)
    assert found["risk"][-1] == pytest.approx(0.25)
    assert found["best"] == found["risk"]
    assert found["aurc"] == pytest.approx((0 + 0.05 + 0.4 / 3 + 0.25) / 4)


def test_a_scan_without_a_score_is_set_aside_first():
    found = risk_coverage([None, 0.2, 0.3], [0.9, 0.0, 0.0], list("abc"))
    assert found["risk"][12] == 0.0  # at 65 % of three scans: the two with a score
    assert found["risk"][-1] == pytest.approx(0.3)


def test_the_last_point_has_the_interval_of_the_mean_risk():
    rng = np.random.default_rng(1)
    scores, risks = rng.random(40).tolist(), rng.random(40)
    subjects = [str(k) for k in range(40)]
    found = risk_coverage(scores, risks.tolist(), subjects)
    got = cluster_bootstrap(subjects, lambda rows: float(risks[list(rows)].mean()), kind="share")
    assert (found["low"][-1], found["high"][-1]) == pytest.approx((got.low, got.high))


def test_where_fewer_than_thirty_subjects_are_left_there_is_no_interval():
    found = risk_coverage(list(range(40)), [0.1, 0.2] * 20, [str(k) for k in range(40)])
    # 30 of 40 are left at 75 %
    assert [end is None for end in found["low"]] == [c < 0.75 for c in found["coverage"]]


def test_three_scans_are_the_least():
    assert risk_coverage([0.1, 0.2], [0.1, 0.2], list("ab")) is None
