"""One labelled scan, measured by hand on a handful of voxels."""

import json
import math

import numpy as np
import pytest
import torch

from segtrust.calibrators import PooledTemperature
from segtrust.decisions import LabelRule
from segtrust.errors import ShapeError
from segtrust.evaluate.cases import evaluate_case
from segtrust.evaluate.records import record_to_json

SPACING = (1.0, 1.0, 1.0)


def line(*foreground):
    """Probabilities (2, 20, 1, 1) of a line of voxels: background certain but for the given ones."""
    probs = torch.zeros(2, 20, 1, 1)
    probs[0] = 1
    for index, p in foreground:
        probs[:, index, 0, 0] = torch.tensor([1 - p, p])
    return probs


def labels(*indices):
    found = torch.zeros(20, 1, 1, dtype=torch.long)
    found[list(indices)] = 1
    return found


def evaluate(systems, reference, main="a"):
    return evaluate_case(
        "scan", "subject", systems, reference, SPACING, np.ones((20, 1, 1), dtype=bool), main=main
    )


def test_totals_of_the_regions_add_up_to_the_volume():
    record = evaluate({"a": (line((2, 0.8)), None)}, labels(2))
    parts = record.totals["a"]
    assert parts["band"].n + parts["outside"].n == parts["volume"].n == 20
    assert parts["band"].nll + parts["outside"].nll == pytest.approx(parts["volume"].nll)


def test_the_band_reaches_five_millimetres_from_the_prediction():
    # predicted voxel 2: voxels 0..7 lie within 5 mm
    assert evaluate({"a": (line((2, 0.8)), None)}, labels(2)).totals["a"]["band"].n == 8


def test_systems_are_compared_in_the_union_of_their_bands():
    # voxel 2 -> 0..7, voxel 15 -> 10..19: 18 voxels for both
    record = evaluate({"a": (line((2, 0.8)), None), "b": (line((15, 0.8)), None)}, labels(2))
    assert record.totals["a"]["band"].n == record.totals["b"]["band"].n == 18


def test_nll_in_the_band_is_that_of_the_one_unsure_voxel():
    record = evaluate({"a": (line((2, 0.8)), None)}, labels(2))
    assert record.totals["a"]["band"].nll == pytest.approx(-math.log(0.8), abs=1e-6)  # float32 probabilities


def test_a_calibrator_changes_totals_but_not_dice():
    probs = line((2, 0.8))
    record = evaluate({"a": (probs, None), "b": (probs, PooledTemperature(2.0))}, labels(2))
    # softmax(ln(.2, .8) / 2) = (1/3, 2/3); the 7 sure voxels get sqrt(1e-12) = 1e-6 each from the clamp
    assert record.totals["b"]["band"].nll == pytest.approx(-math.log(2 / 3), abs=1e-5)
    assert record.dice["a"].tolist() == record.dice["b"].tolist() == [1.0]


def test_missed_voxels_are_those_of_the_reference_outside_the_main_band():
    assert evaluate({"a": (line((2, 0.8)), None)}, labels(2, 18, 19)).missed == (2, 3)


def test_errors_are_counted_inside_the_band_only():
    # wrong: voxel 3 (in the band); voxel 19 is wrong too, but outside
    errors = evaluate({"a": (line((2, 0.8)), None)}, labels(2, 3, 19)).errors["a"]
    assert (int(errors.wrong.sum()), int(errors.right.sum())) == (1, 7)


def test_an_unknown_main_system_is_named_with_the_known_ones():
    with pytest.raises(ShapeError, match="one of a, got 'b'"):
        evaluate({"a": (line((2, 0.8)), None)}, labels(2), main="b")


# --- voxels that nobody labelled, empty masks, structures that overlap --------------------------------------

HEADS = {"softmax": LabelRule(), "sigmoid": LabelRule("sigmoid", (1, 2), (0.3, 0.5), "nested")}


