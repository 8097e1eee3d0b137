"""Acceptance vectors of the methods specification: numbers a reproduction is held against.

Vectors 4 and 5 are in ``tests/losses/test_stochastic.py``, 6 in ``test_cape.py``, 11 in
``tests/quality/test_conformal.py``, 14 in ``tests/metrics/test_samples.py``; 13, and 9 end to end, in
``tests/inference/test_predictor.py``.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from segtrust import calibrators
from segtrust._binning import bin_voxels
from segtrust.ensemble import RunningTotals
from segtrust.metrics import ErrorHistogram, error_auroc, expected_calibration_error
from segtrust.scores import mean_in, structure_entropy
from segtrust.uncertainty import (
    entropy,
    expected_entropy,
    mutual_information,
    probability_margin,
    variance,
    variation_ratio,
)
from strategies import sample_stacks


def test_1_mutual_information_of_members_split_one_to_four():
    # mean (.2, .8), members certain: -(.2 ln .2 + .8 ln .8) = .3219 + .1785 = .5004 nats
    votes = torch.tensor([1, 0, 0, 0, 0])
    samples = torch.nn.functional.one_hot(votes, 2).double()[:, None]
    assert mutual_information(samples).item() == pytest.approx(0.5004, abs=5e-5)


def test_1_identical_members_share_no_information():
    p = torch.softmax(torch.randn(1, 3, 2000, generator=torch.Generator().manual_seed(0)), 1)
    # float32: total and within are the same sum, rounded once more by the mean; the vector allows 2e-7, and
    # an entropy near ln 3 has a rounding step of 1.2e-7
    assert mutual_information(p.double().expand(5, *p.shape)).max() < 2e-7
    assert mutual_information(p.expand(4, *p.shape)).max() < 3e-7


@given(sample_stacks())
def test_1_information_is_at_most_the_logarithm_of_the_members(samples):
    assert mutual_information(samples).max() <= math.log(len(samples)) + 1e-9


@given(sample_stacks())
def test_2_the_law_of_total_variance(samples):
    # sum_k Var_m p + sum_k mean_m p (1 - p) = sum_k mean p (1 - mean p)
    within = (samples * (1 - samples)).mean(0).sum(1)
    mean = samples.mean(0)
    np.testing.assert_allclose(variance(samples) + within, (mean * (1 - mean)).sum(1), atol=1e-6)


def test_2_an_even_sigmoid_channel_holds_ln_2():
    assert entropy(torch.tensor([[0.5]]), head="sigmoid").item() == pytest.approx(math.log(2), abs=1e-7)


def test_3_with_two_classes_three_measures_find_errors_equally_well():
    generator = torch.Generator().manual_seed(0)
    q = torch.rand(3000, generator=generator, dtype=torch.float64)
    p = torch.stack([q, 1 - q])[None]
    wrong = torch.rand(3000, generator=generator, dtype=torch.float64) < torch.minimum(q, 1 - q)
    exact = {
        f.__name__: roc_auc_score(wrong, f(p)[0]) for f in (entropy, probability_margin, variation_ratio)
    }
    assert len(set(exact.values())) == 1  # the same order of voxels, so the very same number
    for measure in (entropy, probability_margin, variation_ratio):
        maximum = {"entropy": math.log(2), "probability_margin": 1, "variation_ratio": 0.5}[measure.__name__]
        got = error_auroc(ErrorHistogram.of(measure(p)[0] / maximum, wrong))
        # 4096 cells; entropy packs its values near the top, where more of them tie
        assert got == pytest.approx(exact["entropy"], abs=1e-3)


def test_7_a_histogram_of_27_million_voxels_is_exact():
    # The specification gives 27 M voxels, 25 650 000 (95 %) of them in one bin, and ECE .05775. Its
    # probabilities are not given; these fit: 95 % at .955 of which 91 % right, 5 % at .7 of which 40 % right:
    # .95 * .045 + .05 * .3 = .04275 + .015 = .05775. A float32 counter stops at 16 777 216.
    many, few = 25_650_000, 1_350_000
    confidence = torch.cat([torch.full((many,), 0.955), torch.full((few,), 0.7)])
    correct = torch.cat([torch.arange(many) < round(0.91 * many), torch.arange(few) < round(0.4 * few)])
    bins = bin_voxels(confidence, correct)
    full = bins.coarsen(10)
    assert full.counts[[9, 6]].tolist() == [many, few]
    assert full.hits[[9, 6]].tolist() == [23_341_500, 540_000]
    # float32 .955 and .7 are off by less than 3e-8
    assert expected_calibration_error(full) == pytest.approx(0.05775, abs=1e-7)


def test_7_the_pooled_temperature_is_found_from_a_draw_as_from_all_voxels():
    # The specification's histogram fit is for 10^7 voxels; ours weighs a draw. On 2 * 10^5 voxels of which
    # none is dropped it is the exact fit: compare with a grid over T.
    rng = np.random.default_rng(0)
    z = rng.normal(0, 4, 40_000)
    right = rng.random(40_000) < 1 / (1 + np.exp(-z / 1.9))
    logits = np.stack([np.zeros_like(z), z], axis=1) - np.logaddexp(0, z)[:, None]
    scans = [
        calibrators.CalibrationVoxels(
            logits[i::5].astype(np.float32),
            right[i::5].astype(np.int64),
            np.zeros(8000, np.float32),
            np.ones(8000),
            str(i),
        )
        for i in range(5)
    ]
    fitted = calibrators.fit_pooled_temperature(scans).temperature
    grid = np.linspace(1.7, 2.1, 201)
    loss = [np.logaddexp(0, np.where(right, -z, z) / t).mean() for t in grid]
    assert fitted == pytest.approx(grid[int(np.argmin(loss))], rel=0.002)


def test_8_five_identical_repeats_have_no_variance():
    # MONAI's compute_variance gives .16 here, since it flattens repeats and classes
    p = torch.tensor([[0.9], [0.1]])
    assert variance(p[None].double().expand(5, 1, 2, 1)).item() == 0
    totals = RunningTotals()
    for _ in range(5):
        totals.add(p)
    assert totals.finish().variance.item() == pytest.approx(0, abs=1e-7)  # difference of float32 squares


@pytest.mark.parametrize("side", [48, 64, 96])
def test_9_the_score_ignores_air_and_the_global_mean_does_not(side):
    # A ball of radius 6 with entropy .57 in its band, in ever more air
    grid = np.linalg.norm(np.indices((side,) * 3) - side // 2, axis=0)
    labels, uncertain = (grid <= 6).astype(np.uint8), np.where(grid <= 12, 0.57, 0.0)
    assert structure_entropy(uncertain, labels, 1, (1.0, 1.0, 1.0)) == pytest.approx(0.57, abs=1e-12)
    # voxels of a ball of radius 12: 7153; the global mean falls with the cube of the side
    everywhere = np.ones(labels.shape, dtype=bool)
    assert mean_in(uncertain, everywhere) == pytest.approx(0.57 * 7153 / side**3, rel=0.01)


def thresholded_mean(values, threshold):
    above = values[values > threshold]
    return above.mean() if above.size else math.nan


def test_10_a_thresholded_mean_falls_when_a_voxel_becomes_less_sure():
    # why it is not offered: raising one voxel from .2 to .35 pulls it over the threshold of .3
    before, after = np.array([0.9, 0.2]), np.array([0.9, 0.35])
    assert thresholded_mean(before, 0.3) == 0.9
    assert thresholded_mean(after, 0.3) == 0.625


@given(hnp.arrays(np.float64, (4, 3, 2), elements=st.floats(0, 1)), st.integers(0, 23), st.floats(0, 1))
def test_10_the_default_score_never_falls_when_a_voxel_becomes_less_sure(values, index, rise):
    labels = np.zeros((4, 3, 2), dtype=np.uint8)
    labels[0, 0, 0] = 1
    higher = values.copy()
    higher.flat[index] = min(1.0, higher.flat[index] + rise)
    spacing = (2.0, 2.0, 4.0)
    assert structure_entropy(higher, labels, 1, spacing) >= structure_entropy(values, labels, 1, spacing)


def test_12_an_empty_prediction_has_no_score():
    empty = np.zeros((3, 3, 3), dtype=np.uint8)
    assert structure_entropy(np.full((3, 3, 3), 0.5), empty, 1, (1.0, 1.0, 1.0)) is None


def test_total_is_within_plus_between_for_the_split_of_vector_1():
    samples = torch.tensor([[[0.9, 0.1]], [[0.3, 0.7]]], dtype=torch.float64)
    both = expected_entropy(samples) + mutual_information(samples)
    assert both.item() == pytest.approx(entropy(samples.mean(0)).item(), abs=1e-12)
