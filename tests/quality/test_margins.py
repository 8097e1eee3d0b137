"""How far contours must lie from a mask to be right, on shapes that can be counted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from segtrust.errors import SettingError
from segtrust.quality import Margins, NeededMargins, contour_map, contour_masks, needed_margins
from segtrust.regions import TOLERANCE_MM

SPACING = (1.0, 2.0, 3.0)
MASKS = hnp.arrays(bool, (4, 4, 3))


def voxels(*places, shape=(5, 5, 5)):
    volume = np.zeros(shape, bool)
    for place in places:
        volume[place] = True
    return volume


@pytest.mark.parametrize(
    ("place", "mm"),
    [((3, 2, 2), 1.0), ((2, 3, 2), 2.0), ((2, 2, 3), 3.0), ((3, 3, 2), 2.2361), ((4, 2, 1), 3.6056)],
    ids=["along x", "along y", "along z", "diagonal: root of 5", "root of 4 + 9"],
)
def test_the_outer_margin_is_the_distance_in_millimetres_of_the_farthest_true_voxel(place, mm):
    found = voxels((2, 2, 2))
    assert needed_margins(found, voxels((2, 2, 2), place), SPACING).outer[2] == mm


def test_a_share_leaves_the_farthest_true_voxels_out():
    # 100 true voxels in a row of which the first 50 are found: 95 % end 45, 99 % end 49 voxels beyond
    row = np.arange(100)
    margins = needed_margins(row < 50, row >= 0, (0.5,))
    assert margins.outer == (22.5, 24.5, 25.0)
    assert margins.inner == (0.0, 0.0, 0.0)


def test_the_inner_margin_takes_away_what_is_not_true():
    # found: 10 voxels of 2 mm, the outermost 3 of one end false; what is deeper than 6 mm is all true
    row = np.arange(14)
    found = (row >= 2) & (row < 12)
    margins = needed_margins(found, (row >= 2) & (row < 9), (2.0,))
    assert margins.inner == (6.0, 6.0, 6.0)
    assert margins.outer == (0.0, 0.0, 0.0)
    # deeper than 6 mm are the voxels 5 to 8
    assert np.flatnonzero(contour_masks(found, Margins(0.0, 6.0, 1), (2.0,))[0]).tolist() == [5, 6, 7, 8]


def test_a_false_voxel_in_the_depth_counts_although_the_whole_mask_is_right_enough():
    # 41 found, only the middle one is false: 40/41 is enough for 95 %, yet near the middle it is not
    row = np.arange(43)
    found = (row >= 1) & (row < 42)
    margins = needed_margins(found, found & (row != 21), (1.0,))
    # deeper than 10 mm are 21 voxels, of which 20 are true (.952); deeper than 11 mm 18 of 19 (.947)
    assert margins.inner[0] == 21.0


def test_what_is_not_there_has_no_margin_and_what_is_not_true_leaves_nothing():
    ball, empty = voxels((2, 2, 2), (1, 2, 2), (3, 2, 2)), voxels()
    assert needed_margins(empty, ball, SPACING) is None
    assert needed_margins(empty, empty, SPACING) is None
    margins = needed_margins(ball, empty, SPACING)
    assert margins.outer == (0.0, 0.0, 0.0)
    inner, _ = contour_masks(ball, Margins(0.0, margins.inner[2], 1), SPACING)
    assert not inner.any()


def test_a_mask_without_an_outside_that_is_wrong_has_no_inner_margin():
    margins = needed_margins(np.ones((2, 2, 2), bool), voxels(shape=(2, 2, 2)), SPACING)
    assert margins.inner == (math.inf,) * 3
    assert NeededMargins.from_json(margins.to_json()) == margins


@given(found=MASKS, reference=MASKS)
def test_with_the_needed_margin_a_contour_is_right_and_with_less_it_is_not(found, reference):
    margins = needed_margins(found, reference, SPACING)
    if margins is None or math.isinf(max(margins.inner)):
        assert found.all() or not found.any()
        return
    for at, share in enumerate((0.95, 0.99, 1.0)):
        own = Margins(margins.outer[at], margins.inner[at], 1)
        for more in (0.0, 0.7, 2.0):  # and with any larger one
            wide = Margins(own.outer_mm + more, own.inner_mm + more, 1)
            inner, outer = contour_masks(found, wide, SPACING)
            assert (reference & outer).sum() >= share * reference.sum() - 1e-9
            assert (reference & inner).sum() >= share * inner.sum() - 1e-9
        less = TOLERANCE_MM + 2e-4  # of comparisons, and twice the 1e-4 to which margins are rounded up
        inner, outer = contour_masks(found, Margins(own.outer_mm - less, own.inner_mm - less, 1), SPACING)
        if own.outer_mm > 0:
            assert (reference & outer).sum() < share * reference.sum()
        if own.inner_mm > 0:
            assert (reference & inner).sum() < share * inner.sum()


def test_the_map_gives_a_voxel_to_its_mask_and_else_to_the_nearer_contour():
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 2, 0, 0])
    margins = {1: Margins(2.0, 1.0, 9), 2: Margins(1.0, 1.0, 9)}
    # between the two, one mm is half of the margin of 1 and all of that of 2
    assert contour_map(labels, margins, (1.0,)).tolist() == [0, 3, 3, 2, 1, 2, 3, 5, 4, 5, 6, 0]
    assert contour_map(labels, {2: margins[2]}, (1.0,)).tolist() == [0] * 6 + [6, 5, 4, 5, 6, 0]


def test_an_empty_structure_has_no_contour():
    assert not contour_map(np.zeros((3, 3), int), {1: Margins(2.0, 1.0, 9)}, (1.0, 1.0)).any()


def test_more_structures_than_one_byte_holds_are_refused():
    with pytest.raises(SettingError, match="holds structures 1 to 85, got 86"):
        contour_map(np.zeros(3, int), {86: Margins(1.0, 1.0, 9)}, (1.0,))
