"""Average calibration error with hard and soft bins, against numbers by hand, MONAI and a slow loop."""

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric

from segtrust.errors import SettingError
from segtrust.losses import hard_l1_ace, soft_l1_ace

both = pytest.mark.parametrize("loss", [hard_l1_ace, soft_l1_ace], ids=["hard", "soft"])


def logits_of(second):
    """Logits of one scan whose second class has these probabilities."""
    p = torch.tensor(second, dtype=torch.float64)
    return torch.stack((1 - p, p)).log()[None]


def batch(shape=(6, 5, 4), classes=3):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn((2, classes, *shape), generator=generator)
    return logits, torch.randint(0, classes, (2, *shape), generator=generator)


def test_hard_by_hand():
    # class 1: .7 twice against 1/2, .1 against 0; class 0: .3 twice against 1/2, .9 against 1
    got = hard_l1_ace(logits_of([0.7, 0.7, 0.1]), torch.tensor([[1, 0, 0]]), bins=2)
    assert got.item() == pytest.approx((0.2 + 0.1 + 0.2 + 0.1) / 4)


def test_soft_by_hand():
    # centres .25 and .75. Class 1: .5 (right) halves, .25 (wrong) is whole: gaps 0 in the first bin, .5 in
    # the second; class 0 mirrors it
    got = soft_l1_ace(logits_of([0.5, 0.25]), torch.tensor([[1, 0]]), bins=2)
    assert got.item() == pytest.approx(0.25)


def test_hard_slope_by_hand():
    # one voxel a bin: the mean over two bins of |p - y|, alike in both classes; slope p (1 - p) / 2
    logits = logits_of([0.8, 0.3]).requires_grad_()
    hard_l1_ace(logits, torch.tensor([[1, 0]]), bins=2).backward()
    assert logits.grad[0, 1].tolist() == pytest.approx([-0.8 * 0.2 / 2, 0.3 * 0.7 / 2])


@pytest.mark.parametrize("include_background", [True, False])
def test_hard_agrees_with_the_metric_of_monai(include_background):
    logits, labels = batch()
    metric = CalibrationErrorMetric(
        num_bins=20,
        include_background=include_background,
        calibration_reduction="average",
        metric_reduction="mean",
    )
    metric(torch.softmax(logits, 1), torch.nn.functional.one_hot(labels, 3).movedim(-1, 1))
    got = hard_l1_ace(logits, labels, include_background=include_background)
    assert got.item() == pytest.approx(metric.aggregate().item(), abs=1e-5)


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_soft_agrees_with_a_slow_loop(bins):
    logits, labels = batch((4, 3, 2))
    p = torch.softmax(logits.double(), 1).numpy()
    centres = (np.arange(bins) + 0.5) / bins
    pairs = []
    for b in range(2):
        for k in range(3):
            weight, gap = np.zeros(bins), np.zeros(bins)
            for voxel in np.ndindex(4, 3, 2):
                value, right = p[(b, k, *voxel)], float(labels[(b, *voxel)] == k)
                inner = min(max(value, centres[0]), centres[-1])
                for n, centre in enumerate(centres):
                    share = max(0.0, 1 - abs(inner - centre) * bins)
                    weight[n] += share
                    gap[n] += share * (value - right)
            full = weight >= 0.01
            pairs.append(np.mean(np.abs(gap[full]) / weight[full]))
    assert soft_l1_ace(logits, labels, bins=bins).item() == pytest.approx(np.mean(pairs), abs=1e-6)


def test_probabilities_on_an_edge_belong_to_the_lower_bin():
    # .5 joins .3 in the first of two bins of class 1 (mean .4 against 1/2); in class 0 it stands alone
    # (.5 against 0 and .7 against 1)
    got = hard_l1_ace(logits_of([0.5, 0.3]), torch.tensor([[1, 0]]), bins=2)
    assert got.item() == pytest.approx((0.1 + (0.5 + 0.3) / 2) / 2)


@both
def test_classes_without_a_label_are_left_out(loss):
    logits = torch.cat((logits_of([0.7, 0.7, 0.1]), torch.full((1, 1, 3), -50.0, dtype=torch.float64)), dim=1)
    labels = torch.tensor([[1, 0, 0]])
    torch.testing.assert_close(loss(logits, labels, bins=2), loss(logits[:, :2], labels, bins=2))


@both
def test_scans_are_binned_apart(loss):
    logits, labels = batch()
    alone = (loss(logits[:1], labels[:1]) + loss(logits[1:], labels[1:])) / 2
    torch.testing.assert_close(loss(logits, labels), alone)


@both
def test_a_crop_without_structures_has_no_slope(loss):
    logits, labels = batch()
    logits.requires_grad_()
    value = loss(logits, torch.zeros_like(labels), include_background=False)
    value.backward()
    assert value == 0
    assert not logits.grad.any()


@both
def test_frequencies_that_match_cost_nothing(loss):
    # three of four voxels at p = .75 have the label
    got = loss(logits_of([0.75, 0.75, 0.75, 0.75]), torch.tensor([[1, 1, 1, 0]]), bins=2)
    assert got.item() == pytest.approx(0, abs=1e-9)


@both
@pytest.mark.parametrize("value", [0.0, 0.025, 0.05, 0.5, 0.975, 1.0])
def test_slopes_are_finite_on_centres_edges_and_ends(loss, value):
    # a published version divides 0 by 0 where a probability meets the centre of a bin with an empty neighbour
    p = torch.full((4,), value, dtype=torch.float64)
    logits = torch.stack((1 - p, p)).log().clamp(min=-800)[None].requires_grad_()
    loss(logits, torch.tensor([[1, 0, 1, 1]])).backward()
    assert logits.grad.isfinite().all()


@both
def test_a_sigmoid_head_is_the_mean_over_its_structures(loss):
    logits, labels = batch()
    answers = torch.stack((0.5 - logits / 2, 0.5 + logits / 2), dim=2)
    alone = [loss(answers[:, k], (labels == k + 1).long(), include_background=False) for k in range(2)]
    got = loss(logits[:, :2], labels, head="sigmoid")
    torch.testing.assert_close(got, sum(alone) / 2)


@both
@pytest.mark.parametrize("bins", [1, 101, 20.0, True])
def test_other_numbers_of_bins_are_refused(loss, bins):
    with pytest.raises(SettingError, match=rf"`bins` must be a whole number from 2 to 100, got {bins}"):
        loss(*batch(), bins=bins)
