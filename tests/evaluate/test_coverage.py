"""Intervals of the Dice: right nine times in ten, narrow where a score knows something, withheld from few."""

from dataclasses import replace

import numpy as np

from measured import made_record
from segtrust.evaluate.coverage import LEAST_SUBJECTS, dice_coverage
from segtrust.quality import logit_dice
from segtrust.scores import StructureScores


def records(n, *, noise=0.3, seed=0):
    """Scans whose logit of the Dice is 3 - 10 x entropy and noise; each its own subject."""
    rng = np.random.default_rng(seed)
    base = made_record(0, 0.9)
    found = []
    for k in range(n):
        entropy = rng.uniform(0.05, 0.25)
        dice = 1 / (1 + np.exp(-(3 - 10 * entropy + rng.normal(0, noise))))
        scores = replace(base.scores, details={1: StructureScores(entropy, None, entropy, None, None)})
        found.append(
            replace(base, id=str(k), subject=str(k), dice={"ensemble": np.array([dice])}, scores=scores)
        )
    return found


def test_intervals_hold_about_nine_in_ten_and_are_narrower_than_the_spread():
    found = dice_coverage(records(150), ["front"], main="ensemble")["front"]
    low, high = found["expected"]
    assert low <= found["inside"] <= high
    assert found["scans"] == 150
    assert found["median_width"] < 0.7 * found["marginal_width"]


def test_no_scan_is_judged_by_its_own_subject():
    cases = records(60)
    wild = replace(cases[0], dice={"ensemble": np.array([0.02])})  # as a bound it would widen all intervals
    plain = dice_coverage(cases, ["front"], main="ensemble")["front"]["points"]
    other = dice_coverage([wild, *cases[1:]], ["front"], main="ensemble")["front"]["points"]
    own = [p for p in other if p[3] == 0.02]
    assert own[0][:3] in [p[:3] for p in plain]


def test_points_are_shares_in_order():
    for predicted, low, high, _ in dice_coverage(records(40), ["front"], main="ensemble")["front"]["points"]:
        assert 0 <= low <= predicted <= high <= 1
        assert logit_dice(predicted) <= logit_dice(high)


def test_intervals_that_reach_the_clip_are_open_and_hold_nearly_perfect_scans():
    cases = records(60)
    nearly = [replace(c, dice={"ensemble": 1 - (1 - c.dice["ensemble"]) / 200}) for c in cases]
    entry = dice_coverage(nearly, ["front"], main="ensemble")["front"]
    assert min(p[3] for p in entry["points"]) > 0.995
    assert all(p[2] == 1 for p in entry["points"])
    assert entry["inside"] == entry["scans"]


def test_withheld_with_too_few_subjects():
    assert dice_coverage(records(LEAST_SUBJECTS - 1), ["front"], main="ensemble") == {}
    assert "front" in dice_coverage(records(LEAST_SUBJECTS), ["front"], main="ensemble")
