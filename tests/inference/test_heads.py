"""Whole heads: two crops out, one prediction back, and words where there is none."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heads import CENTRES, RULE, KnownPlaces, brightness_heads, two_balls
from phantoms import FixedSource, oblique, restored, spec_of, store_otherwise, version_of, world_coordinates
from segtrust.error_flags import FlagRule
from segtrust.errors import ModelError, ScanError, SettingError
from segtrust.inference import MAP_NAMES, NOT_LOOKED_AT, Predictor
from segtrust.inference.heads import HeadPredictor
from segtrust.inference.scan import Scan
from segtrust.models import Head

EDGES = (0.05, 0.2, 1 / 3)


@pytest.fixture(scope="module")
def head():
    return two_balls()


@pytest.fixture(scope="module")
def predicted(head):
    return brightness_heads().predict_scan(head)


def test_each_side_is_a_structure_of_its_own(head, predicted):
    world = world_coordinates(head.shape, head.affine)
    for value, centre in enumerate(CENTRES, start=1):
        assert np.array_equal(predicted.mask == value, np.linalg.norm(world - centre, axis=-1) <= 5.0)
    assert [s.name for s in predicted.structures] == ["left ball", "right ball"]
    assert [s.voxels for s in predicted.structures] == [int((predicted.mask == v).sum()) for v in (1, 2)]


def test_inside_a_box_all_is_what_the_crop_model_says_of_the_crop_alone(head, predicted):
    crops = brightness_heads().crops
    left = predicted.looked_at.places[0].box
    alone = crops.predict_scan(Scan(head.data[(slice(None), *left)].contiguous(), head.affine, head.spacing))
    assert np.array_equal(predicted.mask[left], alone.mask)
    assert np.array_equal(predicted.probs[(0, *left)], alone.probs[0])
    assert np.array_equal(predicted.probs[(1, *left)], alone.probs[1])
    for name in MAP_NAMES:
        assert np.allclose(predicted.map(name)[left], alone.map(name), atol=1e-6)


def test_outside_of_the_boxes_nobody_looked(predicted):
    outside = ~predicted.looked_at.inside()
    assert not predicted.mask[outside].any()
    assert not predicted.probs[:, outside].any()
    assert not predicted.valid[outside].any()
    for name in MAP_NAMES:
        assert (predicted.map(name)[outside] == NOT_LOOKED_AT).all()
    assert (predicted.bands(EDGES)[outside] == len(EDGES) + 1).all()
    assert not predicted.mask_with_bands(EDGES)[outside].any()
    flags, _ = predicted.flagged("entropy", FlagRule.parse("otsu"))
    assert not flags[outside].any()


def test_inside_of_the_boxes_maps_keep_their_range(predicted):
    inside = predicted.looked_at.inside()
    for name in MAP_NAMES:
        values = predicted.map(name)[inside]
        assert 0 <= values.min() <= values.max() <= 1
    assert predicted.bands(EDGES)[inside].max() <= len(EDGES)


def test_the_answer_names_the_boxes_and_survives_json(predicted):
    params = json.loads(json.dumps(predicted.params(), allow_nan=False))
    assert [place["name"] for place in params["looked_at"]] == ["left ball", "right ball"]
    assert [place["mirrored"] for place in params["looked_at"]] == [False, True]
    assert params["looked_at"][0]["voxels"] == [20, 24, 18]
    assert params["flags"] == []


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_the_mask_does_not_depend_on_how_the_file_stores_the_head(order, flips):
    scan = two_balls()
    expected = brightness_heads().predict_scan(scan)
    turned = brightness_heads().predict_scan(store_otherwise(scan, order, flips))
    assert np.array_equal(restored(turned.mask, order, flips), expected.mask)
    assert np.array_equal(restored(turned.map("entropy"), order, flips), expected.map("entropy"))
    for one, other in zip(expected.slices, turned.slices, strict=True):
        axis = order.index(one.axis)
        size = scan.shape[one.axis]
        index = size - 1 - other.index if flips[one.axis] else other.index
        assert (other.axis, index, other.structure) == (axis, one.index, one.structure)


def test_an_oblique_scan_of_uneven_voxels_keeps_its_grid():
    affine = oblique((1.0, 1.2, 2.0), 15.0)
    shape = (100, 70, 40)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    scan = two_balls(shape, affine)
    prediction = brightness_heads().predict_scan(scan)
    assert prediction.mask.shape == shape
    assert np.array_equal(prediction.affine, affine)
    world = world_coordinates(shape, affine)
    for value, centre in enumerate(CENTRES, start=1):
        truth = np.linalg.norm(world - centre, axis=-1) <= 5.0
        overlap = (
            2 * (truth & (prediction.mask == value)).sum() / (truth.sum() + (prediction.mask == value).sum())
        )
        assert overlap > 0.9  # resampled twice, from and to slices of 2 mm


def test_the_right_side_is_shown_to_the_crop_model_as_a_left_one():
    shown = []

    def remember(image):
        shown.append(image[0].numpy().copy())
        return torch.stack([1 - image[0], image[0]]).clamp(0, 1)

    scan = two_balls()
    scan.data[0, 70:75, 30, 30] = 40.0  # a mark to the right of the right ball's centre
    brightness_heads(source=FixedSource(remember)).predict_scan(scan)
    marks = [
        int(np.argwhere((image > 0.39) & (image < 0.41))[:, 0].mean() < image.shape[0] / 2)
        for image in shown[-1:]
    ]
    assert marks == [1]  # mirrored, it lies to the left


@pytest.mark.parametrize(
    ("facts", "places", "words"),
    [
        ({"left": {"second": 0.9}}, CENTRES, "the left ball was not looked at: two places look like it"),
        ({}, (None, CENTRES[1]), "the left ball was not looked at: nothing in this scan looks like it"),
    ],
)
def test_a_side_that_is_not_found_is_said_and_the_other_one_is_served(facts, places, words):
    prediction = brightness_heads(KnownPlaces(places, **facts)).predict_scan(two_balls())
    assert [(flag.code, flag.text) for flag in prediction.flags] == [("not_found", words)]
    assert [place.name for place in prediction.looked_at.places] == ["right ball"]
    left, right = prediction.structures
    assert (left.empty, left.volume_ml, left.no_interval) == (True, None, "It was not looked at.")
    assert not right.empty
    assert set(np.unique(prediction.mask)) == {0, 2}


def test_a_head_in_which_nothing_is_found_is_an_empty_answer_with_reasons():
    prediction = brightness_heads(KnownPlaces((None, None))).predict_scan(two_balls())
    assert not prediction.mask.any()
    assert [flag.code for flag in prediction.flags] == ["not_found", "not_found"]
    assert prediction.looked_at.places == ()
    assert (prediction.map("entropy") == NOT_LOOKED_AT).all()
    assert (prediction.bands(EDGES) == 4).all()
    params = json.loads(json.dumps(prediction.params(), allow_nan=False))
    assert params["looked_at"] == []
    assert params["slices"] == []


def test_sides_that_lie_as_in_no_head_are_both_refused():
    swapped = KnownPlaces((CENTRES[1], CENTRES[0]))
    prediction = brightness_heads(swapped).predict_scan(two_balls())
    assert not prediction.mask.any()
    assert all("lie as those of no head" in flag.text for flag in prediction.flags)


@pytest.mark.parametrize(
    ("changes", "places", "words"),
    [
        ({"volume_ml": (0.7, 2.0)}, CENTRES, "its mask of 0.6 ml is of no size that hippocampi have"),
        ({"most_moved_mm": 3.0}, ((-20.0, -10.0, 2.0), CENTRES[1]), "its mask lies elsewhere"),
        ({}, ((-25.0, 20.0, 2.0), CENTRES[1]), "'tiny' finds nothing in the crop around it"),
    ],
)
def test_a_mask_that_does_not_fit_the_search_is_not_shown(changes, places, words):
    finder = KnownPlaces(places, replace(RULE, **changes))
    prediction = brightness_heads(finder).predict_scan(two_balls())
    assert words in prediction.flags[0].text
    assert not (prediction.mask == 1).any()


def test_a_search_that_is_off_by_a_few_millimetres_gives_the_same_boxes():
    off = tuple((x + 4, y - 3, z + 3) for x, y, z in CENTRES)
    exact, corrected = (brightness_heads(KnownPlaces(p)).predict_scan(two_balls()) for p in (CENTRES, off))
    for one, other in zip(exact.looked_at.places, corrected.looked_at.places, strict=True):
        starts = np.array([[s.start for s in place.box] for place in (one, other)])
        assert np.abs(starts[0] - starts[1]).max() <= 1  # a box that is off by 1 mm or less stays


def test_a_ball_at_the_edge_of_the_scan_is_given_up():
    low = ((-25.0, -10.0, -23.5), CENTRES[1])
    prediction = brightness_heads(KnownPlaces(low)).predict_scan(two_balls(centres=low))
    assert "at the edge of the scan" in prediction.flags[0].text
    assert [place.name for place in prediction.looked_at.places] == ["right ball"]


def test_boxes_that_would_share_voxels_are_parted_halfway():
    near = ((-9.0, 0.0, 0.0), (9.0, 0.0, 0.0))
    finder = KnownPlaces(near, replace(RULE, apart_mm=(10.0, 69.0), leftwards_mm=(10.0, 67.0)))
    prediction = brightness_heads(finder).predict_scan(two_balls(centres=near))
    left, right = (place.box[0] for place in prediction.looked_at.places)
    assert left.stop == right.start
    inside = prediction.looked_at.inside()
    assert np.allclose(prediction.probs[:, inside].sum(0), 1, atol=1e-6)


def test_a_crop_is_refused_with_the_name_of_its_task():
    crop = two_balls((22, 24, 20), centres=((0, 0, 0), (0, 0, 0)))
    with pytest.raises(ScanError, match=r"'tiny-heads' takes whole heads.*Ask the task 'tiny' for it"):
        brightness_heads().predict_scan(crop)


def test_a_scan_of_unknown_voxel_size_is_refused():
    with pytest.raises(ScanError, match="must say how large its voxels are"):
        brightness_heads().predict_scan(replace(two_balls(), spacing=None))


def test_maps_of_views_are_refused_in_words(tmp_path):
    with pytest.raises(SettingError, match="maps of mirrored views are given for crops"):
        brightness_heads().views(tmp_path)


def test_a_crop_model_of_another_kind_is_refused():
    spec = spec_of(head=Head("sigmoid", (1, 2), 0.5))
    with pytest.raises(ModelError, match="need a crop model with a softmax head"):
        HeadPredictor(KnownPlaces(), Predictor(version_of(spec), source=FixedSource(lambda image: image)))


def test_the_digest_changes_with_the_search_and_with_the_crop_model():
    one = brightness_heads().version
    finder = KnownPlaces()
    finder.version = replace(finder.version, digest="another")
    assert len({one.digest, brightness_heads(finder).version.digest, "crops", "finder"}) == 4
    assert one.id == "0001"
