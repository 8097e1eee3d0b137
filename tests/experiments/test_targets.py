"""Targets of the quality part on made-up scans whose counts are known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from measured import made_record
from phantoms import spec_of
from segtrust.experiments.target_table import target_page
from segtrust.experiments.targets import check_targets
from segtrust.models import Label
from segtrust.quality import Contours, Line, NeededMargins, Quality, Regression, StructureTruth, TypicalScans
from segtrust.quality.line import CONSTANT
from segtrust.scores import StructureScores

TARGETS = json.loads((Path(__file__).parents[2] / "benchmarks" / "targets.json").read_text("utf-8"))
SPEC = spec_of(labels=(Label("front", 1, 1),))
MARGINS = NeededMargins((1.0,) * 3, (2.0,) * 3)
PEOPLE = 20


def line(name, slope, error):
    """Through the score, or constant; each of twenty people missed it by ``error``."""
    own = Line(name, slope, 0.0)
    return Regression(own, (own,) * PEOPLE, tuple(((0.0, error),) for _ in range(PEOPLE)))


def quality():
    draw = np.random.default_rng(0)
    typical = TypicalScans({"brightness": tuple(tuple(draw.normal(size=2)) for _ in range(PEOPLE))})
    lines = {"dice": line("soft_dice_confidence", 1.0, 0.5), "volume": line(CONSTANT, 0.0, 0.1)}
    return Quality({1: lines}, typical, None, PEOPLE, Contours({1: (MARGINS,) * PEOPLE}))


def record(index, dice, *, found=True, strange=False, margins=MARGINS, subject=None, said=None):
    """A scan with that Dice, for which ``said`` (or the truth) is predicted; its mask is right or not."""
    base = made_record(index, 0.9, subject=subject, reference=(2, 3) if found else (10, 11))
    details = {1: StructureScores(0.2, None, 0.2, said or dice, None)}
    return replace(
        base,
        scores=replace(base.scores, details=details),
        features={"brightness": (9.0, 9.0) if strange else (0.0, 0.1 * index)},
        truth={1: StructureTruth(dice, 1.05, 0.3, margins, 2.0 + 0.1 * index)},
    )


DICE = (0.80, 0.82, 0.84, 0.86, 0.88, 0.90)


@pytest.fixture(scope="module")
def found():
    clean = [record(i, dice) for i, dice in enumerate(DICE)]
    wide = NeededMargins((3.0,) * 3, (2.0,) * 3)
    clean[5] = record(5, DICE[5], margins=wide)
    clean.append(record(6, 0.1, subject="subject0", said=0.9))  # a second scan of the first subject
    failed = [record(i, 0.3 + 0.05 * i, found=False, strange=True) for i in range(6)]
    mild = [record(i, dice - 0.02) for i, dice in enumerate(DICE)]
    return check_targets(
        TARGETS, quality(), SPEC, clean, {"noise-3": failed, "blur-1": mild}, system="ensemble"
    )


def entry(found, words):
    (one,) = [t for t in found["targets"] if words in t["words"]]
    return one


def test_coverage_is_counted_on_one_scan_of_each_subject(found):
    for words in ("90 % intervals of the Dice", "90 % intervals of the volume"):
        one = entry(found, words)
        assert (one["n"], one["value"], one["high"], one["met"]) == ("6 of 6 subjects", 6, 6, True)
    assert found["judged"]["scans"]["structures"]["front"]["inside"] == 6  # of seven: .1 was called .9


def test_contours_are_counted_each_and_joint(found):
    assert entry(found, "outer contours of front")["value"] == 5
    assert entry(found, "inner contours of front")["value"] == 6
    assert entry(found, "right at once (joint)")["value"] == 5
    assert entry(found, "outer contours of front")["high"] is None  # to be right more often is no fault


def test_widths_are_held_against_the_spread_of_the_truth(found):
    # volumes of 2.0 to 2.5 ml, predicted 1.05 times smaller, factors exp(-.1) and exp(.1)
    true = np.array([2.0, 2.1, 2.2, 2.3, 2.4, 2.5])
    widths = (np.exp(0.1) - np.exp(-0.1)) * true / 1.05
    one = entry(found, "of the volume of front over")
    assert one["value"] == pytest.approx(np.median(widths) / (0.9 * 0.5))
    assert one["met"] is (one["value"] <= 0.6)
    assert one["by"] == pytest.approx(one["value"] - 0.6)


def test_quality_is_correlated_over_the_suite_and_on_clean_scans_apart(found):
    under, clean = [t for t in found["targets"] if "predicted and true logit Dice" in t["words"]]
    assert under["value"] == pytest.approx(1.0)
    assert (under["n"], under["low"], under["met"]) == ("12 predictions, 6 subjects", 0.9, True)
    assert clean["value"] < 0.5  # the second scan of the first subject was called good
    assert (clean["low"], clean["high"]) == (None, None)
    assert found["shifts"]["blur-1"]["correlation"]["front"] == pytest.approx(1.0)


def test_detection_is_asked_for_only_where_dice_falls(found):
    one = entry(found, "AUROC of the p-value")
    assert "noise-3: mean Dice falls by 1.00" in one["words"]
    assert (one["value"], one["met"]) == (1.0, True)
    assert found["shifts"]["noise-3"]["unlike"] == 6


def test_the_page_has_a_row_for_each_target_and_says_what_was_tried_for_the_missed_ones(found):
    result = {
        "quality": found,
        "model": {"version": "0001", "digest": "d" * 64},
        "protocol": "p" * 64,
        "scans": 7,
        "role": "test",
    }
    page = target_page("toy", result, "toy.json")
    assert page.count("\n| ") == len(found["targets"]) + 1 + len(found["shifts"]) + 1
    assert "| contours: outer contours of front that are right (each) | 6 of 6 subjects | 5 |" in page
    missed = {t["group"] for t in found["targets"] if not t["met"] and (t["low"] or t["high"])}
    assert all(f"- *{group}*: " in page for group in missed)
    assert "width" in missed
