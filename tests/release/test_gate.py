"""The gate: margins worked by hand, too few patients, and the same voxels for both versions."""

import numpy as np
import pytest
import torch

from phantoms import bright_predictor, make_blob
from segtrust.calibrators import CalibrationVoxels
from segtrust.release.gate import GateScan, judge, pair_scan


def voxels(p, subject, distance=0.0):
    """Two voxels of class 0 that get probability ``p``; above one half T = 1 fits best, NLL is -ln p."""
    logits = np.log(np.array([[p, 1 - p], [p, 1 - p]], dtype=np.float32))
    return CalibrationVoxels(
        logits, np.zeros(2, np.int64), np.full(2, distance, np.float32), np.ones(2), subject
    )


def scans(n, *, dice=(0.80, 0.80), p=(0.5, 0.5)):
    return [GateScan(f"p{i}", dice, (voxels(p[0], f"p{i}"), voxels(p[1], f"p{i}"))) for i in range(n)]


def test_the_same_version_is_not_inferior_to_itself():
    verdict = judge(scans(8))
    assert verdict.passed
    assert not verdict.is_better
    assert verdict.figures["dice_change"]["value"] == verdict.figures["band_nll_growth"]["value"] == 0.0
    assert verdict.figures["band_nll"]["new"] == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("new", "passed"), [(0.791, True), (0.789, False)], ids=["just inside .01", "just outside .01"]
)
def test_dice_may_fall_by_less_than_the_margin(new, passed):
    # every patient changes alike, so that the limits of the interval are the change itself
    verdict = judge(scans(8, dice=(0.80, new)))
    assert verdict.passed is passed
    assert verdict.figures["dice_change"]["low"] == pytest.approx(new - 0.80)


@pytest.mark.parametrize(("growth", "passed"), [(0.019, True), (0.021, False)], ids=["1.9 %", "2.1 %"])
def test_nll_in_the_band_may_rise_by_less_than_the_margin(growth, passed):
    # .6 ** (1 + g) has the NLL -(1 + g) ln .6; the class is right, so the best T is the least allowed, 1
    verdict = judge(scans(8, p=(0.6, 0.6 ** (1 + growth))))
    assert verdict.figures["band_nll_growth"]["value"] == pytest.approx(growth, abs=2e-3)
    assert verdict.passed is passed


def test_one_bad_patient_among_eight_keeps_a_version():
    # mean change -.02 / 8 = -.0025, inside the margin; one of the 8 is drawn k times with k ~ B(8, 1/8), and
    # P(k >= 4) = 1.1 %, P(k >= 3) = 7.5 %, so the lower 5 % limit is at k = 3: -.06 / 8 = -.0075; for a
    # change of -.04 it is -.015
    mild = [*scans(7), *[GateScan("x", (0.8, 0.78), (voxels(0.5, "x"), voxels(0.5, "x")))]]
    bad = [*scans(7), *[GateScan("x", (0.8, 0.76), (voxels(0.5, "x"), voxels(0.5, "x")))]]
    assert judge(mild).figures["dice_change"]["low"] == pytest.approx(-0.0075)
    assert (judge(mild).passed, judge(bad).passed) == (True, False)


def test_a_better_version_becomes_the_one_to_beat():
    assert judge(scans(8, dice=(0.80, 0.81), p=(0.5, 0.55))).is_better


def test_fewer_than_eight_patients_prove_nothing():
    verdict = judge(scans(7, dice=(0.80, 0.10)))
    assert verdict.passed is None
    assert "fewer than 8 patients whose role is calibration, got 7." in verdict.reason
    assert judge([]).passed is None


def test_eight_scans_of_one_patient_are_one_patient():
    one = [GateScan("p", s.dice, s.voxels) for s in scans(8)]
    assert judge(one).passed is None
    assert judge(one).figures["subjects"] == 1


def test_patients_count_alike_however_many_scans_they_have():
    # one patient with three scans loses .04, seven gain .01: mean over patients (-.04 + 7 * .01) / 8 = .00375
    lost = [GateScan("x", (0.8, 0.76), (voxels(0.5, "x"), voxels(0.5, "x")))] * 3
    verdict = judge([*scans(7, dice=(0.8, 0.81)), *lost])
    assert verdict.figures["dice_change"]["value"] == pytest.approx(0.00375)


def test_the_band_is_that_of_both_versions():
    # the new version's prediction is 9 mm away from these voxels, the old one's 2 mm: they count for both
    far = [
        GateScan(s.subject, s.dice, (voxels(0.6, s.subject, 2.0), voxels(0.75, s.subject, 9.0)))
        for s in scans(8)
    ]
    assert judge(far).figures["band_nll"]["new"] == pytest.approx(-np.log(0.75), rel=1e-3)
    nowhere = [
        GateScan(s.subject, s.dice, (voxels(0.6, s.subject, 6.0), voxels(0.75, s.subject, 9.0)))
        for s in scans(8)
    ]
    assert judge(nowhere).figures["band_nll"]["new"] is None
    assert judge(nowhere).passed is False


def test_a_pair_holds_the_same_voxels_of_both():
    scan = make_blob((30, 18, 16))
    labels = torch.from_numpy((scan.data[0].numpy() > 50).astype(np.int64))
    pair = pair_scan(bright_predictor(), bright_predictor(), scan, labels, subject="p", seed=3)
    old, new = pair.voxels
    assert pair.dice == (1.0, 1.0)
    assert np.array_equal(old.labels, new.labels)
    assert np.array_equal(old.logits, new.logits)
    assert (old.weight > 1).any()
