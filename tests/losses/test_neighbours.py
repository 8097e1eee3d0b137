"""SVLS and NACL, against numbers by hand, SciPy's filters and MONAI."""

import math

import numpy as np
import pytest
import torch
from monai.losses import NACLLoss
from scipy.ndimage import correlate

from segtrust.errors import SettingError
from segtrust.losses import cross_entropy, neighbour_penalty, svls_loss

THREE = torch.tensor([[0, 1, 1]])  # three voxels in a row
QUARTER = torch.tensor([math.log(3), 0.0]).view(1, 2, 1).expand(1, 2, 3)  # p = (3/4, 1/4) in each
LN0, LN1 = math.log(0.75), math.log(0.25)

shapes = pytest.mark.parametrize("shape", [(6, 5), (5, 4, 6)], ids=["2-D", "3-D"])


def batch(shape, classes=3):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, classes, *shape), generator=generator)
    return logits, torch.randint(0, classes, (2, *shape), generator=generator)


def shares(labels, kernel, classes=3):
    """Weighted share of each class around every voxel, labels repeated beyond the edge."""
    return np.stack(
        [
            [correlate((scan == k).astype(float), kernel, mode="nearest") for k in range(classes)]
            for scan in labels.numpy()
        ]
    )


def test_svls_by_hand():
    # class 1 gets 1/4 in the first voxel, 3/4 in the second, 1 in the third
    assert svls_loss(QUARTER, THREE).item() == pytest.approx(-(LN0 + 2 * LN1) / 3, abs=1e-6)


def test_svls_leaves_out_ignored_neighbours():
    labels = torch.tensor([[255, 1, 1]])  # both others have neighbours of class 1 only
    assert svls_loss(QUARTER, labels, ignore=255).item() == pytest.approx(-LN1, abs=1e-6)


def test_svls_of_a_voxel_without_neighbours_is_the_cross_entropy():
    labels = torch.tensor([[255, 0, 255]])
    assert svls_loss(QUARTER, labels, ignore=255).item() == pytest.approx(-LN0, abs=1e-6)


@shapes
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_svls_agrees_with_a_whole_kernel(shape, sigma):
    logits, labels = batch(shape)
    distance = sum(np.square(axis - 1) for axis in np.indices((3,) * len(shape)))
    kernel = np.exp(-distance / (2 * sigma**2))
    centre = (1,) * len(shape)
    kernel[centre] = 0
    kernel[centre] = kernel.sum()  # weighs as much as all neighbours together
    target = shares(labels, kernel / kernel.sum())
    expected = -(target * torch.log_softmax(logits.double(), 1).numpy()).sum(axis=1).mean()
    assert svls_loss(logits, labels, sigma=sigma).item() == pytest.approx(expected, abs=1e-5)


def test_svls_far_from_borders_is_the_cross_entropy():
    logits, labels = batch((5, 4, 6))
    labels = torch.ones_like(labels)
    torch.testing.assert_close(svls_loss(logits, labels), cross_entropy(logits, labels))


def test_svls_refuses_a_kernel_that_is_too_narrow():
    with pytest.raises(SettingError, match=r"`sigma` must be a number from 0.5 to 10, got 0.1"):
        svls_loss(QUARTER, THREE, sigma=0.1)


def test_nacl_by_hand():
    # class 1 has the shares 1/3, 2/3, 1; logits 0 and 1 are off by twice 2/3, twice 1/3, 0; mean of six
    logits = torch.tensor([0.0, 1.0]).view(1, 2, 1).expand(1, 2, 3)
    assert neighbour_penalty(logits, THREE).item() == pytest.approx(1 / 3, abs=1e-6)


def test_nacl_leaves_out_ignored_neighbours():
    # both others see class 1 only
    logits = torch.tensor([0.0, 0.5]).view(1, 2, 1).expand(1, 2, 3)
    labels = torch.tensor([[255, 1, 1]])
    assert neighbour_penalty(logits, labels, ignore=255).item() == pytest.approx(0.25, abs=1e-6)


def test_nacl_of_a_sigmoid_head_by_hand():
    # shares 1/3, 2/3, 1 want the logits -1/3, 1/3, 1; logit 0 is off by those; half of the mean
    got = neighbour_penalty(torch.zeros(1, 1, 3), THREE, head="sigmoid").item()
    assert got == pytest.approx((1 / 3 + 1 / 3 + 1) / 6, abs=1e-6)


@shapes
def test_nacl_agrees_with_a_box_filter(shape):
    logits, labels = batch(shape)
    tau = shares(labels, np.full((3,) * len(shape), 1 / 3 ** len(shape)))
    expected = np.abs(tau - logits.double().numpy()).mean()
    assert neighbour_penalty(logits, labels).item() == pytest.approx(expected, abs=1e-6)


@shapes
def test_nacl_agrees_with_monai_away_from_the_edge(shape):
    # MONAI pads with zeros, so only logits away from the edge are changed and the differences compared
    logits, labels = batch(shape)
    inside = (slice(None), slice(None), *(slice(1, -1) for _ in shape))
    other = logits.clone()
    other[inside] = torch.randn(other[inside].shape, generator=torch.Generator().manual_seed(1))
    monai = NACLLoss(classes=3, dim=len(shape), alpha=0.1)

    def penalty(z):
        return (monai(z, labels) - cross_entropy(z, labels)) / 0.1

    expected = penalty(other) - penalty(logits)
    got = neighbour_penalty(other, labels) - neighbour_penalty(logits, labels)
    assert abs(expected) > 0.01
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_nacl_costs_nothing_in_a_corner_whose_logits_are_the_shares():
    # with zeros beyond the edge the shares of a corner of one class would be 8/27, not 1
    labels = torch.zeros((1, 3, 3, 3), dtype=torch.long)
    logits = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    assert neighbour_penalty(logits, labels).item() == pytest.approx(0, abs=1e-6)
    monai = NACLLoss(classes=2, dim=3, alpha=1.0)
    assert monai(logits, labels) - cross_entropy(logits, labels) > 0.1
