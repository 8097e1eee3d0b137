"""A card's figures: pooled over voxels, intervals over subjects, tables that quote them."""

import math

import numpy as np
import pytest
import torch

from measured import made_record
from segtrust.errors import ShapeError
from segtrust.evaluate.card import make_card, score_correlation
from segtrust.evaluate.cases import evaluate_case
from segtrust.evaluate.table import card_headline, card_tables, shown
from segtrust.scores import ScanScores

SYSTEMS = ("single", "single_temperature", "ensemble", "calibrated")


def record(index, p, *, subject, dice_voxels=2):
    """A line of 20 voxels with two structures' voxels predicted with probability p."""
    probs = torch.zeros(3, 20, 1, 1)
    probs[0] = 1
    for voxel, k in ((2, 1), (10, 2)):
        probs[:, voxel, 0, 0] = torch.tensor([1 - p, 0, 0])
        probs[k, voxel, 0, 0] = p
    truth = torch.zeros(20, 1, 1, dtype=torch.long)
    truth[2] = 1
    truth[10 : 10 + dice_voxels - 1] = 2
    scores = ScanScores(1 - p, None, None, None, None, None, 1 - p, {1: 1 - p, 2: 1 - p})
    return evaluate_case(
        f"scan{index}", subject, dict.fromkeys(SYSTEMS, (probs, None)), truth, (1.0, 1.0, 1.0),
        np.ones((20, 1, 1), dtype=bool), main="calibrated", scores=scores,
    )  # fmt: skip


@pytest.fixture(scope="module")
def records():
    return [
        record(0, 0.9, subject="a"),
        record(1, 0.8, subject="a", dice_voxels=3),
        record(2, 0.7, subject="b", dice_voxels=5),
    ]


@pytest.fixture(scope="module")
def card(records):
    return make_card(records, ["front", "back"], main="calibrated")


def test_pooled_nll_is_the_sum_over_scans_divided_by_all_voxels(card):
    # two unsure voxels a scan with p = .9, .8, .7; in scans 2 and 3 one and three more reference voxels have
    # probability 0, clamped to 1e-12; 60 voxels in all
    by_hand = (-2 * math.log(0.9) - 2 * math.log(0.8) - 2 * math.log(0.7) + 4 * 12 * math.log(10)) / 60
    found = card["systems"]["calibration"]["calibrated"]["volume"]["nll"]
    assert found["value"] == pytest.approx(by_hand, rel=1e-6)  # float32 probabilities


def test_intervals_count_subjects_not_scans(card):
    assert (card["scans"], card["subjects"]) == (3, 2)
    assert card["systems"]["dice"]["ensemble"]["mean"]["subjects"] == 2


def test_mean_dice_averages_structures_and_scans(card):
    # front is 1 in all scans; back: 1, 2/3, 2/5
    assert card["systems"]["dice"]["ensemble"]["mean"]["value"] == pytest.approx((3 + 1 + 2 / 3 + 2 / 5) / 6)


def test_a_score_that_falls_with_dice_correlates_perfectly_by_rank(records):
    assert score_correlation(records, range(3), "entropy", "spearman", "calibrated") == pytest.approx(-1)


def test_correlation_of_fewer_than_three_scans_is_not_a_number(records):
    assert math.isnan(score_correlation(records, range(2), "entropy", "pearson", "calibrated"))


def test_no_records_is_an_error():
    with pytest.raises(ShapeError, match="at least one evaluated scan"):
        make_card([], ["front"], main="calibrated")


def test_a_figure_that_is_not_defined_is_null_so_that_the_card_stays_json(card):
    assert card["score_vs_logit_dice"]["pairwise_dice"]["pearson"]["value"] is None


def test_thirty_subjects_give_intervals_of_what_they_have():
    # two subjects lack the structure in mask and label: their Dice is not defined
    whole = [made_record(i, 0.6 + 0.01 * i) for i in range(30)]
    empty = [made_record(30 + i, 0.4, reference=()) for i in range(2)]
    card = make_card([*whole, *empty], ["front"], main="ensemble")
    dice = card["systems"]["dice"]["ensemble"]["front"]
    assert dice == {"value": 1.0, "low": 1.0, "high": 1.0, "subjects": 30, "interval": "studentised"}
    nll = card["systems"]["calibration"]["ensemble"]["volume"]["nll"]
    assert nll["low"] < nll["value"] < nll["high"]
    assert nll["subjects"] == 32
    assert (
        card["score_vs_logit_dice"]["entropy"]["pearson"]["interval"] == "not defined"
    )  # Dice has no spread
    fewer = make_card([*whole[1:], *empty], ["front"], main="ensemble")
    assert fewer["systems"]["dice"]["ensemble"]["front"]["interval"] == "n too small"