def made_up(head, seed=0):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (3 - (head == "sigmoid"), 6, 5, 4))).float()
    probs = torch.softmax(logits, 0) if head == "softmax" else torch.sigmoid(logits)
    return probs, torch.from_numpy(rng.integers(0, 3, (6, 5, 4))), rng.random((6, 5, 4)) < 0.8


def measured(probs, reference, valid, rule):
    record = evaluate_case("s", "s", {"a": (probs, None)}, reference, SPACING, valid, main="a", rule=rule)
    return json.dumps(record_to_json(record), allow_nan=False)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("ignored", [-1, 255])
def test_the_label_of_an_ignored_voxel_changes_nothing(head, ignored):
    probs, reference, valid = made_up(head)
    where = torch.from_numpy(valid)
    plain = measured(probs, torch.where(where, reference, 0), valid, HEADS[head])
    assert measured(probs, torch.where(where, reference, ignored), valid, HEADS[head]) == plain


@pytest.mark.parametrize("head", HEADS)
def test_what_is_predicted_in_an_ignored_voxel_is_no_error_of_dice_or_surface(head):
    probs, reference, _ = made_up(head)
    valid = np.zeros((6, 5, 4), bool)
    valid[:3] = True
    reference[3:] = 0
    whole = evaluate_case(
        "s", "s", {"a": (probs, None)}, reference, SPACING, valid, main="a", rule=HEADS[head]
    )
    part = evaluate_case(
        "s", "s", {"a": (probs[:, :3], None)}, reference[:3], SPACING, valid[:3], main="a", rule=HEADS[head]
    )
    np.testing.assert_array_equal(whole.dice["a"], part.dice["a"])
    for name, values in part.surfaces["a"].items():
        np.testing.assert_allclose(whole.surfaces["a"][name], values)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("predicted", ["nothing", "everything"])
@pytest.mark.parametrize("true", ["nothing", "everything"])
def test_records_of_empty_masks_hold_no_nan(head, predicted, true):
    channels = 3 - (head == "sigmoid")
    probs = torch.zeros(channels, 4, 4, 4)
    if predicted == "everything":
        probs[-1] = 1
    elif head == "softmax":
        probs[0] = 1
    reference = torch.full((4, 4, 4), 2 if true == "everything" else 0)
    measured(probs, reference, np.ones((4, 4, 4), bool), HEADS[head])


def test_a_region_is_measured_on_all_voxels_that_it_holds():
    # the reference says core (2) in voxels 2 and 3; predicted: whole tumour in both, core in 3
    probs = torch.zeros(2, 20, 1, 1)
    probs[0, 2:4], probs[1, 3], probs[1, 2] = 0.9, 0.9, 0.4
    reference = torch.zeros(20, 1, 1, dtype=torch.long)
    reference[2:4] = 2
    record = evaluate_case(
        "s", "s", {"a": (probs, PooledTemperature(2.0))}, reference, SPACING, np.ones((20, 1, 1), bool),
        main="a", rule=HEADS["sigmoid"],
    )  # fmt: skip
    np.testing.assert_allclose(record.dice["a"], [1, 2 / 3])
    assert record.errors["a"].wrong.sum() == 1
    assert record.changed["a"] == 0
    assert record.missed == (0, 2)


def test_sets_of_structures_may_be_the_reference_themselves():
    probs = torch.zeros(2, 20, 1, 1)
    probs[:, 2] = 0.9
    sets = torch.zeros(2, 20, 1, 1, dtype=torch.bool)
    sets[:, 2] = sets[1, 5] = True  # independent structures: no label map could say this
    record = evaluate_case(
        "s", "s", {"a": (probs, None)}, sets, SPACING, np.ones((20, 1, 1), bool), main="a",
        rule=LabelRule("sigmoid", (1, 2)),
    )  # fmt: skip
    np.testing.assert_allclose(record.dice["a"], [1, 2 / 3])
