"""Errors per stated chance, on a handful of voxels."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrust.errors import ShapeError
from segtrust.metrics import ObservedErrors


def observed(chance, wrong, weight=None):
    weights = None if weight is None else torch.tensor(weight)
    return ObservedErrors.of(torch.tensor(chance), torch.tensor(wrong), weights)


def test_rate_of_a_band_is_the_share_of_its_voxels_that_were_wrong():
    counts = observed([0.01, 0.1, 0.1, 0.15, 0.19, 0.5], [True, True, False, False, False, True])
    assert counts.rate(0.05, 0.2) == 1 / 4
    assert counts.rate(1 / 3, 1.0) == 1.0


def test_a_band_without_voxels_has_no_rate():
    assert observed([0.01], [False]).rate(0.2, 1 / 3) is None


def test_a_chance_equal_to_an_edge_belongs_to_the_band_above():
    counts = observed([0.25, 0.75], [True, False])  # exact in binary, and edges of cells
    assert counts.rate(0.0, 0.25) is None
    assert (counts.rate(0.25, 0.75), counts.rate(0.75, 1.0)) == (1.0, 0.0)


def test_weights_count_as_voxels():
    assert observed([0.1, 0.1], [True, False], [1.0, 3.0]).rate(0.05, 0.2) == 0.25


def test_scans_add_up_and_come_back_from_json():
    counts = observed([0.1, 0.4], [True, False]) + observed([0.1], [False])
    back = ObservedErrors.from_json(json.loads(json.dumps(counts.to_json())))
    assert back.scans == 2
    assert (back.rate(0.05, 0.2), back.rate(1 / 3, 1.0)) == (0.5, 0.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=8))
def test_every_voxel_is_counted_once(voxels):
    counts = observed(*map(list, zip(*voxels, strict=True)))
    assert counts.voxels.sum() == len(voxels)
    assert counts.errors.sum() == sum(wrong for _, wrong in voxels)


def test_shapes_must_agree():
    with pytest.raises(ShapeError, match="must have the same shape"):
        observed([0.1, 0.2], [True])


def test_counts_of_another_number_of_cells_are_refused():
    with pytest.raises(ShapeError, match="must have 300 cells"):
        ObservedErrors.from_json({"voxels": [1], "errors": [0], "scans": 1})
