"""The gate: margins worked by hand, too few patients, and the same voxels for both versions."""

import numpy as np
import pytest
import torch

from phantoms import (
    BALL,
    Brightness,
    FixedSource,
    NetworkSource,
    bright_predictor,
    make_blob,
    spec_of,
    version_of,
)
from segtrust.calibrators import CalibrationVoxels
from segtrust.inference import Predictor
from segtrust.metrics import Interval
from segtrust.models import Head, Intensity
from segtrust.release.gate import GateScan, decide, dice_changes, judge, pair_scan


def voxels(p, subject, distance=0.0):
    """Two voxels of class 0 that get probability ``p``; above one half T = 1 fits best, NLL is -ln p."""
    logits = np.log(np.array([[p, 1 - p], [p, 1 - p]], dtype=np.float32))
    return CalibrationVoxels(
        logits, np.zeros(2, np.int64), np.full(2, distance, np.float32), np.ones(2), subject
    )


def blind_predictor():
    """Nothing is bright enough to be foreground."""
    spec = spec_of(labels=BALL, intensity=Intensity("window", 0.0, 1e6))
    return Predictor(version_of(spec), source=NetworkSource(Brightness(steepness=20.0)))


def scans(n, *, dice=(0.80, 0.80), p=(0.5, 0.5), first=0):
    return [
        GateScan(f"p{i}", dice, (voxels(p[0], f"p{i}"), voxels(p[1], f"p{i}")))
        for i in range(first, first + n)
    ]


def test_the_same_version_is_not_inferior_to_itself():
    verdict = judge(scans(59))
    assert verdict.passed
    assert not verdict.is_better
    assert verdict.figures["dice_change"]["value"] == verdict.figures["band_nll_growth"]["value"] == 0.0
    assert verdict.figures["band_nll"]["new"] == pytest.approx(np.log(2))
    # .95 ** 59 = .0485: with 5 % of all getting worse so many without any are seen in less than 5 %
    assert verdict.figures["clearly_worse"]["at_most"] == pytest.approx(1 - 0.05 ** (1 / 59))


@pytest.mark.parametrize(
    ("new", "passed"), [(0.791, True), (0.789, False)], ids=["just inside .01", "just outside .01"]
)
def test_dice_may_fall_by_less_than_the_margin(new, passed):
    # every patient changes alike, so that the limits of the interval are the change itself
    verdict = judge(scans(59, dice=(0.80, new)))
    assert verdict.passed is passed
    assert verdict.figures["dice_change"]["low"] == pytest.approx(new - 0.80)


@pytest.mark.parametrize(("growth", "passed"), [(0.019, True), (0.021, False)], ids=["1.9 %", "2.1 %"])
def test_nll_in_the_band_may_rise_by_less_than_the_margin(growth, passed):
    # .6 ** (1 + g) has the NLL -(1 + g) ln .6; the class is right, so the best T is the least allowed, 1
    verdict = judge(scans(59, p=(0.6, 0.6 ** (1 + growth))))
    assert verdict.figures["band_nll_growth"]["value"] == pytest.approx(growth, abs=2e-3)
    assert verdict.passed is passed


SAME = Interval(0.0, 0.0, 0.0, 99)


@pytest.mark.parametrize(
    ("patients", "losses", "passed"),
    [
        (58, [], None),
        (59, [], True),
        (59, [0.06], None),  # 1 of 59 is below 5 %, and its limit is above
        (93, [0.06], True),  # the limit of 1 of 93 is 4.99 %
        (92, [0.06], None),
        (59, [0.06] * 3, False),  # 3 of 59 is more than 5 %
        (59, [0.04] * 3, True),  # no clear loss
        (8, [0.06], False),
        (8, [], None),
        (7, [0.06], None),
    ],
)
def test_few_patients_may_get_clearly_worse(patients, losses, passed):
    changes = dice_changes([0.0] * (patients - len(losses)) + [-loss for loss in losses])
    assert changes.worse == sum(loss > 0.05 for loss in losses)
    assert decide(changes, SAME) is passed


def test_a_mean_that_may_have_fallen_keeps_a_version_even_where_nothing_can_be_proven():
    rng = np.random.default_rng(0)
    assert decide(dice_changes(rng.normal(-0.02, 0.02, 20).tolist()), SAME) is False
    assert decide(dice_changes(rng.normal(0.02, 0.02, 20).tolist()), SAME) is None


def test_a_better_version_becomes_the_one_to_beat():
    assert judge(scans(59, dice=(0.80, 0.81), p=(0.5, 0.55))).is_better


def test_too_few_patients_prove_nothing_and_the_reason_says_how_many_are_needed():
    verdict = judge(scans(7))
    assert verdict.passed is None
    assert "fewer than 59 patients whose role is calibration, got 7." in verdict.reason
    worse = judge([*scans(6), *scans(1, dice=(0.8, 0.7), first=6)])
    assert "fewer than 93 patients whose role is calibration, got 7." in worse.reason
    assert judge([]).passed is None


