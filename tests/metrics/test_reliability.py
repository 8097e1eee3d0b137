"""Parts of the Brier score and the points of a reliability diagram."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from segtrust._binning import Bins, bin_voxels
from segtrust.metrics import bin_classes, brier_map, brier_parts, reliability_curve
from strategies import probs


def parts_of(p, labels, cells):
    return brier_parts(bin_classes(p, labels, cells=cells), float(brier_map(p, labels).mean()))


def test_parts_by_hand():
    # two classes mirror each other. Class 0: p = .75 three times (two are class 0), p = .25 once (it is not);
    # base rate 1/2; reliability 3/4 (.75 - 2/3)^2 + 1/4 .25^2; resolution 3/4 (2/3 - 1/2)^2 + 1/4 (1/2)^2
    p = torch.tensor([[0.75, 0.25]] * 3 + [[0.25, 0.75]], dtype=torch.float64)
    got = parts_of(p, torch.tensor([0, 0, 1, 1]), 4)
    assert got.reliability == pytest.approx(2 * (0.75 / 144 + 0.25 / 16), abs=1e-12)
    assert got.resolution == pytest.approx(2 * (0.75 / 36 + 0.25 / 4), abs=1e-12)
    assert got.uncertainty == pytest.approx(2 * 0.25, abs=1e-12)
    assert got.within == pytest.approx(0, abs=1e-12)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 1)), min_size=1, max_size=40))
def test_murphys_identity_holds_if_a_bin_has_one_value(table):
    # p in the middle of cells of 1/20, so every bin holds one value: nothing is left within
    first = torch.tensor([(cell - 0.5) / 20 for cell, _ in table], dtype=torch.float64)
    got = parts_of(torch.stack([first, 1 - first], 1), torch.tensor([label for _, label in table]), 20)
    assert got.within == pytest.approx(0, abs=1e-12)
    assert min(got.reliability, got.resolution, got.uncertainty) >= 0


@given(probs(), st.integers(0, 1000), st.sampled_from([3, 15, 6000]))
def test_what_is_left_within_bins_is_stephensons_two_terms_and_bounded(p, seed, cells):
    p = p.flatten(2).transpose(1, 2).flatten(0, 1)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, p.shape[1], len(p)))
    expected = 0.0
    for k in range(p.shape[1]):
        values, truth = p[:, k].numpy(), (labels == k).numpy().astype(float)
        place = np.maximum(np.ceil(values * cells) - 1, 0)
        for b in np.unique(place):
            x, y = values[place == b], truth[place == b]
            variance = np.sum((x - x.mean()) ** 2)
            covariance = np.sum((x - x.mean()) * (y - y.mean()))
            expected += (variance - 2 * covariance) / len(p)
    got = parts_of(p, labels, cells)
    assert got.within == pytest.approx(expected, abs=1e-12)
    assert abs(got.within) <= p.shape[1] * (0.5 / cells + 0.25 / cells**2) + 1e-12


def test_a_calibrated_model_has_no_reliability_part_and_a_useless_one_no_resolution():
    # always (.25, .75), one in four is class 0
    p = torch.tensor([[0.25, 0.75]] * 4, dtype=torch.float64)
    got = parts_of(p, torch.tensor([0, 1, 1, 1]), 15)
    assert (got.reliability, got.resolution) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))


def test_no_voxels_have_no_parts():
    assert all(math.isnan(part) for part in brier_parts((), math.nan))
    assert all(math.isnan(part) for part in brier_parts((Bins.empty(15),), math.nan))


def test_curve_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    p = rng.random(500)
    hit = rng.random(500) < p**2
    got = reliability_curve(bin_voxels(torch.from_numpy(p), torch.from_numpy(hit), cells=10))
    frequency, mean = calibration_curve(hit, p, n_bins=10)
    np.testing.assert_allclose(got.frequency, frequency, rtol=1e-12)
    np.testing.assert_allclose(got.confidence, mean, rtol=1e-12)
    assert got.voxels.sum() == 500


def test_curve_leaves_out_empty_bins():
    got = reliability_curve(bin_voxels(torch.tensor([0.1, 0.9]), torch.tensor([False, True]), cells=4))
    assert (got.low.tolist(), got.high.tolist()) == ([0.0, 0.75], [0.25, 1.0])
