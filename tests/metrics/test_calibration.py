"""ECE and MCE from bins."""

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given
from hypothesis import strategies as st

from segtrust._binning import Bins, bin_voxels
from segtrust.metrics import (
    bin_classes,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)
from strategies import probs


def bins_of(confidence, correct, cells):
    return bin_voxels(torch.as_tensor(confidence, dtype=torch.float64), torch.as_tensor(correct), cells=cells)


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


def test_class_wise_error_by_hand():
    # class 0: .9 and .6, one of two right -> bins apart: (|1 - .9| + |0 - .6|) / 2 = .35; class 1 mirrors it
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4]], dtype=torch.float64)
    found = classwise_calibration_error(bin_classes(p, torch.tensor([0, 1])))
    assert found == pytest.approx(0.35, abs=1e-12)


@given(probs(dtype=torch.float64), st.integers(0, 1000))
def test_class_wise_error_agrees_with_a_slow_loop(p, seed):
    p = p[0].flatten(1).T
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, p.shape[1], len(p)))
    errors = []
    for k in range(p.shape[1]):
        bins = {}
        for value, label in zip(p[:, k].tolist(), labels.tolist(), strict=True):
            bins.setdefault(max(math.ceil(value * 15) - 1, 0), []).append((label == k) - value)
        errors.append(sum(abs(sum(gaps)) for gaps in bins.values()) / len(p))
    assert classwise_calibration_error(bin_classes(p, labels)) == pytest.approx(np.mean(errors), abs=1e-9)


def test_without_classes_there_is_no_class_wise_error():
    assert math.isnan(classwise_calibration_error(()))


def test_debiased_error_by_hand():
    # one bin of four voxels: confidence .9, three right: gap .15; .0225 - .75 * .25 / 3 = -.04
    bins = bins_of([0.9] * 4, [True, True, True, False], 1)
    assert debiased_calibration_error(bins) == pytest.approx(-0.04, abs=1e-12)


def test_a_perfect_model_has_no_debiased_error_on_average():
    rng, found, plain = np.random.default_rng(0), [], []
    for _ in range(400):
        p = rng.uniform(0.5, 1, 60)
        bins = bins_of(p, rng.random(60) < p, 15)
        found.append(debiased_calibration_error(bins))
        plain.append(expected_calibration_error(bins) ** 2)
    # the spread of p inside a bin (1/15 wide) adds almost nothing
    assert abs(np.mean(found)) < 3 * np.std(found) / 20 + 5e-4
    assert np.mean(plain) > 0.01


def test_debiased_error_of_a_wrong_model_is_its_squared_gap():
    rng = np.random.default_rng(1)
    found = [debiased_calibration_error(bins_of([0.9] * 50, rng.random(50) < 0.7, 15)) for _ in range(400)]
    # gap .2; one standard error of the mean is .0013
    assert np.mean(found) == pytest.approx(0.04, abs=0.005)


def test_bins_of_one_voxel_have_no_variance_to_take_off():
    assert math.isnan(debiased_calibration_error(bins_of([0.9, 0.3], [True, False], 10)))
