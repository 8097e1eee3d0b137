"""What counts as found, and what is said where nothing does."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from heads import RULE
from phantoms import make_blob, store_otherwise
from segtrust.errors import ModelError
from segtrust.files.geometry import toward_ras
from segtrust.inference.finder import (
    FinderRule,
    Sighting,
    both_views,
    coarse_scan,
    pair_problem,
    side_shares,
    sightings,
)

SEEN = Sighting("left", (5.0, 6.0, 7.0), 20.0, 0.9, 0.1, 1.0, 12.0)

orders = st.permutations(range(3))
flips = st.tuples(*[st.booleans()] * 3)


def ball(shape, centre, radius, value=0.9):
    place = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return value * (np.linalg.norm(place - centre, axis=-1) <= radius)


def shares(left, right):
    return torch.from_numpy(np.stack([left, right]).astype(np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"centre": None}, "nothing in this scan looks like it"),
        ({"peak": 0.49}, "nothing in this scan looks like it"),
        ({"mass": 4.9}, "smaller than in any head"),
        ({"mass": 100.1}, "larger than in any head"),
        ({"second": 0.41}, "two places look like it"),
        ({"views_mm": None}, "when the scan is mirrored"),
        ({"views_mm": 8.1}, "when the scan is mirrored"),
        ({"margin_mm": 2.9}, "at the edge of the scan"),
    ],
)
def test_each_limit_has_its_words(change, words):
    problem = RULE.problem(replace(SEEN, **change))
    assert problem is None if words is None else words in problem


def test_limits_themselves_are_allowed():
    on_the_limit = replace(SEEN, mass=5.0, peak=0.5, second=0.4, views_mm=8.0, margin_mm=3.0)
    assert RULE.problem(on_the_limit) is None


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ((50.0, 0.0, 0.0), None),
        ((30.0, 0.0, 0.0), "30 mm apart"),
        ((-50.0, 0.0, 0.0), "the left one -50 mm to the left"),
        ((10.0, 45.0, 0.0), "the left one 10 mm to the left"),
        ((60.0, 60.0, 0.0), "85 mm apart"),
    ],
)
def test_two_places_must_lie_as_in_a_head(right, words):
    problem = pair_problem((0.0, 0.0, 0.0), right, RULE)
    assert problem is None if words is None else words in problem


def test_centre_mass_and_margin_are_those_of_the_largest_part():
    large, small = ball((20, 22, 24), (6, 10, 12), 3), ball((20, 22, 24), (15, 10, 12), 1)
    views = shares(np.maximum(large, small), np.zeros((20, 22, 24)))
    left, right = sightings(views, views, mm=4.0)
    assert left.centre == pytest.approx((6, 10, 12))
    assert left.mass == pytest.approx(0.9 * np.count_nonzero(large), rel=1e-6)
    assert left.second == pytest.approx(np.count_nonzero(small) / np.count_nonzero(large))
    assert left.peak == pytest.approx(0.9)
    assert left.views_mm == 0
    assert left.margin_mm == 3 * 4.0  # the ball begins at voxel 3
    assert right == Sighting("right", None, 0.0, 0.0, 0.0, None, 0.0)


def test_views_that_differ_say_by_how_much():
    nothing = np.zeros((20, 22, 24))
    one, other = ball(nothing.shape, (8, 10, 12), 4), ball(nothing.shape, (9, 10, 12), 4)
    left, _ = sightings(shares(one, nothing), shares(other, nothing), mm=4.0)
    assert left.views_mm == pytest.approx(4.0, abs=0.05)  # the mask around both cuts a few voxels of each


def test_a_view_that_sees_nothing_leaves_no_distance():
    nothing = np.zeros((20, 22, 24))
    left, _ = sightings(
        shares(ball(nothing.shape, (8, 10, 12), 4, 1.0), nothing), shares(nothing, nothing), mm=4.0
    )
    assert (left.centre, left.views_mm) == (None, None)  # half of 1 is not above 1/2


class _Sided(nn.Module):
    """Says left of what is bright in the first half, and right in the second, as a perfect search would."""

    def forward(self, image):
        half = torch.arange(image.shape[2]) < image.shape[2] / 2
        first = half[None, :, None, None]
        bright = image[:, 0] > 0
        logits = torch.stack([~bright, bright & first, bright & ~first], dim=1)
        return 20.0 * logits.float()


def test_the_mirrored_view_of_a_search_that_sees_the_same_is_the_same():
    image = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, mirrored = both_views(_Sided(), image)
    assert torch.equal(plain, mirrored)


@given(st.tuples(*[st.integers(3, 20)] * 3))
def test_images_of_any_size_keep_it(shape):
    values = side_shares(_Sided(), torch.randn(1, *shape))
    assert values.shape == (3, *shape)
    assert torch.allclose(values.sum(0), torch.ones(shape))


@given(orders, flips)
def test_the_coarse_scan_is_the_same_however_the_file_stores_it(order, flip):
    scan = make_blob((19, 18, 17))
    coarse = coarse_scan(scan, 4.0)
    again = coarse_scan(store_otherwise(scan, order, flip), 4.0)
    turned = toward_ras(again.data[0].numpy(), again.affine)
    assert np.allclose(turned, coarse.data[0].numpy(), atol=1e-5)  # sums of 64 floats in another order
    assert sorted(again.spacing) == sorted(coarse.spacing)


def test_a_coarse_voxel_is_the_mean_of_its_block_and_lies_in_its_middle():
    scan = make_blob((8, 8, 8))
    coarse = coarse_scan(scan, 4.0)
    assert coarse.data[0, 1, 0, 1] == pytest.approx(float(scan.data[0, 4:, :4, 4:].mean()), rel=1e-5)
    assert (coarse.affine @ [0, 0, 0, 1])[:3].tolist() == [1.5, 1.5, 1.5]
    assert coarse.spacing == (4.0, 4.0, 4.0)


def test_voxels_that_are_large_already_stay():
    scan = make_blob((6, 6, 6), np.diag([5.0, 5.0, 5.0, 1.0]))
    assert coarse_scan(scan, 4.0) is scan


def test_a_rule_comes_back_from_its_document():
    assert (
        FinderRule.from_json({k: list(v) if isinstance(v, tuple) else v for k, v in asdict(RULE).items()})
        == RULE
    )


def test_a_rule_without_a_limit_is_refused():
    document = asdict(RULE)
    del document["least_peak"]
    with pytest.raises(ModelError, match=r"finder\.json must hold the rule of a search, but .*least_peak"):
        FinderRule.from_json(document)