def test_a_version_that_is_shown_to_be_worse_is_not_served_however_few_the_patients():
    verdict = judge(scans(3, dice=(0.80, 0.10)))
    assert verdict.passed is False
    assert judge(scans(1, dice=(0.80, 0.10))).passed is None  # one patient shows nothing


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


@pytest.mark.parametrize(
    "sees", [(0, 1), (1, 0), (0, 0)], ids=["only the new one", "only the best", "neither"]
)
def test_what_is_predicted_in_a_healthy_scan_counts_as_a_dice_of_nothing(sees):
    scan = make_blob((30, 18, 16))
    empty = torch.zeros(scan.data.shape[1:], dtype=torch.int64)
    best, new = (bright_predictor() if sees_it else blind_predictor() for sees_it in sees)
    pair = pair_scan(best, new, scan, empty, subject="p", seed=3)
    assert pair.healthy
    assert pair.dice == tuple(float(not sees_it) for sees_it in sees)
    figures = judge([pair]).figures
    assert figures["healthy"] == {"scans": 1, "with_a_prediction": {"best": sees[0], "new": sees[1]}}
    assert figures["clearly_worse"]["subjects"] == int(sees == (0, 1))


def test_what_is_invented_in_a_healthy_scan_is_clearly_worse_among_many_scans():
    # thirty scans of one patient, one of them healthy with one structure of thirty too many: -.001 on average
    same, one = scans(59), voxels(0.5, "p0")
    invented = GateScan("p0", (1.0, 29 / 30), (one, one), healthy=True)
    figures = judge([*same, *[same[0]] * 28, invented]).figures
    assert figures["dice_change"]["value"] == pytest.approx(-1 / 30 / 30 / 59)
    assert figures["clearly_worse"]["subjects"] == 1


def nested(limit):
    """A ball where the first coordinate is below 6, with a core where it is below ``limit``; both at .8."""

    def sample(image):
        place = torch.arange(image.shape[1])[:, None, None].expand(image.shape[1:])
        return torch.stack([torch.where(place < end, 0.8, 0.1) for end in (6, limit)])

    spec = spec_of(head=Head("sigmoid", (1, 2), (0.5, 0.7), structures="nested"), spacing=None)
    return Predictor(version_of(spec), source=FixedSource(sample))


def test_dice_of_nested_structures_counts_all_their_voxels():
    # the ball is right; its core has 2 of 3 slices. By the label that is shown the ball would have lost, too
    scan = make_blob((10, 4, 4))
    labels = torch.zeros(scan.data.shape[1:], dtype=torch.int64)
    labels[:6], labels[:3] = 1, 2
    pair = pair_scan(nested(3), nested(2), scan, labels, subject="p", seed=0)
    assert pair.dice == pytest.approx((1.0, (1 + 2 * 2 / 5) / 2))
    assert pair.voxels[0].labels.shape[1] == 2


def test_nll_of_nested_structures_is_summed_over_them():
    scan = make_blob((10, 4, 4))
    labels = torch.full(scan.data.shape[1:], 2)
    pair = pair_scan(nested(10), nested(10), scan, labels, subject="p", seed=0)
    # the core is everywhere at .8; the ball is at .8 on six slices and at .1 on four, all of them in the band
    expected = -np.log(0.8) - (6 * np.log(0.8) + 4 * np.log(0.1)) / 10
    assert judge([pair]).figures["band_nll"]["new"] == pytest.approx(expected, rel=1e-6)


def test_what_is_predicted_in_a_healthy_scan_of_nested_structures_counts():
    scan = make_blob((10, 4, 4))
    empty = torch.zeros(scan.data.shape[1:], dtype=torch.int64)
    pair = pair_scan(nested(0), nested(2), scan, empty, subject="p", seed=0)
    assert pair.healthy
    assert pair.dice == (0.5, 0.0)  # both find a ball, the new one a core besides


@pytest.mark.slow
@pytest.mark.parametrize("patients", [8, 30, 59, 93])
@pytest.mark.parametrize(
    "law",
    [
        lambda rng, n: rng.normal(-0.01, 0.02, n),
        lambda rng, n: -0.1 * (rng.random(n) < 0.1),
        lambda rng, n: rng.normal(0, 0.01, n) - 0.5 * (rng.random(n) < 0.05),
    ],
    ids=["a mean at the margin", "one in ten loses .1", "one in twenty loses .5"],
)
def test_a_worse_version_passes_in_one_draw_of_twenty_at_most(law, patients):
    rng = np.random.default_rng(patients)
    passed = [decide(dice_changes(law(rng, patients).tolist()), SAME) is True for _ in range(1000)]
    # .05 and 2.6 standard errors of 1000 draws, .0069
    assert np.mean(passed) <= 0.068
