"""Dice per structure."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import DiceMetric

from segtrust.errors import ShapeError
from segtrust.metrics import dice_per_structure
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
