"""Sets of masks compared: distances, generalised energy distance, coherence."""

import math

import numpy as np
import pytest

from segtrust.errors import ShapeError
from segtrust.metrics import SampleDistances, iou_distances, largest_part


def masks(*rows):
    return np.array(rows, dtype=np.uint8)


def test_14_one_sample_equal_to_the_one_label_has_distance_zero():
    assert SampleDistances.of(masks([0, 1, 1]), masks([0, 1, 1])).ged == 0


def test_14_two_empty_masks_agree():
    assert iou_distances(masks([0, 0]), masks([0, 0])).item() == 0


def test_structures_count_alike_and_one_that_both_lack_agrees():
    # structure 1: IoU 1/2; structure 2: absent in both, 1 -> 1 - (1/2 + 1) / 2
    assert iou_distances(masks([1, 1, 0]), masks([1, 0, 0]), n_structures=2).item() == pytest.approx(0.25)


def test_distances_agree_with_sets_of_pixels():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (4, 5, 6)), rng.integers(0, 3, (3, 5, 6))
    for i, j in np.ndindex(4, 3):
        slow = 0.0
        for value in (1, 2):
            one, other = ({*map(tuple, np.argwhere(m == value))} for m in (a[i], b[j]))
            slow += len(one & other) / len(one | other) / 2
        assert iou_distances(a, b, 2)[i, j] == pytest.approx(1 - slow)


def test_energy_distance_by_hand():
    # samples {a, empty}, raters {a, a}: cross mean 1/2, pairs of samples incl. itself mean 1/2, raters 0
    found = SampleDistances.of(masks([1, 1], [0, 0]), masks([1, 1], [1, 1]))
    assert found.ged == pytest.approx(2 * 0.5 - 0.5 - 0)
    assert found.diversity == 1  # the one pair of different samples
    assert found.ged_unbiased == pytest.approx(2 * 0.5 - 1 - 0)


def test_the_usual_form_is_too_large_by_the_diversity_over_n_and_the_other_is_not():
    # samples drawn from the raters themselves: the true distance is 0
    raters = masks([1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1])
    rng, n = np.random.default_rng(0), 8
    found = [SampleDistances.of(raters[rng.integers(0, 4, n)], raters) for _ in range(600)]
    bias = np.mean([each.ged for each in found])
    assert bias == pytest.approx(np.mean([each.diversity for each in found]) / n, abs=0.01)
    assert np.mean([each.ged_unbiased for each in found]) == pytest.approx(0, abs=0.01)


def test_fewer_samples_are_the_first_ones():
    samples, raters = masks([1, 0], [0, 1], [1, 1]), masks([1, 1])
    first, direct = SampleDistances.of(samples, raters).first(2), SampleDistances.of(samples[:2], raters)
    assert np.array_equal(first.cross, direct.cross)
    assert np.array_equal(first.samples, direct.samples)


def test_one_sample_has_no_diversity():
    assert math.isnan(SampleDistances.of(masks([1]), masks([1])).diversity)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"same spatial shape, got \(2,\) and \(3,\)"):
        iou_distances(masks([0, 1]), masks([0, 1, 1]))


def test_parts_that_touch_at_a_corner_are_one():
    mask = np.zeros((4, 4), np.uint8)
    mask[0, 0] = mask[1, 1] = mask[3, 3] = 1
    assert largest_part(mask) == pytest.approx(2 / 3)


def test_an_empty_mask_has_no_largest_part():
    assert math.isnan(largest_part(np.zeros((3, 3), np.uint8)))
