"""What every fit keeps to."""

import math

import numpy as np
import pytest

from segtrust import calibrators as c
from segtrust.calibrators.guard import unless_worse, wrong_voxels
from segtrust.calibrators.voxels import StackedVoxels


@pytest.mark.parametrize(("loss", "stays"), [(0.9, True), (1.0, False), (1.1, False), (math.nan, False)])
def test_only_a_lower_loss_replaces_the_identity(loss, stays):
    warm = c.PooledTemperature(2.0)
    assert unless_worse(warm, loss, 1.0) == (warm if stays else c.Identity())


def test_wrong_voxels_are_those_whose_likeliest_class_is_another_one():
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    data = StackedVoxels(logits, np.array([0, 1, 1]), np.zeros(3), np.ones(3))
    assert wrong_voxels(data).tolist() == [False, True, False]


def test_a_sigmoid_voxel_is_wrong_if_one_of_its_channels_is():
    log_odds = np.array([[2.0, -2.0], [2.0, -2.0]])
    data = StackedVoxels(log_odds, np.array([[1, 0], [1, 1]]), np.zeros(2), np.ones(2))
    assert wrong_voxels(data).tolist() == [False, True]
