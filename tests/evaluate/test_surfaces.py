"""Distances between surfaces, against every pair of surface voxels and against MONAI's functions."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from segtrust.errors import ShapeError
from segtrust.evaluate.surfaces import SURFACE_TOLERANCE_MM, surface_figures
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
    figures = surface_figures(one, two, 2, spacing, tolerance=1.2345)
    far, near = figures["hd95"], figures["surface_dice"]
    for value in (1, 2):
        a, b = one == value, two == value
        if a.any() and b.any():
            there, back = both_ways(a, b, spacing)
            expected = max(np.percentile(there, 95), np.percentile(back, 95))
            assert far[value - 1] == pytest.approx(expected, rel=1e-12)
            within = np.count_nonzero(there <= 1.2345) + np.count_nonzero(back <= 1.2345)
            assert near[value - 1] == pytest.approx(within / (len(there) + len(back)), rel=1e-12)
        elif a.any() or b.any():
            assert (far[value - 1], near[value - 1]) == (np.inf, 0)
        else:
            assert np.isnan(far[value - 1])
            assert np.isnan(near[value - 1])


def of_monai(one, two, spacing):
    masks = [torch.from_numpy(labels == 1)[None, None] for labels in (one, two)]
    about = {"include_background": True, "spacing": list(spacing)}
    with warnings.catch_warnings():  # MONAI 1.6 warns of an argument that it passes to itself
        warnings.simplefilter("ignore", FutureWarning)
        far = compute_hausdorff_distance(*masks, percentile=95, **about)
        near = compute_surface_dice(*masks, [SURFACE_TOLERANCE_MM], **about)
    return float(far), float(near)


@pytest.mark.parametrize("seed", range(4))
def test_two_organs_of_many_voxels_have_the_figures_that_monai_gives(seed):
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.6, 3.0, 3))
    grid = np.moveaxis(np.indices((28, 26, 24)), 0, -1) * spacing
    centre = grid[14, 13, 12]
    one, two = (
        (
            np.linalg.norm((grid - centre - rng.normal(0, 2, 3)) / rng.uniform(0.7, 1.3, 3), axis=-1) < 9
        ).astype(int)
        for _ in range(2)
    )
    figures = surface_figures(one, two, 1, spacing)
    far, near = of_monai(one, two, spacing)
    # MONAI keeps distances as float32
    assert figures["hd95"][0] == pytest.approx(far, rel=1e-6)
    assert figures["surface_dice"][0] == pytest.approx(near, abs=1e-6)


def test_a_shifted_cube_by_hand():
    # 4 x 4 x 4 cubes, two voxels of 2.5 mm apart: no surface voxel is farther than 5 mm
    one, two = np.zeros((12, 8, 8), int), np.zeros((12, 8, 8), int)
    one[2:6, 2:6, 2:6] = two[4:8, 2:6, 2:6] = 1
    figures = surface_figures(one, two, 1, (2.5, 1.0, 1.0), tolerance=5.0)
    assert (figures["hd95"].tolist(), figures["surface_dice"].tolist()) == ([5.0], [1.0])


def test_air_around_the_scan_changes_nothing():
    rng = np.random.default_rng(0)
    one, two = (np.pad(rng.integers(0, 2, (6, 6, 4)), 1) for _ in range(2))
    spacing = (1.0, 2.0, 0.7)
    tight, wide = (surface_figures(np.pad(one, n), np.pad(two, n), 1, spacing) for n in (0, 9))
    assert tight == wide


def test_spacing_must_fit_the_axes():
    with pytest.raises(ShapeError, match="`spacing` one number per axis"):
        surface_figures(np.zeros((2, 2), int), np.zeros((2, 2), int), 1, (1.0, 1.0, 1.0))
