"""The border of a structure: surfaces and shells that can be counted by hand."""

import numpy as np
import pytest

from segtrust.inference.border import border_mm, surface_mm2

SPACING = (1.0, 2.0, 3.0)


def slab(shape=(12, 4, 4), begin=4, end=8):
    """Planes ``begin`` to ``end`` - 1 along the first axis."""
    mask = np.zeros(shape, bool)
    mask[begin:end] = True
    return mask


def test_a_slab_across_the_volume_has_two_faces():
    # 2 faces of 16 pixels of 2 x 3 mm, times 2/3
    assert surface_mm2(slab(), SPACING) == pytest.approx(2 * 16 * 6 * 2 / 3)


def test_the_edge_of_the_volume_is_no_face():
    assert surface_mm2(slab(begin=0), SPACING) == pytest.approx(16 * 6 * 2 / 3)
    assert surface_mm2(np.ones((3, 3, 3), bool), SPACING) == 0


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.4, 0.4, 1.0)])
def test_a_ball_has_the_area_of_a_sphere(spacing):
    grid = np.stack(np.meshgrid(*(np.arange(-12, 12, mm) for mm in spacing), indexing="ij"))
    ball = (grid**2).sum(axis=0) <= 10**2
    assert surface_mm2(ball, spacing) == pytest.approx(4 * np.pi * 10**2, rel=0.02)


def test_the_border_lies_off_by_half_the_thickness_of_the_unsure_shell():
    p = slab().astype(np.float32)
    p[[3, 4, 7, 8]] = 0.5  # 4 planes of 16 voxels of 6 mm3 over two faces of 64 mm2 (with the factor 2/3)
    assert border_mm(slab(), p, SPACING) == pytest.approx(4 * 16 * 6 / (2 * 2 * 64))


def test_a_ball_with_a_shell_of_two_millimetres_may_be_off_by_one():
    radius = np.linalg.norm(np.indices((48, 48, 48)) - 23.5, axis=0) / 2  # voxels of 0.5 mm
    p = np.clip(0.5 + 0.3 * (9.0 - radius), 0, 1).astype(np.float32)  # from 4/5 to 1/5 over 2 mm
    assert border_mm(p > 0.5, p, (0.5, 0.5, 0.5)) == pytest.approx(1.0, rel=0.03)


def test_the_side_that_is_shown_decides_what_is_unsure():
    # a mask at a threshold of .1: .15 inside is wrong with .85, .15 outside with .15 only
    p = np.where(slab(), 0.15, 0.05).astype(np.float32)
    assert border_mm(slab(), p, SPACING) == pytest.approx(4 * 16 * 6 / (2 * 2 * 64))
    assert border_mm(slab(), np.full(slab().shape, 0.15, np.float32), SPACING) == pytest.approx(
        4 * 16 * 6 / (2 * 2 * 64)
    )


def test_only_a_chance_above_one_in_five_counts():
    p = np.where(slab(), 0.81, 0.19).astype(np.float32)
    assert border_mm(slab(), p, SPACING) == 0


def test_doubt_far_from_the_structure_does_not_count():
    mask = slab((40, 4, 4))
    p = mask.astype(np.float32)
    p[8 + 5 :] = 0.5  # the box ends at 8 and grows by 5 mm = 5 voxels
    assert border_mm(mask, p, SPACING) == 0
    p[8 + 4] = 0.5
    assert border_mm(mask, p, SPACING) == pytest.approx(16 * 6 / (2 * 2 * 64))


@pytest.mark.parametrize("mask", [np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)], ids=["empty", "full"])
def test_without_a_border_there_is_no_number(mask):
    assert border_mm(mask, np.full((3, 3, 3), 0.5, np.float32), SPACING) is None
