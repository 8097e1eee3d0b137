"""Regions in millimetres, chosen by the prediction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.regions import (
    bounding_box,
    distance_to,
    distance_to_boundary,
    in_band,
    main_parts,
    make_regions,
    missed_voxels,
    within,
)
from strategies import binary_masks, label_maps, spacings


def slow_distance(mask, spacing):
    """Nearest marked voxel by trying all of them."""
    marked = np.argwhere(mask) * np.array(spacing)
    distance = np.full(mask.shape, np.inf)
    for index in np.ndindex(mask.shape):
        if len(marked):
            distance[index] = np.sqrt(((marked - np.array(index) * spacing) ** 2).sum(axis=1)).min()
    return distance


@given(binary_masks(max_side=4), spacings())
def test_distances_agree_with_trying_all_voxels(mask, spacing):
    # float32 result of distances up to 40 mm
    np.testing.assert_allclose(distance_to(mask, spacing), slow_distance(mask, spacing), rtol=1e-6)


def test_distances_are_millimetres_along_each_axis():
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[0, 0, 0] = True
    distance = distance_to(mask, (3.0, 4.0, 12.0))
    assert distance[1, 0, 0] == 3
    assert distance[1, 1, 0] == 5  # 3-4-5
    assert distance[1, 1, 1] == 13  # 5-12-13


def test_without_spacing_distances_are_voxels():
    assert distance_to(np.array([True, False, False]), None).tolist() == [0, 1, 2]


def test_nothing_is_near_an_empty_mask():
    assert np.isinf(distance_to(np.zeros((2, 2), dtype=bool), (1.0, 1.0))).all()


def line(n=13, *values):
    """A row of voxels along the first axis with the given ones labelled."""
    labels = np.zeros((n, 1, 1), dtype=np.uint8)
    labels[list(values)] = 1
    return labels


def picked(mask):
    return np.flatnonzero(mask).tolist()


def test_the_band_ends_at_exactly_five_millimetres():
    # one voxel at index 6 with 1 mm voxels: 1..11 are within 5 mm, the edge included
    assert picked(make_regions(line(13, 6), (1.0, 1.0, 1.0)).masks["band"]) == list(range(1, 12))


def test_the_band_is_measured_in_millimetres_and_not_in_voxels():
    # 2 mm voxels: two steps are 4 mm, three are 6 mm
    assert picked(make_regions(line(13, 6), (2.0, 1.0, 1.0)).masks["band"]) == [4, 5, 6, 7, 8]


def test_unknown_spacing_gives_a_band_of_five_voxels_with_another_name():
    regions = make_regions(line(13, 6), None)
    assert regions.band_name == "band_5vox"
    assert picked(regions.masks["band_5vox"]) == list(range(1, 12))
    assert "band" not in regions.masks


def test_the_boundary_is_three_millimetres_to_either_side():
    # labels 4..20 of 25: inside, the nearest background is index 3 or 21 -> 4,5,6 and 18,19,20;
    # outside, the nearest label is 4 or 20 -> 1,2,3 and 21,22,23
    labels = line(25, *range(4, 21))
    expected = [1, 2, 3, 4, 5, 6, 18, 19, 20, 21, 22, 23]
    assert picked(make_regions(labels, (1.0, 1.0, 1.0)).masks["boundary"]) == expected


def test_an_empty_prediction_has_no_band_and_says_so():
    regions = make_regions(line(5), (1.0, 1.0, 1.0))
    assert not regions.predicted
    assert not regions.masks["band"].any()
    assert not regions.masks["boundary"].any()
    assert regions.masks["outside"].all()


def test_padding_belongs_to_no_region():
    valid = np.ones((13, 1, 1), dtype=bool)
    valid[:6] = False
    regions = make_regions(line(13, 6), (1.0, 1.0, 1.0), valid=valid, reference=line(13, 6))
    for mask in regions.masks.values():
        assert not (mask & ~valid).any()


@given(label_maps(), spacings())
def test_band_and_outside_share_out_the_volume(labels, spacing):
    masks = make_regions(labels, spacing).masks
    assert not (masks["band"] & masks["outside"]).any()
    assert ((masks["band"] | masks["outside"]) == masks["volume"]).all()


@given(label_maps(), spacings())
def test_the_reference_chooses_no_region_but_the_box(labels, spacing):
    with_reference = make_regions(labels, spacing, reference=np.ones_like(labels)).masks
    without = make_regions(labels, spacing).masks
    assert all((with_reference[name] == without[name]).all() for name in without)
    assert set(with_reference) - set(without) == {"bbox"}


@given(label_maps(), spacings())
def test_the_predicted_foreground_lies_in_the_band(labels, spacing):
    assert make_regions(labels, spacing).masks["band"][labels > 0].all()


def test_the_box_is_widened_by_ten_millimetres():
    # 5 mm voxels: two voxels on either side of 6..7
    mask = np.zeros((15, 1, 1), dtype=bool)
    mask[6:8] = True
    assert picked(bounding_box(mask, (5.0, 1.0, 1.0))) == list(range(4, 10))


@given(binary_masks(), spacings(), st.floats(0, 20))
def test_the_box_agrees_with_a_slow_loop(mask, spacing, margin):
    box = bounding_box(mask, spacing, margin=margin)
    index = np.argwhere(mask)
    for voxel in np.ndindex(mask.shape):
        expected = len(index) > 0 and all(
            index[:, a].min() - round(margin / spacing[a])
            <= voxel[a]
            <= index[:, a].max() + round(margin / spacing[a])
            for a in range(3)
        )
        assert box[voxel] == expected


def test_missed_voxels_by_hand():
    # reference at 0 and 6, prediction at 6: voxel 0 is 6 mm away -> one of two is missed
    outside = make_regions(line(13, 6), (1.0, 1.0, 1.0)).masks["outside"]
    assert missed_voxels(line(13, 0, 6), outside) == (1, 0.5)


def test_an_empty_reference_misses_nothing():
    assert missed_voxels(line(3), np.ones((3, 1, 1), dtype=bool)) == (0, 0.0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_thin_volumes_have_regions(n):
    labels = np.zeros((8, 8, n), dtype=np.uint8)
    labels[4, 4] = 1
    assert make_regions(labels, (1.0, 1.0, 10.0)).masks["band"][4, 4].all()


def test_the_band_is_what_in_band_says_of_the_distance_exactly_on_its_edge_too():
    predicted = np.zeros((12, 3, 1), np.uint8)
    predicted[0] = 1
    for spacing, last in (((1.0, 1.0, 1.0), 5), ((2.5, 1.0, 1.0), 2), (None, 5)):
        band = make_regions(predicted, spacing).band
        assert np.array_equal(band, in_band(distance_to(predicted > 0, spacing)))
        assert (band[last].all(), band[last + 1].any()) == (True, False)


def test_distance_to_the_boundary_is_that_to_the_nearest_voxel_of_the_other_side():
    rng = np.random.default_rng(0)
    mask, spacing = rng.random((4, 5, 3)) < 0.5, (1.0, 0.5, 3.0)
    places = np.argwhere(np.ones(mask.shape)) * spacing
    for place, side, got in zip(
        places, mask.ravel(), distance_to_boundary(mask, spacing).ravel(), strict=True
    ):
        others = places[mask.ravel() != side]
        assert got == pytest.approx(np.linalg.norm(others - place, axis=1).min(), rel=1e-6)


# --- a distance that lies on a limit ------------------------------------------------------------------------


def sixths():
    """Spacings of 1/3 to 2 mm in steps of 1/6, as exact as floats are.

    Squared distances are multiples of 1/36 mm^2, so the next one after 5 mm is 5.0028 mm and after 3 mm
    3.0046 mm. Four decimals move a spacing by 5e-5 mm and such a distance by at most 15 * 5e-5 = 7.5e-4 mm:
    a voxel on the limit stays within the tolerance of 1e-3 mm, and all others stay where they are.
    """
    side = st.integers(2, 12).map(lambda n: n / 6)
    return st.tuples(side, side, side)


@given(label_maps(max_side=12), label_maps(max_side=12), sixths())
def test_four_decimals_of_a_spacing_move_no_region(predicted, other, spacing):
    reference = np.resize(other, predicted.shape)
    rounded = tuple(round(mm, 4) for mm in spacing)
    exact, coarse = (make_regions(predicted, size, reference=reference) for size in (spacing, rounded))
    for name, mask in exact.masks.items():
        np.testing.assert_array_equal(mask, coarse.masks[name], err_msg=name)


@pytest.mark.parametrize("spacing", [5 / 3, 1.6667, 1.66667, np.float32(5 / 3)])
def test_three_voxels_of_five_thirds_of_a_millimetre_are_in_the_band(spacing):
    mask = np.array([True, False, False, False, False])
    assert in_band(distance_to(mask, (spacing,))).tolist() == [True, True, True, True, False]


def test_the_tolerance_is_a_thousandth_of_a_millimetre():
    assert within(np.array([3.0009, 3.0011]), 3).tolist() == [True, False]


# --- main parts --------------------------------------------------------------------------------------------


def test_a_part_stays_if_it_holds_its_share_of_any_structure():
    # structure 1: parts of 100 and of 10; structure 2: one part of 9, small beside structure 1
    labels = np.zeros((3, 60, 4), np.uint8)
    labels[0, :25] = 1
    labels[0, 30:32] = 1
    labels[0, 32, :2] = 1
    labels[2, 50:52] = 2
    labels[2, 52, :1] = 2
    assert np.array_equal(main_parts(labels, 0.1), labels > 0)
    without = main_parts(labels, 0.11)
    assert (without[0, :26].sum(), without[0, 26:].sum(), without[2].sum()) == (100, 0, 9)


def test_a_part_of_fewer_than_eight_voxels_is_a_speck():
    assert main_parts(np.array([1] * 8 + [0] + [2] * 7), 0.1).tolist() == [True] * 8 + [False] * 8
    assert main_parts(np.array([1] * 8 + [0] + [2] * 8), 0.1).sum() == 16


@pytest.mark.parametrize("values", [[0, 0, 0], [1, 0, 2], [1, 1, 1]], ids=["empty", "specks alone", "full"])
def test_where_no_part_qualifies_all_of_the_foreground_does(values):
    labels = np.array(values)
    assert np.array_equal(main_parts(labels, 0.5), labels > 0)
