"""ECE and MCE from bins."""

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import CalibrationErrorMetric

from segtrust._binning import Bins, bin_voxels
from segtrust.metrics import (
    average_calibration_error,
    bin_classes,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    kolmogorov_smirnov_error,
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


def test_average_error_by_hand():
    # bin (.5, .75]: gap .15 over two voxels; bin (.75, 1]: gap .1 over one; both count alike
    bins = bins_of([0.6, 0.7, 0.9], [True, False, True], 4)
    assert average_calibration_error(bins) == pytest.approx(0.125, abs=1e-12)
    assert average_calibration_error(bins, least=2) == pytest.approx(0.15, abs=1e-12)
    assert math.isnan(average_calibration_error(bins, least=3))


def test_three_errors_agree_with_monai_class_by_class():
    p, labels = some_voxels(3000)
    one_hot = torch.nn.functional.one_hot(labels, 3).T[None].float().contiguous()
    classes = bin_classes(p, labels, cells=20)
    for reduction, measure in (
        ("expected", expected_calibration_error),
        ("average", average_calibration_error),
        ("maximum", lambda bins: maximum_calibration_error(bins, least=1)),
    ):
        metric = CalibrationErrorMetric(num_bins=20, calibration_reduction=reduction, metric_reduction="none")
        metric(p.T[None].contiguous(), one_hot)
        # MONAI sums in float32
        np.testing.assert_allclose([measure(bins) for bins in classes], metric.aggregate()[0], atol=1e-6)


@pytest.mark.slow
def test_past_the_last_whole_float32_monai_stops_counting_and_ours_does_not():
    # 21 million voxels of probability .05, none of that class: MONAI's counter stops at 2^24 = 16 777 216
    n = 21_000_000
    p = torch.full((n,), 0.05)
    metric = CalibrationErrorMetric(num_bins=10, metric_reduction="none")
    metric(torch.stack([p, p])[None], torch.zeros(1, 2, n))
    assert metric.aggregate()[0, 0].item() == pytest.approx(0.0625, abs=1e-4)
    ours = expected_calibration_error(bin_voxels(p, torch.zeros(n, dtype=torch.bool), cells=10))
    assert ours == pytest.approx(float(np.float32(0.05)), abs=1e-9)


def test_torchmetrics_gives_certainty_a_bin_of_its_own():
    # 1.0 (wrong) and .95 (right) share our last bin of ten: |1 - 1.95| / 2; torchmetrics puts 1.0 behind the
    # last edge: (|0 - 1| + |1 - .95|) / 2
    confidence, correct = torch.tensor([1.0, 0.95]), torch.tensor([0, 1])
    ours = expected_calibration_error(bin_voxels(confidence, correct, cells=10))
    assert ours == pytest.approx(0.475, abs=1e-6)
    assert tm.binary_calibration_error(confidence, correct, n_bins=10).item() == pytest.approx(
        0.525, abs=1e-6
    )


def test_a_value_on_an_edge_is_in_the_bin_below_for_us_and_monai_and_above_for_torchmetrics():
    # .5 (right) and .4 (wrong) with two bins: ours share one, |1 - .9| / 2; theirs are apart, (.5 + .4) / 2
    confidence, correct = torch.tensor([0.5, 0.4]), torch.tensor([1, 0])
    ours = expected_calibration_error(bin_voxels(confidence, correct, cells=2))
    assert ours == pytest.approx(0.05, abs=1e-6)
    assert tm.binary_calibration_error(confidence, correct, n_bins=2).item() == pytest.approx(0.45, abs=1e-6)
    metric = CalibrationErrorMetric(num_bins=2, metric_reduction="none")
    metric(confidence[None, None], correct[None, None].float())
    assert metric.aggregate().item() == pytest.approx(0.05, abs=1e-6)  # MONAI's edges are ours


def test_bins_of_equal_mass_by_hand():
    # cells of four: 1, 3, 0, 2 voxels; two bins of three wanted; the second cell is not split and joins the
    # first bin, since its middle voxel is the third
    bins = Bins(np.array([1, 3, 0, 2]), np.array([0.2, 1.2, 0.0, 1.8]), np.array([0, 1, 0, 2]))
    got = bins.equal_mass(2)
    assert got.counts.tolist() == [4, 2]
    assert got.confidence.tolist() == pytest.approx([1.4, 1.8])
    assert got.hits.tolist() == [1, 2]


@given(st.sets(st.integers(0, 5999), min_size=1, max_size=60), st.sampled_from([1, 2, 3, 15]))
def test_without_ties_equal_mass_is_a_split_of_the_sorted_voxels(cells, wanted):
    values = np.sort([(cell + 0.5) / 6000 for cell in cells])
    values = values[: len(values) // wanted * wanted]
    if len(values):
        correct = np.arange(len(values)) % 3 == 0
        expected = np.mean(
            [
                abs(c.mean() - h.mean())
                for c, h in zip(np.split(values, wanted), np.split(correct, wanted), strict=True)
            ]
        )
        got = bins_of(values, correct, 6000).equal_mass(wanted)
        assert len(got) == wanted
        assert expected_calibration_error(got) == pytest.approx(expected, abs=1e-12)


@given(voxels, st.integers(1, 20))
def test_equal_mass_keeps_every_voxel(table, wanted):
    bins = bins_of([p for p, _ in table], [hit for _, hit in table], 60)
    got = bins.equal_mass(wanted)
    assert got.counts.sum() == len(table)
    assert got.hits.sum() == sum(hit for _, hit in table)
    assert 1 <= len(got) <= wanted
    assert (got.counts > 0).all()


def test_nothing_has_no_bins_of_equal_mass():
    assert math.isnan(expected_calibration_error(Bins.empty(30).equal_mass(5)))


def test_kolmogorov_smirnov_error_by_hand():
    # sorted .2 (right), .5 (wrong), .9 (right): running sums of hit - p: .8, .3, .4
    found = kolmogorov_smirnov_error(bins_of([0.9, 0.2, 0.5], [True, True, False], 10))
    assert found == pytest.approx(0.8 / 3, abs=1e-12)


@given(voxels, st.sampled_from([1, 10, 6000]))
def test_an_exact_sort_exceeds_the_binned_kolmogorov_smirnov_error_by_one_cell_at_most(table, cells):
    p, hit = (np.array(column, dtype=float) for column in zip(*sorted(table), strict=True))
    exact = np.abs(np.cumsum(hit - p)).max() / len(p)
    bins = bins_of(p, hit > 0, cells)
    got = kolmogorov_smirnov_error(bins)
    assert got <= exact + 1e-12
    assert exact <= got + max(bins.hits.max(), bins.confidence.max()) / len(p) + 1e-12


def some_voxels(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    p = torch.softmax(2 * torch.randn(n, 3, generator=generator), 1)
    return p, torch.randint(0, 3, (n,), generator=generator)
