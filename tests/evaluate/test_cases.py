"""One labelled scan, measured by hand on a handful of voxels."""

import math

import numpy as np
import pytest
import torch

from segtrust.calibrators import PooledTemperature
from segtrust.errors import ShapeError
from segtrust.evaluate.cases import evaluate_case

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
