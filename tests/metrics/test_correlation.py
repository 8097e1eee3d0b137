"""Normalised cross-correlation of two maps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given

from segtrust.errors import ShapeError
from segtrust.metrics import MapMoments
from strategies import unit_maps


def test_correlation_by_hand():
    # deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 * 2)
    assert MapMoments.of(torch.tensor([0.0, 1, 2]), torch.tensor([1.0, 3, 2])).ncc == pytest.approx(0.5)


@given(unit_maps(shape=(3, 2, 2)), unit_maps(shape=(3, 2, 2)))
def test_correlation_agrees_with_numpy(a, b):
    got = MapMoments.of(torch.from_numpy(a), torch.from_numpy(b)).ncc
    if a.std() > 1e-6 and b.std() > 1e-6:
        assert got == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-9)


def test_parts_added_are_the_whole_even_far_from_zero():
    # maps near 10^6 with a spread of 1: sums of squares would lose the spread
    rng = np.random.default_rng(0)
    a = torch.from_numpy(1e6 + rng.normal(size=700_000))
    b = 0.6 * (a - 1e6) + 0.8 * torch.from_numpy(rng.normal(size=700_000))
    parts = MapMoments.of(a[:1000], b[:1000]) + MapMoments.of(a[1000:], b[1000:])
    expected = np.corrcoef(a.numpy(), b.numpy())[0, 1]
    assert parts.n == 700_000
    assert parts.ncc == pytest.approx(expected, abs=1e-9)
    assert MapMoments.of(a, b).ncc == pytest.approx(expected, abs=1e-9)


def test_a_constant_map_correlates_with_nothing():
    assert math.isnan(MapMoments.of(torch.full((99,), 0.1), torch.arange(99)).ncc)
    assert math.isnan(MapMoments.of(torch.zeros(0), torch.zeros(0)).ncc)


def test_maps_of_another_size_are_refused():
    with pytest.raises(ShapeError, match="`a` and `b` must have the same shape"):
        MapMoments.of(torch.zeros(2), torch.zeros(3))
