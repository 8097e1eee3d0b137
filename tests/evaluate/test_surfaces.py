"""Distances between surfaces, against every pair of surface voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segtrust.errors import ShapeError
from segtrust.evaluate.surfaces import hausdorff_95, surface_dice
from strategies import spacings

shapes = st.sampled_from([(5, 6), (4, 3, 5), (1, 4, 4)])


def surface(mask, spacing):
    """Millimetres of every voxel of the mask that has a face to the outside; beyond the image is outside."""
    padded = np.pad(mask, 1)
    found = []
    for place in np.argwhere(padded):
        steps = [sign * step for step in np.eye(mask.ndim, dtype=int) for sign in (1, -1)]
        if not all(padded[tuple(place + step)] for step in steps):
            found.append((place - 1) * np.array(spacing))
    return np.array(found)


def both_ways(one, two, spacing):
    apart = np.linalg.norm(surface(one, spacing)[:, None] - surface(two, spacing)[None], axis=-1)
    return apart.min(axis=1), apart.min(axis=0)


@settings(max_examples=15)
@given(st.data(), shapes, spacings())
def test_both_measures_agree_with_every_pair_of_surface_voxels(data, shape, spacing):
    spacing = spacing[: len(shape)]
    one, two = (data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 2))) for _ in range(2))
    far, near = (
        hausdorff_95(one, two, 2, spacing),
        surface_dice(one, two, 2, spacing, tolerance=1.2345),
    )
    for value in (1, 2):
        a, b = one == value, two == value
        if a.any() and b.any():
            there, back = both_ways(a, b, spacing)
            # MONAI keeps distances as float32
            expected = max(np.percentile(there, 95), np.percentile(back, 95))
            assert far[value - 1] == pytest.approx(expected, rel=1e-6)
            within = np.count_nonzero(there <= 1.2345) + np.count_nonzero(back <= 1.2345)
            assert near[value - 1] == pytest.approx(within / (len(there) + len(back)), rel=1e-6)
        elif a.any() or b.any():
            assert (far[value - 1], near[value - 1]) == (np.inf, 0)
        else:
            assert np.isnan(far[value - 1])
            assert np.isnan(near[value - 1])


def test_a_shifted_cube_by_hand():
    # 4 x 4 x 4 cubes, two voxels of 2.5 mm apart: no surface voxel is farther than 5 mm
    one, two = np.zeros((12, 8, 8), int), np.zeros((12, 8, 8), int)
    one[2:6, 2:6, 2:6] = two[4:8, 2:6, 2:6] = 1
    assert hausdorff_95(one, two, 1, (2.5, 1.0, 1.0)).tolist() == [5.0]
    assert surface_dice(one, two, 1, (2.5, 1.0, 1.0), tolerance=5.0).tolist() == [1.0]


def test_air_around_the_scan_changes_nothing():
    rng = np.random.default_rng(0)
    one, two = (np.pad(rng.integers(0, 2, (6, 6, 4)), 1) for _ in range(2))
    spacing = (1.0, 2.0, 0.7)
    assert hausdorff_95(one, two, 1, spacing) == hausdorff_95(np.pad(one, 9), np.pad(two, 9), 1, spacing)


def test_spacing_must_fit_the_axes():
    with pytest.raises(ShapeError, match="`spacing` one number per axis"):
        hausdorff_95(np.zeros((2, 2), int), np.zeros((2, 2), int), 1, (1.0, 1.0, 1.0))
