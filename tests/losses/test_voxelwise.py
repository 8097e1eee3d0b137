"""Losses that look at each voxel alone, against numbers by hand, MONAI and plain recomputations."""

import math

import numpy as np
import pytest
import torch
from monai.losses import FocalLoss
from torchvision.ops import sigmoid_focal_loss

from segtrust.errors import SettingError
from segtrust.losses import (
    brier_loss,
    cross_entropy,
    focal_loss,
    label_smoothing_loss,
    margin_penalty,
)
from segtrust.metrics import brier_map

THREE_QUARTERS = torch.tensor([[[math.log(3)], [0.0]]])  # one voxel, p = (3/4, 1/4)
ZERO, ONE = torch.tensor([[0]]), torch.tensor([[1]])


@pytest.fixture
def logits():
    return 3 * torch.randn((2, 4, 5, 4, 3), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels():
    return torch.randint(0, 4, (2, 5, 4, 3), generator=torch.Generator().manual_seed(1))


def test_label_smoothing_by_hand():
    # the target is (.9, .1)
    got = label_smoothing_loss(THREE_QUARTERS, ZERO, alpha=0.2).item()
    assert got == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)), abs=1e-6)


def test_label_smoothing_agrees_with_a_plain_sum(logits, labels):
    p = torch.softmax(logits.double(), 1).numpy()
    target = 0.7 * np.moveaxis(np.eye(4)[labels.numpy()], -1, 1) + 0.3 / 4
    expected = -(target * np.log(p)).sum(axis=1).mean()
    assert label_smoothing_loss(logits, labels, alpha=0.3).item() == pytest.approx(expected, abs=1e-5)


def test_label_smoothing_is_least_at_the_smoothed_label():
    # K = 4, alpha .2: the best answer is .85 and three times .05
    best = torch.tensor([0.85, 0.05, 0.05, 0.05]).log().view(1, 4, 1).requires_grad_()
    label_smoothing_loss(best, ZERO, alpha=0.2).backward()
    assert best.grad.abs().max() < 1e-6


def test_focal_by_hand():
    # p of the label is 1/4: (3/4)^2 ln 4
    assert focal_loss(THREE_QUARTERS, ONE).item() == pytest.approx(9 / 16 * math.log(4), abs=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_focal_is_monais_times_the_number_of_classes(logits, labels, gamma):
    monai = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=gamma)(logits, labels[:, None])
    torch.testing.assert_close(focal_loss(logits, labels, gamma=gamma), 4 * monai, rtol=1e-5, atol=1e-6)


def test_focal_of_a_sigmoid_head_agrees_with_torchvision(logits, labels):
    target = torch.stack([labels == k + 1 for k in range(4)], dim=1).float()
    expected = sigmoid_focal_loss(logits, target, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(focal_loss(logits, labels, head="sigmoid"), expected)


@pytest.mark.parametrize(
    "loss",
    [lambda z, y: focal_loss(z, y, gamma=0), lambda z, y: label_smoothing_loss(z, y, alpha=0)],
    ids=["focal", "smoothing"],
)
def test_at_zero_it_is_the_cross_entropy(logits, labels, loss):
    torch.testing.assert_close(loss(logits, labels), cross_entropy(logits, labels))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_focal_of_a_voxel_without_doubt_has_no_slope(gamma):
    sure = torch.tensor([[[200.0], [-200.0]]], requires_grad=True)
    focal_loss(sure, ZERO, gamma=gamma).backward()
    assert not sure.grad.any()


def test_brier_by_hand():
    assert brier_loss(THREE_QUARTERS, ONE).item() == pytest.approx(2 * 0.75**2, abs=1e-6)


def test_brier_agrees_with_the_metric(logits, labels):
    metric = brier_map(torch.softmax(logits, 1), labels).mean()
    torch.testing.assert_close(brier_loss(logits, labels).double(), metric.double(), rtol=0, atol=1e-6)


def test_margin_by_hand():
    # distances 0, 4, 5 exceed 3 by 0, 1, 2: mean 1
    assert margin_penalty(torch.tensor([[[5.0], [1.0], [0.0]]]), ZERO, margin=3.0).item() == 1


def test_margin_of_a_sigmoid_head_by_hand():
    # logits -5 and 1 with margin 3: half of 2, and nothing; mean over two structures
    got = margin_penalty(torch.tensor([[[-5.0], [1.0]]]), ZERO, margin=3.0, head="sigmoid").item()
    assert got == pytest.approx(0.5)


def test_margin_agrees_with_a_slow_loop(logits, labels):
    z = logits.double().numpy()
    total = 0.0
    for b, *voxel in np.ndindex(*labels.shape):
        column = [z[(b, k, *voxel)] for k in range(4)]
        total += sum(max(0.0, max(column) - value - 2.0) for value in column)
    expected = total / logits.numel()
    assert margin_penalty(logits, labels, margin=2.0).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        (label_smoothing_loss, {"alpha": 0.6}, r"`alpha` must be a number from 0 to 0.5, got 0.6"),
        (focal_loss, {"gamma": -1.0}, r"`gamma` must be a number from 0 to 10, got -1.0"),
        (margin_penalty, {"margin": float("nan")}, r"`margin` must be a number from 0 to 100, got nan"),
    ],
    ids=["alpha", "gamma", "margin"],
)
def test_values_outside_the_limits_are_refused_with_the_range(logits, labels, loss, options, words):
    with pytest.raises(SettingError, match=words):
        loss(logits, labels, **options)
