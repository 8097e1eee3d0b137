"""In what way a label is wrong."""

import numpy as np
import pytest

from segtrust.error_flags import FAILURES, failure_map
from segtrust.errors import ShapeError


def kinds(predicted, reference):
    found = failure_map(np.array([[predicted]]), np.array([[reference]]))
    return [FAILURES[kind] for kind in found.ravel()]


def test_errors_at_the_border_are_counted_in_voxels_from_where_the_reference_agrees():
    assert kinds([1, 1, 1, 1, 0], [1, 0, 0, 0, 0]) == ["right", "boundary_1", "boundary_2", "deep", "right"]
    assert kinds([0, 0, 1, 1, 1], [0, 1, 1, 1, 1]) == ["right", "boundary_1", "right", "right", "right"]


def test_a_diagonal_neighbour_is_farther_than_one_voxel():
    predicted, reference = np.zeros((2, 4, 4), int)
    reference[0, 0] = 1
    predicted[0, 0] = predicted[1, 1] = predicted[0, 1] = 1
    found = failure_map(predicted[None], reference[None])[0]
    assert (FAILURES[found[0, 1]], FAILURES[found[1, 1]]) == ("boundary_1", "boundary_2")


def test_another_structure_is_a_swap_and_no_border():
    assert kinds([1, 2, 2], [1, 1, 2]) == ["right", "class_swap", "right"]


def test_a_part_without_any_prediction_is_missed():
    assert kinds([1, 0, 0, 0], [1, 0, 2, 2]) == ["right", "right", "missed_component", "missed_component"]


def test_a_part_that_was_called_another_structure_is_not_missed():
    assert kinds([0, 1, 0], [0, 2, 2]) == ["right", "class_swap", "boundary_2"]


def test_a_part_without_any_reference_is_spurious():
    assert kinds([1, 0, 2], [1, 0, 0])[2] == "spurious_component"


def test_an_empty_prediction_misses_everything_and_an_empty_reference_makes_it_spurious():
    assert set(kinds([0, 0], [1, 2])) == {"missed_component"}
    assert set(kinds([1, 2], [0, 0])) == {"spurious_component"}
    assert set(kinds([0, 0], [0, 0])) == {"right"}


def test_every_wrong_voxel_has_one_kind_and_no_right_one_has_any():
    rng = np.random.default_rng(0)
    predicted, reference = rng.integers(0, 3, (2, 9, 8, 7))
    assert np.array_equal(failure_map(predicted, reference) > 0, predicted != reference)


def test_turning_both_changes_nothing():
    rng = np.random.default_rng(1)
    predicted, reference = (rng.random((2, 8, 8, 8)) < 0.1).astype(int)
    turned = failure_map(predicted.transpose(2, 0, 1)[::-1], reference.transpose(2, 0, 1)[::-1])
    assert np.array_equal(turned, failure_map(predicted, reference).transpose(2, 0, 1)[::-1])


def test_shapes_must_agree():
    with pytest.raises(ShapeError, match="must have the same shape"):
        failure_map(np.zeros((1, 2, 3), int), np.zeros((1, 2, 4), int))
