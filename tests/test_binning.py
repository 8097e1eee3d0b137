"""Bins: edges, exactness, and adding."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrust._binning import Bins, bin_index, bin_voxels
from segtrust.errors import ShapeError
from strategies import unit_maps


def slow_bin(value, cells):
    """Right-closed bins by exact fractions: the first bin whose upper edge is not below the value."""
    return next(b for b in range(cells) if Fraction(float(value)) <= Fraction(b + 1, cells))


def equal(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("counts", "confidence", "hits")
    )


@pytest.mark.parametrize(
    ("value", "cell"), [(0.0, 0), (0.25, 0), (0.2500001, 1), (0.5, 1), (0.75, 2), (0.7500001, 3), (1.0, 3)]
)
def test_a_value_on_an_edge_belongs_to_the_bin_below(value, cell):
    assert bin_index(torch.tensor([value]), 4).tolist() == [cell]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.sampled_from([1, 2, 4, 8, 1024]))
def test_bins_agree_with_exact_fractions(values, cells):
    # powers of two: value * cells is exact in float64, so no rounding can excuse a difference
    assert bin_index(torch.tensor(values), cells).tolist() == [slow_bin(np.float32(v), cells) for v in values]


def test_totals_of_three_voxels_by_hand():
    # 0.2 -> bin 0 (wrong); 0.6 and 0.9 -> bin 1, one of them right
    bins = bin_voxels(
        torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64), torch.tensor([False, True, False]), cells=2
    )
    assert bins.counts.tolist() == [1, 2]
    assert bins.hits.tolist() == [0, 1]
    assert bins.confidence.tolist() == [0.2, 1.5]


@given(unit_maps(), st.integers(0, 2**32 - 1))
def test_bins_agree_with_a_slow_loop(values, seed):
    right = np.random.default_rng(seed).random(values.shape) < 0.5
    expected = Bins.empty(8)
    for value, good in zip(values.ravel(), right.ravel(), strict=True):
        b = slow_bin(value, 8)
        expected.counts[b] += 1
        expected.confidence[b] += value
        expected.hits[b] += good
    got = bin_voxels(torch.from_numpy(values), torch.from_numpy(right), cells=8)
    assert got.counts.tolist() == expected.counts.tolist()
    assert got.hits.tolist() == expected.hits.tolist()
    np.testing.assert_allclose(got.confidence, expected.confidence, rtol=1e-12)  # order of float64 sums


@given(unit_maps(), unit_maps())
def test_added_bins_are_the_bins_of_all_voxels(a, b):
    def bins(values):
        return bin_voxels(torch.from_numpy(values), torch.from_numpy(values > 0.5), cells=4)

    both = bins(np.concatenate([a.ravel(), b.ravel()]))
    total = bins(a.ravel()) + bins(b.ravel())
    assert total.counts.tolist() == both.counts.tolist()
    np.testing.assert_allclose(total.confidence, both.confidence, rtol=1e-12)  # order of float64 sums


@given(unit_maps())
def test_coarse_bins_are_the_bins_of_fewer_cells(values):
    # 8 and 2 are powers of two: the edges of 2 are edges of 8 without rounding
    voxels, right = torch.from_numpy(values), torch.from_numpy(values > 0.3)
    fine, coarse = bin_voxels(voxels, right, cells=8).coarsen(2), bin_voxels(voxels, right, cells=2)
    assert fine.counts.tolist() == coarse.counts.tolist()
    assert fine.hits.tolist() == coarse.hits.tolist()


def test_chunks_change_nothing(monkeypatch):
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    whole = bin_voxels(values, values > 0.5, cells=10)
    monkeypatch.setattr("segtrust._binning._CHUNK", 7)
    parts = bin_voxels(values, values > 0.5, cells=10)
    assert parts.counts.tolist() == whole.counts.tolist()
    np.testing.assert_allclose(parts.confidence, whole.confidence, rtol=1e-12)


def test_sums_are_float64_and_counts_int64():
    bins = bin_voxels(torch.tensor([0.5]), torch.tensor([True]))
    assert (bins.counts.dtype, bins.hits.dtype, bins.confidence.dtype) == (np.int64, np.int64, np.float64)


def test_counts_go_on_past_the_last_whole_float32():
    full = Bins(*(np.array([2**24], dtype) for dtype in (np.int64, np.float64, np.int64)))
    more = full + bin_voxels(torch.tensor([1.0]), torch.tensor([True]), cells=1)
    assert (more.counts[0], more.confidence[0], more.hits[0]) == (16_777_217, 16_777_217.0, 16_777_217)


def test_json_brings_bins_back_exactly():
    bins = bin_voxels(torch.rand(50, generator=torch.Generator().manual_seed(1)), torch.ones(50), cells=5)
    assert equal(Bins.from_json(bins.to_json()), bins)


def test_bins_of_different_length_cannot_be_added():
    with pytest.raises(ShapeError, match="got 2 and 3"):
        Bins.empty(2) + Bins.empty(3)


def test_bins_cannot_be_joined_unevenly():
    with pytest.raises(ShapeError, match="10 cells cannot be joined to 3"):
        Bins.empty(10).coarsen(3)


def test_confidence_and_correct_must_match():
    with pytest.raises(ShapeError, match=r"got \(2,\) and \(3,\)"):
        bin_voxels(torch.zeros(2), torch.zeros(3))
