"""Scores per structure and scan."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segtrust import scores as s
from strategies import label_maps, spacings, unit_maps

FLAT = (1.0, 1.0, 1.0)


def row(*values, dtype=np.float32):
    return np.array(values, dtype=dtype).reshape(-1, 1, 1)


# --- by hand -----------------------------------------------------------------------------------------------


def test_a_structure_is_scored_within_five_millimetres():
    # 3 mm voxels, label at 0: voxels 0 and 1 are near (0 and 3 mm), 2 and 3 are not: mean(.2, .4) = .3
    entropy, labels = row(0.2, 0.4, 0.9, 0.9), row(1, 0, 0, 0, dtype=np.uint8)
    assert s.structure_entropy(entropy, labels, 1, (3.0, 1.0, 1.0)) == pytest.approx(0.3, abs=1e-7)


def test_the_fifth_millimetre_belongs_to_the_band():
    entropy, labels = row(0.0, 1.0, 1.0), row(1, 0, 0, dtype=np.uint8)
    assert s.structure_entropy(entropy, labels, 1, (5.0, 1.0, 1.0)) == 0.5


def test_padding_is_not_scored():
    entropy, labels = row(0.2, 0.4, 0.0), row(1, 0, 0, dtype=np.uint8)
    valid = row(True, True, False, dtype=bool)
    assert s.structure_entropy(entropy, labels, 1, FLAT, valid=valid) == pytest.approx(0.3, abs=1e-7)


def test_without_spacing_the_band_is_five_voxels():
    entropy, labels = row(*[1.0] * 6, *[0.0] * 4), row(1, *[0] * 9, dtype=np.uint8)
    assert s.structure_entropy(entropy, labels, 1, None) == 1.0


def test_a_structure_that_was_not_predicted_has_no_score():
    assert s.structure_entropy(row(0.5), row(0, dtype=np.uint8), 1, FLAT) is None


def test_the_scan_score_is_the_mean_over_predicted_structures():
    assert s.scan_entropy({1: 0.2, 2: 0.6, 3: None}) == pytest.approx(0.4, abs=1e-12)


def test_a_small_structure_counts_as_much_as_a_large_one():
    # 20 sure voxels of structure 1, one unsure voxel of structure 2 far away: (0 + 1) / 2, not 1 / 21
    labels = row(*[1] * 20, *[0] * 20, 2, dtype=np.uint8)
    entropy = row(*[0.0] * 30, *[1.0] * 11)
    structures = {value: s.structure_entropy(entropy, labels, value, FLAT) for value in (1, 2)}
    assert s.scan_entropy(structures) == pytest.approx(0.5, abs=1e-12)


def test_segment_entropy_after_mehrtash_by_hand():
    # p = .5 -> ln 2; p = .9 -> .3251; mean .5091
    got = s.binary_segment_entropy(row(0.5, 0.9, 0.1), row(True, True, False, dtype=bool))
    assert got == pytest.approx((math.log(2) + 0.325083) / 2, abs=1e-6)


def test_soft_dice_confidence_by_hand():
    # segment {.9, .7}, band also has .4: 2 * 1.6 / (2.0 + 2) = .8
    got = s.soft_dice_confidence(
        row(0.9, 0.7, 0.4, 0.3), row(1, 1, 0, 0, dtype=bool), row(1, 1, 1, 0, dtype=bool)
    )
    assert got == pytest.approx(0.8, abs=1e-6)


def test_volume_spread_by_hand():
    # structure 1: 8 and 12, mean 10, sd 2 -> .2; structure 2: equal -> 0; mean .1
    assert s.volume_spread(np.array([[8, 5], [12, 5]])) == pytest.approx(0.1, abs=1e-12)


def test_patch_maximum_by_hand():
    # boxes of 2 along one axis: best neighbours .8 and .6
    assert s.patch_maximum(row(0.1, 0.8, 0.6, 0.1), size=2) == pytest.approx(0.7, abs=1e-7)


@pytest.mark.parametrize(
    "samples", [np.array([[5, 5]]), np.array([[0, 0], [0, 0]])], ids=["one sample", "no voxels"]
)
def test_volume_spread_is_unknown(samples):
    assert s.volume_spread(samples) is None


@pytest.mark.parametrize(
    "score",
    [
        lambda empty: s.mean_in(np.ones(3), empty),
        lambda empty: s.binary_segment_entropy(np.ones(3), empty),
        lambda empty: s.soft_dice_confidence(np.ones(3), empty, np.ones(3, dtype=bool)),
    ],
    ids=["mean_in", "binary_segment_entropy", "soft_dice_confidence"],
)
def test_scores_of_an_empty_mask_are_unknown_and_never_zero(score):
    assert score(np.zeros(3, dtype=bool)) is None


# --- oracles and properties --------------------------------------------------------------------------------


@given(st.data())
def test_structure_entropy_agrees_with_a_slow_loop(data):
    labels = data.draw(label_maps(max_side=4))
    spacing = data.draw(spacings())
    entropy = data.draw(unit_maps(shape=labels.shape))
    segment = np.argwhere(labels == 1) * np.array(spacing)
    near = [
        entropy[voxel]
        for voxel in np.ndindex(labels.shape)
        if len(segment) and np.float32(np.linalg.norm(segment - np.array(voxel) * spacing, axis=1).min()) <= 5
    ]
    got = s.structure_entropy(entropy, labels, 1, spacing)
    assert got == (pytest.approx(np.mean(near), abs=1e-12) if near else None)


@given(st.data())
def test_the_default_score_rises_with_every_voxel_of_the_band(data):
    labels = data.draw(label_maps(max_side=4))
    entropy = data.draw(unit_maps(shape=labels.shape))
    voxel = tuple(data.draw(st.integers(0, n - 1)) for n in labels.shape)
    before = s.structure_entropy(entropy, labels, 1, FLAT)
    entropy[voxel] = min(1.0, entropy[voxel] + 0.25)
    after = s.structure_entropy(entropy, labels, 1, FLAT)
    assert (before is None and after is None) or after >= before


@given(hnp.arrays(np.float64, 6, elements=st.floats(0, 1)), hnp.arrays(np.bool_, 6))
def test_segment_entropy_agrees_with_scipy(p, segment):
    got = s.binary_segment_entropy(p, segment)
    if segment.any():
        expected = scipy.stats.entropy(np.stack([p[segment], 1 - p[segment]]), axis=0).mean()
        assert got == pytest.approx(expected, abs=1e-12)
    else:
        assert got is None


@given(
    hnp.arrays(np.float64, 6, elements=st.floats(0.01, 1)), hnp.arrays(np.bool_, 6), hnp.arrays(np.bool_, 6)
)
def test_soft_dice_confidence_lies_in_the_unit_interval(p, segment, band):
    got = s.soft_dice_confidence(p, segment, band)
    assert got is None or 0 < got <= 1 + 1e-12


def test_class_score_by_hand():
    # forty voxels near: ceil(40 / 20) = 2 of them count, .9 * .5 = .45 and .5 * .7 = .35; the far 1 does not
    entropy, probability = np.full(41, 0.1), np.full(41, 0.5)
    entropy[:2], probability[:2] = (0.9, 0.5), (0.5, 0.7)
    entropy[40] = probability[40] = 1.0
    assert s.class_score(entropy, probability, np.arange(41) < 40) == pytest.approx(0.4, abs=1e-12)


@given(st.data())
def test_class_score_agrees_with_sorting(data):
    entropy = data.draw(unit_maps())
    probability = data.draw(unit_maps(shape=entropy.shape))
    near = data.draw(hnp.arrays(np.bool_, entropy.shape))
    values = sorted((h * p for h, p, n in zip(entropy.flat, probability.flat, near.flat, strict=True) if n))
    top = values[-math.ceil(len(values) / 20) :] if values else []
    expected = pytest.approx(sum(top) / len(top), abs=1e-12) if top else None
    assert s.class_score(entropy, probability, near) == expected


def test_soft_dice_confidence_of_certainty_is_one():
    mask = row(1, 1, 0, dtype=bool)
    assert s.soft_dice_confidence(mask.astype(np.float32), mask, np.ones_like(mask)) == 1.0


@given(st.data())
def test_patch_maximum_agrees_with_trying_all_boxes(data):
    entropy = data.draw(unit_maps(shape=(5, 4, 3)))
    # every box of edge 2 that lies inside: a box that sticks out averages fewer voxels, but is at most as
    # large as the largest of its own corners allows, so compare with all boxes that keep more than half
    best = -1.0
    for start in np.ndindex(6, 5, 4):
        box = tuple(slice(max(0, a - 1), a + 1) for a in start)
        inside = entropy[box]
        if inside.size > 4:
            best = max(best, inside.mean())
    assert s.patch_maximum(entropy, size=2) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("shape", [(7, 6, 3), (12, 14, 11)], ids=["smaller than the box", "larger"])
def test_patch_maximum_does_not_change_with_padding(shape):
    entropy = np.random.default_rng(0).random(shape)
    padded = np.pad(entropy, ((3, 9), (0, 4), (8, 2)))
    valid = np.pad(np.ones(shape, dtype=bool), ((3, 9), (0, 4), (8, 2)))
    plain = s.patch_maximum(entropy, np.ones(shape, dtype=bool))
    assert s.patch_maximum(padded, valid) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_patch_maximum_does_not_change_with_mirroring(axis):
    entropy = np.random.default_rng(1).random((12, 9, 15))
    assert s.patch_maximum(np.flip(entropy, axis)) == pytest.approx(s.patch_maximum(entropy), abs=1e-12)


def test_means_are_summed_in_float64():
    # 2^24 ones and then some: a float32 sum stops at 16 777 216
    values = np.ones(2**24 + 4096, dtype=np.float32)
    assert s.mean_in(values, np.ones(values.shape, dtype=bool)) == 1.0


# --- all of one scan ---------------------------------------------------------------------------------------


def scored(labels, **changes):
    shape = labels.shape
    probs = np.stack([labels == k for k in range(3)]).astype(np.float32)
    fields = {
        "entropy": np.full(shape, 0.25, np.float32),
        "between": np.full(shape, 0.125, np.float32),
        "probs": probs,
        "labels": labels,
        "spacing": FLAT,
        "n_structures": 2,
        "sample_voxels": np.array([[4, 4], [4, 4]]),
        "pairwise_dice": np.array([0.5, np.nan]),
        "pooled_pairwise_dice": np.array([0.75, np.nan]),
        "valid": np.ones(shape, dtype=bool),
    }
    return s.score_scan(**{**fields, **changes})


def test_all_scores_of_a_scan_by_hand():
    got = scored(row(1, 1, 0, 2, dtype=np.uint8))
    assert got.to_json() == {
        "entropy": 0.25,
        "between_member": 0.125,
        "patch_maximum": 0.25,
        "volume_spread": 0.0,
        "pairwise_dice": 0.5,  # structure 2 is unknown and left out
        "soft_dice_confidence": 1.0,  # p is 1 inside and 0 outside
        "global_mean": 0.25,
        "doubt": 0.0,  # one less the soft Dice of both
    }
    assert dict(got.structures) == {1: 0.25, 2: 0.25}
    assert got.pooled_pairwise_dice == 0.75
    # four voxels of .25 are near two voxels, and near one
    assert [details.entropy_share for details in got.details.values()] == pytest.approx([1 / 3, 1 / 2])
    assert [details.class_score for details in got.details.values()] == [0.25, 0.25]  # p is 1 inside


def test_an_empty_prediction_has_no_score_and_no_nan():
    got = scored(
        row(0, 0, 0, dtype=np.uint8),
        sample_voxels=np.zeros((2, 2), int),
        pairwise_dice=np.full(2, np.nan),
        pooled_pairwise_dice=np.full(2, np.nan),
    )
    assert got.entropy is None
    assert not any(isinstance(v, float) and math.isnan(v) for v in got.to_json().values())


def test_an_absent_structure_is_skipped():
    got = scored(row(1, 0, 0, dtype=np.uint8))
    assert got.structures[2] is None
    assert got.details[2].class_score is None
    assert got.entropy == got.structures[1]


def test_what_a_segment_looks_like_by_hand():
    labels = np.zeros((1, 5, 3), np.uint8)
    labels[0, :2, 0] = 1  # two voxels in a row, and a third apart from them
    labels[0, 4, 0] = 1
    labels[0, 2, 0] = 2  # touches the first structure
    probs = np.stack([labels == k for k in range(3)]).astype(np.float32)
    probs[:, 0, 1, 0] = (0.0, 0.7, 0.3)
    spacing = (2.0, 0.5, 0.5)
    got = scored(labels, probs=probs, spacing=spacing, sample_voxels=np.array([[2, 1], [4, 1]])).details[1]
    assert got.size == 3 * 0.5  # cubic millimetres
    # faces: three upwards, one to structure 2, one below the third voxel; none on the volume's edge
    assert got.surface == pytest.approx(5 / 3)
    assert got.largest_part == pytest.approx(2 / 3)
    assert got.mixing == pytest.approx(0.3 / 3)
    assert got.expected_volume == pytest.approx(2.7 / 3)
    assert got.volume_spread == pytest.approx(1 / 3)  # 3 on average, 1 off
    assert scored(labels, spacing=None).details[1].size == 3  # voxels


def test_an_absent_structure_looks_like_nothing():
    got = scored(row(1, 0, 0, dtype=np.uint8)).details[2]
    names = ("mixing", "size", "surface", "largest_part", "expected_volume")
    assert [getattr(got, name) for name in names] == [None] * 5


def test_overlapping_structures_mix_at_most_wholly():
    # sigmoid heads: no background channel, chances need not sum to one
    probs = np.ones((3, 1, 1, 2), np.float32)
    got = scored(np.ones((1, 1, 2), np.uint8), probs=probs, n_structures=3,
                 sample_voxels=np.full((2, 3), 2), pairwise_dice=np.ones(3),
                 pooled_pairwise_dice=np.ones(3)).details[1]  # fmt: skip
    assert got.mixing == 1


# --- size -------------------------------------------------------------------------------------------------


def ball(radius, softness=0.4):
    """Scores of a ball in 1 mm voxels whose probability falls over its border alike for any size."""
    n = 2 * (radius + 9) + 1
    away = np.sqrt(((np.indices((n, n, n)) - n // 2) ** 2).sum(axis=0)) - radius
    p = 1 / (1 + np.exp(away / softness))
    unsure = -(p * np.log(p) + (1 - p) * np.log1p(-p)) / np.log(2)
    voxels = np.array([[np.count_nonzero(p > 0.5)]] * 2)
    return s.score_scan(
        entropy=unsure.clip(0, 1).astype(np.float32),
        between=np.zeros_like(p, dtype=np.float32),
        probs=np.stack([1 - p, p]).astype(np.float32),
        labels=(p > 0.5).astype(np.uint8),
        spacing=FLAT,
        n_structures=1,
        sample_voxels=voxels,
        pairwise_dice=np.array([1.0]),
        pooled_pairwise_dice=np.array([1.0]),
        valid=np.ones(p.shape, dtype=bool),
    )


def test_doubt_grows_as_a_structure_shrinks_where_its_mean_entropy_falls():
    # expected Dice by soft Dice; the mean over the band ranks the small ball surer than the large one
    small, large = ball(3), ball(14)
    assert small.soft_dice_confidence < large.soft_dice_confidence - 0.1
    assert small.entropy < large.entropy
    assert small.doubt > large.doubt + 0.2


def test_doubt_follows_size_step_by_step():
    doubts = [ball(radius).doubt for radius in range(2, 15)]
    assert doubts == sorted(doubts, reverse=True)


@given(label_maps(n_structures=1, max_side=6), st.data())
def test_the_share_of_entropy_agrees_with_a_sum_over_voxels(labels, data):
    unsure = data.draw(unit_maps(shape=labels.shape))
    near = data.draw(hnp.arrays(np.bool_, labels.shape))
    got = s.entropy_share(unsure, labels == 1, near)
    size, total = int((labels == 1).sum()), sum(h for h, n in zip(unsure.flat, near.flat, strict=True) if n)
    assert got is None if size == 0 else got == pytest.approx(total / (total + size), abs=1e-12)


def test_a_rounded_spacing_changes_no_entropy():
    # 5/3 mm: three voxels are 5 mm; with 1.6667 mm they would be 5.0001 mm, a shell of voxels less
    labels = np.zeros((13, 13, 13), np.uint8)
    labels[6, 6, 6] = 1
    away = np.sqrt(((np.indices(labels.shape) - 6) ** 2).sum(axis=0))
    exact, rounded = (
        s.structure_entropy(np.exp(-away), labels, 1, (spacing,) * 3) for spacing in (5 / 3, 1.6667)
    )
    assert exact == rounded
