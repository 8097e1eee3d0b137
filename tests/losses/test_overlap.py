"""Cross-entropy, soft Dice and their sum."""

import math

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from segtrust.losses import LOSSES, cross_entropy, dice_ce, dice_loss


def random_batch(classes=3, shape=(5, 4, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, classes, *shape), generator=generator)
    return logits, torch.randint(0, classes, (2, *shape), generator=generator)


def test_cross_entropy_by_hand():
    # logits ln 3 and 0: p = (3/4, 1/4); labels 0 and 1: (-ln .75 - ln .25) / 2
    logits = torch.tensor([[[math.log(3), math.log(3)], [0.0, 0.0]]])
    got = cross_entropy(logits, torch.tensor([[0, 1]])).item()
    assert got == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2, abs=1e-6)


def test_dice_loss_by_hand():
    # p = (3/4, 1/4) twice, labels 0 and 1: class 1 overlaps .25; sizes .5 and 1: 1 - .5 / 1.5 = 2/3
    logits = torch.tensor([[[math.log(3), math.log(3)], [0.0, 0.0]]])
    assert dice_loss(logits, torch.tensor([[0, 1]])).item() == pytest.approx(
        2 / 3, abs=1e-5
    )  # smoothing 1e-5


def test_dice_ce_is_the_sum():
    logits, labels = random_batch()
    assert dice_ce(logits, labels) == dice_loss(logits, labels) + cross_entropy(logits, labels)


def test_dice_loss_agrees_with_a_slow_loop():
    logits, labels = random_batch()
    p = torch.softmax(logits, 1).double().numpy()
    scores = []
    for k in (1, 2):
        overlap = size = 0.0
        for b, *voxel in np.ndindex(*labels.shape):
            hit = float(labels[(b, *voxel)] == k)
            overlap += p[(b, k, *voxel)] * hit
            size += p[(b, k, *voxel)] + hit
        scores.append((2 * overlap + 1e-5) / (size + 1e-5))
    assert dice_loss(logits, labels).item() == pytest.approx(1 - np.mean(scores), abs=1e-6)


@pytest.mark.parametrize("include_background", [False, True])
def test_dice_loss_agrees_with_monai(include_background):
    logits, labels = random_batch()
    monai = DiceLoss(
        softmax=True,
        to_onehot_y=True,
        include_background=include_background,
        batch=True,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )
    got = dice_loss(logits, labels, include_background=include_background)
    torch.testing.assert_close(got, monai(logits, labels[:, None]), rtol=0, atol=1e-6)


def test_dice_ce_agrees_with_monai():
    logits, labels = random_batch()
    monai = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    torch.testing.assert_close(dice_ce(logits, labels), monai(logits, labels[:, None]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["ce", "dice", "dice_ce"])
def test_the_right_answer_with_certainty_costs_nothing(name):
    labels = torch.tensor([[0, 1, 2]])
    logits = 100 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert LOSSES[name](logits, labels).item() == pytest.approx(0, abs=1e-6)


def test_a_patch_without_the_structure_does_not_dominate():
    # sums run over the batch: an empty second patch leaves a perfect batch perfect
    labels = torch.tensor([[1, 0], [0, 0]])
    logits = 100 * torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    assert dice_loss(logits, labels).item() == pytest.approx(0, abs=1e-6)


def test_dice_of_a_sigmoid_head_is_the_mean_over_its_structures():
    # p = .5 everywhere; labels 1, 0, 0, 0: structure 1 overlaps .5 of 2 + 1; structure 2 is empty: Dice 0
    labels = torch.tensor([[1, 0, 0, 0]])
    got = dice_loss(torch.zeros(1, 2, 4), labels, head="sigmoid").item()
    assert got == pytest.approx(1 - (1 / 3 + 0) / 2, abs=1e-5)


def test_dice_of_a_sigmoid_head_agrees_with_monai_where_structures_overlap():
    logits, _ = random_batch()
    target = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.4).long()
    monai = DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
    got = dice_loss(logits, target, head="sigmoid")
    torch.testing.assert_close(got, monai(logits, target), rtol=0, atol=1e-6)


def test_cross_entropy_of_a_sigmoid_head_agrees_with_torch():
    logits, _ = random_batch()
    target = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.4).long()
    torch.testing.assert_close(
        cross_entropy(logits, target, head="sigmoid"),
        torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float()),
    )


def test_cross_entropy_with_an_ignored_label_agrees_with_torch():
    logits, labels = random_batch()
    labels[0, :2] = 255
    torch.testing.assert_close(
        cross_entropy(logits, labels, ignore=255),
        torch.nn.functional.cross_entropy(logits, labels, ignore_index=255),
    )
