"""ECE and MCE from bins."""

import math

import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given
from hypothesis import strategies as st

from segtrust._binning import Bins, bin_voxels
from segtrust.metrics import expected_calibration_error, maximum_calibration_error


def bins_of(confidence, correct, cells):
    return bin_voxels(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct), cells=cells)


def test_expected_calibration_error_by_hand():
    # bin (.5, .75]: conf .6 and .7, one right: |1 - 1.3| = .3; bin (.75, 1]: conf .9, right: |1 - .9| = .1
    # (.3 + .1) / 3 voxels
    bins = bins_of([0.6, 0.7, 0.9], [True, False, True], 4)
    assert expected_calibration_error(bins) == pytest.approx(0.4 / 3, abs=1e-12)


def test_maximum_calibration_error_by_hand():
    # gaps of the same bins: |1 - 1.3| / 2 = .15 and .1
    bins = bins_of([0.6, 0.7, 0.9], [True, False, True], 4)
    assert maximum_calibration_error(bins, least=1) == pytest.approx(0.15, abs=1e-12)


def test_bins_with_few_voxels_do_not_decide_the_maximum():
    bins = bins_of([0.6, 0.7, 0.9], [True, False, False], 4)
    assert maximum_calibration_error(bins, least=2) == pytest.approx(0.15, abs=1e-12)


def test_no_voxels_give_no_number():
    assert math.isnan(expected_calibration_error(Bins.empty(5)))
    assert math.isnan(maximum_calibration_error(Bins.empty(5)))


voxels = st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=30)


@given(voxels, st.sampled_from([1, 4, 8]))
def test_both_errors_agree_with_a_slow_loop(table, cells):
    gaps, weights = [], []
    for b in range(cells):
        inside = [(p, hit) for p, hit in table if b / cells < p <= (b + 1) / cells]
        if inside:
            gaps.append(abs(sum(hit for _, hit in inside) - sum(p for p, _ in inside)) / len(inside))
            weights.append(len(inside) / len(table))
    bins = bins_of([p for p, _ in table], [hit for _, hit in table], cells)
    assert expected_calibration_error(bins) == pytest.approx(
        sum(g * w for g, w in zip(gaps, weights, strict=True)), abs=1e-12
    )
    assert maximum_calibration_error(bins, least=1) == pytest.approx(max(gaps), abs=1e-12)


def test_expected_calibration_error_agrees_with_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    p = torch.softmax(2 * torch.randn(2000, 3, generator=generator), 1)
    labels = torch.randint(0, 3, (2000,), generator=generator)
    confidence, predicted = p.max(1)
    got = expected_calibration_error(bin_voxels(confidence, predicted == labels, cells=15))
    expected = tm.multiclass_calibration_error(p, labels, num_classes=3, n_bins=15, norm="l1").item()
    assert got == pytest.approx(expected, abs=1e-6)  # torchmetrics sums in float32


@given(voxels)
def test_errors_lie_in_the_unit_interval_and_the_mean_is_not_above_the_maximum(table):
    bins = bins_of([p for p, _ in table], [hit for _, hit in table], 5)
    mean, largest = expected_calibration_error(bins), maximum_calibration_error(bins, least=1)
    assert 0 <= mean <= largest + 1e-12 <= 1 + 2e-12


@given(voxels)
def test_fewer_bins_never_show_a_larger_error(table):
    # |a + b| <= |a| + |b|
    bins = bins_of([p for p, _ in table], [hit for _, hit in table], 8)
    assert expected_calibration_error(bins.coarsen(2)) <= expected_calibration_error(bins) + 1e-12
