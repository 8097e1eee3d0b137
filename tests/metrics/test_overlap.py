"""Dice per structure."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import DiceMetric
from torchmetrics.functional.segmentation import dice_score

from segtrust.errors import ProbabilityError, ShapeError
from segtrust.metrics import Confusion, dice_per_structure
from strategies import label_maps


def test_dice_by_hand():
    # structure 1: overlap 1, sizes 2 and 1 -> 2/3; structure 2: overlap 1, sizes 1 and 2 -> 2/3
    predicted, reference = np.array([1, 1, 2, 0]), np.array([1, 2, 2, 0])
    np.testing.assert_allclose(dice_per_structure(predicted, reference, 2), [2 / 3, 2 / 3], rtol=1e-15)


def test_a_structure_in_neither_map_has_no_dice_and_in_one_map_has_zero():
    got = dice_per_structure(np.array([1, 1]), np.array([0, 0]), 2)
    assert got[0] == 0
    assert np.isnan(got[1])


@given(st.data())
def test_dice_agrees_with_sets(data):
    predicted = data.draw(label_maps(max_side=3))
    reference = np.random.default_rng(0).integers(0, 3, predicted.shape)
    for value, got in enumerate(dice_per_structure(predicted, reference, 2), start=1):
        p, r = set(np.flatnonzero(predicted == value)), set(np.flatnonzero(reference == value))
        if p or r:
            assert got == pytest.approx(2 * len(p & r) / (len(p) + len(r)), abs=1e-15)
        else:
            assert np.isnan(got)


@given(label_maps())
def test_a_map_agrees_perfectly_with_itself(labels):
    got = dice_per_structure(labels, labels, 2)
    assert set(got[~np.isnan(got)]) <= {1.0}


def test_dice_agrees_with_monai():
    rng = np.random.default_rng(2)
    predicted, reference = rng.integers(0, 3, (6, 6, 6)), rng.integers(0, 3, (6, 6, 6))

    def one_hot(labels):
        return torch.nn.functional.one_hot(torch.from_numpy(labels), 3).movedim(-1, 0)[None]

    expected = DiceMetric(include_background=False, reduction="none")(one_hot(predicted), one_hot(reference))[
        0
    ]
    np.testing.assert_allclose(dice_per_structure(predicted, reference, 2), expected, atol=1e-6)


def test_different_sizes_are_refused():
    with pytest.raises(ShapeError, match=r"got \(2,\) and \(3,\)"):
        dice_per_structure(np.zeros(2, int), np.zeros(3, int), 1)


def test_dice_agrees_with_torchmetrics():
    rng = np.random.default_rng(3)
    predicted, reference = rng.integers(0, 3, (5, 6, 7)), rng.integers(0, 3, (5, 6, 7))
    expected = dice_score(
        torch.from_numpy(predicted)[None], torch.from_numpy(reference)[None], 3, average="none",
        include_background=False, input_format="index",
    )  # fmt: skip
    np.testing.assert_allclose(dice_per_structure(predicted, reference, 2), expected[0], atol=1e-6)


def test_added_scans_give_the_pooled_dice():
    # scan one: overlap 1 of sizes 1 and 1; scan two: overlap 0 of sizes 1 and 3; pooled 2 * 1 / 6, mean 1/2
    first = Confusion.of(np.array([1, 0]), np.array([1, 0]), 1)
    second = Confusion.of(np.array([1, 0, 0, 0]), np.array([0, 1, 1, 1]), 1)
    assert (first + second).dice().tolist() == [pytest.approx(1 / 3)]
    with pytest.raises(ShapeError, match="got 1 and 2"):
        first + Confusion.of(np.array([1]), np.array([1]), 2)


def test_volumes_by_hand():
    # three voxels predicted, two labelled, of 2 x 1 x 5 mm = 0.01 ml; structure 2 is missing in the reference
    found = Confusion.of(np.array([1, 1, 1, 2]), np.array([1, 1, 0, 0]), 2)
    predicted, reference = found.volumes((2.0, 1.0, 5.0))
    np.testing.assert_allclose(predicted, [0.03, 0.01], rtol=1e-12)
    np.testing.assert_allclose(reference, [0.02, 0.0], rtol=1e-12)


def test_voxels_with_the_ignored_label_do_not_count():
    predicted, reference = np.array([1, 1, 0, 1], np.uint8), np.array([1, 255, 255, 0], np.uint8)
    got = Confusion.of(predicted, reference, 1, ignore=255)
    assert got.counts.tolist() == [[0, 0], [1, 1]]


@given(st.data())
def test_counts_agree_with_a_slow_loop_in_any_number_of_axes(data):
    predicted = data.draw(label_maps(max_side=3))
    reference = np.random.default_rng(1).integers(0, 3, predicted.shape)
    expected = np.zeros((3, 3), int)
    for p, r in zip(predicted.ravel(), reference.ravel(), strict=True):
        expected[p, r] += 1
    assert np.array_equal(Confusion.of(predicted, reference, 2).counts, expected)
    assert np.array_equal(Confusion.of(predicted[0], reference[0], 2).counts.sum(), predicted[0].size)


@pytest.mark.parametrize(
    ("predicted", "reference", "name"),
    [([3], [0], "predicted"), ([0], [255], "reference"), ([-1], [0], "predicted")],
)
def test_labels_that_are_no_structure_are_refused(predicted, reference, name):
    with pytest.raises(ProbabilityError, match=f"`{name}` must hold labels from 0 to 2"):
        Confusion.of(np.array(predicted), np.array(reference), 2)


@pytest.mark.slow
def test_counts_past_the_last_whole_float32_stay_exact():
    labels = np.ones((2**24 + 3,), np.uint8)
    assert Confusion.of(labels, labels, 1).counts[1, 1] == 2**24 + 3