def test_predictions_in_healthy_scans_are_counted():
    # the first has a structure; nothing is predicted in the second at .4, and two voxels in the third
    found = [made_record(0, 0.9), made_record(1, 0.4, reference=()), made_record(2, 0.9, reference=())]
    card = make_card(found, ["front"], main="ensemble")
    assert card["healthy"] == {"scans": 2, "with_a_prediction": 1}
    assert card["systems"]["dice"]["ensemble"]["front"]["value"] == pytest.approx((1 + 0) / 2)


def test_small_figures_keep_two_digits_that_count():
    found = {"value": 0.000123, "low": 0.0, "high": 0.01234}
    assert shown(found, 4) == "1.2e-04 (0.0000 to 0.0123)"


def test_the_headline_names_mean_dice_with_its_interval_and_every_system(card):
    headline = card_headline({"test": card})
    mean = card["systems"]["dice"]["ensemble"]["mean"]
    assert f"Mean Dice {mean['value']:.3f} (n too small)" in headline
    assert headline.count("\n|") == 2 + len(SYSTEMS)


def test_tables_quote_the_card(card):
    tables = card_tables({"test": card})
    nll = card["systems"]["calibration"]["calibrated"]["band"]["nll"]
    assert f"{nll['value']:.4f} (n too small)" in tables
    assert "not defined" in tables
    assert "3 test scans of 2 subjects" in tables


def test_surfaces_by_hand(records, card):
    # front: the same voxel in all three. back: voxel 10 against 10; 10, 11; 10 to 13: the 95th percentile of
    # the way back is 0, .95 of one step, and (0, 1, 2, 3) at 2.85
    figures = card["surfaces"]["systems"]["ensemble"]
    assert card["surfaces"]["tolerance_mm"] == 3.0
    assert figures["hd95"]["front"]["value"] == 0
    assert figures["hd95"]["back"]["value"] == pytest.approx((0 + 0.95 + 2.85) / 3)
    assert figures["hd95"]["mean"]["value"] == pytest.approx((0 + 0.95 + 2.85) / 6)
    assert figures["surface_dice"]["back"]["value"] == 1
    assert {(f["scans"], f["subjects"]) for by in figures.values() for f in by.values()} == {(3, 2)}
    assert figures["hd95"]["mean"]["one_sided"] == 0
    assert "| HD95, mm | ensemble | 0.633 (" in card_tables({"test": card})


def test_a_structure_that_one_mask_alone_has_is_counted_and_has_no_distance():
    there, gone = made_record(0, 0.9), made_record(1, 0.4)  # nothing is predicted in the second scan
    card = make_card([there, gone], ["front"], main="ensemble")
    figures = card["surfaces"]["systems"]["ensemble"]
    assert (figures["hd95"]["front"]["value"], figures["hd95"]["front"]["scans"]) == (0.0, 1)
    assert figures["hd95"]["front"]["one_sided"] == 1
    assert (figures["surface_dice"]["front"]["value"], figures["surface_dice"]["front"]["scans"]) == (0.5, 2)
    only = make_card([gone], ["front"], main="ensemble")["surfaces"]["systems"]["ensemble"]["hd95"]["mean"]
    assert (only["value"], only["scans"], only["one_sided"]) == (None, 0, 1)


def test_without_a_spacing_nothing_is_said_in_millimetres():
    unknown = make_card([made_record(0, 0.9, spacing=None)], ["front"], main="ensemble")
    assert "surfaces" not in unknown
    mixed = make_card([made_record(0, 0.9, spacing=None), made_record(1, 0.9)], ["front"], main="ensemble")
    assert mixed["surfaces"]["systems"]["ensemble"]["hd95"]["mean"]["scans"] == 1
