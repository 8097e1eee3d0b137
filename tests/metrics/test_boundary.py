"""Calibration by distance to the predicted boundary."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from segtrust.errors import ShapeError
from segtrust.metrics import BoundaryBins
from segtrust.regions import distance_to_boundary


def made_up(seed, n=400):
    rng = np.random.default_rng(seed)
    confidence = torch.from_numpy(rng.uniform(0.5, 1, n))
    return confidence, torch.from_numpy(rng.random(n) < 0.7), torch.from_numpy(rng.uniform(0, 20, n))


def test_errors_by_hand():
    # within 1 mm: .8 and wrong: .8; at 1.5 mm: .9 and right: .1; at exactly 2 mm, the same band: .7 and
    # right, in another bin: (.1 + .3) / 2 = .2; beyond 16 mm nothing counts
    got = BoundaryBins.of(
        torch.tensor([0.8, 0.9, 0.7, 0.6], dtype=torch.float64),
        torch.tensor([False, True, True, False]),
        torch.tensor([1.0, 1.5, 2.0, 16.5]),
    )
    assert got.errors()[:2] == (pytest.approx(0.8, abs=1e-12), pytest.approx(0.2, abs=1e-12))
    assert all(math.isnan(error) for error in got.errors()[2:])
    assert got.mean_error == pytest.approx(0.5, abs=1e-12)


def test_errors_agree_with_a_slow_loop():
    confidence, correct, distance = made_up(0)
    edges = (0, 1, 2, 4, 8, 16)
    for band, (low, high) in enumerate(itertools.pairwise(edges)):
        gaps = {}
        for c, hit, d in zip(confidence.tolist(), correct.tolist(), distance.tolist(), strict=True):
            if low < d <= high:
                gaps.setdefault(math.ceil(c * 15), []).append(hit - c)
        n = sum(map(len, gaps.values()))
        expected = sum(abs(sum(part)) for part in gaps.values()) / n
        found = BoundaryBins.of(confidence, correct, distance).errors()[band]
        assert found == pytest.approx(expected, abs=1e-12)


def test_added_scans_are_all_voxels():
    one, two = made_up(1), made_up(2)
    both = BoundaryBins.of(*(torch.cat(pair) for pair in zip(one, two, strict=True)))
    assert (BoundaryBins.of(*one) + BoundaryBins.of(*two)).errors() == pytest.approx(both.errors(), abs=1e-12)


def test_easy_voxels_far_away_do_not_hide_the_boundary():
    # at the boundary .9 and half right; ten thousand sure and right voxels 10 mm away
    near = torch.full((10,), 0.9), torch.arange(10) < 5, torch.full((10,), 0.5)
    far = torch.ones(10_000), torch.ones(10_000, dtype=torch.bool), torch.full((10_000,), 10.0)
    got = BoundaryBins.of(*(torch.cat(pair) for pair in zip(near, far, strict=True)))
    assert got.mean_error == pytest.approx((0.4 + 0) / 2, abs=1e-6)


def test_bins_come_back_from_json():
    found = BoundaryBins.of(*made_up(3))
    assert BoundaryBins.from_json(json.loads(json.dumps(found.to_json()))).errors() == found.errors()


def test_no_voxels_have_no_error():
    nothing = torch.zeros(0)
    assert math.isnan(BoundaryBins.of(nothing, nothing.bool(), nothing).mean_error)


def test_maps_of_another_size_are_refused():
    with pytest.raises(ShapeError, match="`confidence` and `distance` must have the same shape"):
        BoundaryBins.of(torch.zeros(2), torch.zeros(2), torch.zeros(3))


def test_distance_to_the_boundary_is_that_to_the_nearest_voxel_of_the_other_side():
    rng = np.random.default_rng(0)
    mask, spacing = rng.random((4, 5, 3)) < 0.5, (1.0, 0.5, 3.0)
    places = np.argwhere(np.ones(mask.shape)) * spacing
    for place, side, got in zip(
        places, mask.ravel(), distance_to_boundary(mask, spacing).ravel(), strict=True
    ):
        others = places[mask.ravel() != side]
        assert got == pytest.approx(np.linalg.norm(others - place, axis=1).min(), rel=1e-6)
