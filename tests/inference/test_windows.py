"""The sliding window: blended logits first, probabilities after."""

import pytest
import torch
from torch import nn

from phantoms import TINY_NETWORK, Brightness, spec_of
from segtrust.inference.members import build_network
from segtrust.inference.windows import head_probabilities, slide
from segtrust.models import Head

LABELS_2D = {
    "spatial_dims": 2,
    "patch": (16, 16),
    "spacing": (1.0, 1.0),
    "network": {**TINY_NETWORK, "spatial_dims": 2},
}


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_pointwise_network_gives_the_same_with_and_without_windows():
    image, network = noise(1, 37, 20, 11), Brightness(3)
    got = slide(network, image, spec_of())
    expected = torch.softmax(network(image[None]), 1)[0]
    # windows are averaged with weights that sum to one: float32 rounding
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_one_window_gives_the_networks_own_answer():
    image, network = noise(1, 16, 16, 16), build_network(spec_of()).eval()
    with torch.inference_mode():
        expected = torch.softmax(network(image[None]), 1)[0]
    torch.testing.assert_close(slide(network, image, spec_of()), expected, rtol=0, atol=1e-6)


class CornerLogits(nn.Module):
    """Logits that depend on the place in the window, so that neighbouring windows disagree."""

    def forward(self, window):
        ramp = torch.linspace(-4, 4, window.shape[2]).view(1, 1, -1, 1, 1).expand_as(window)
        return torch.cat([torch.zeros_like(ramp), ramp], dim=1)


def test_logits_are_blended_and_not_probabilities():
    # with windows of 16 and a step of 12, voxels 12..15 are in both windows: l1 = ramp[i], l2 = ramp[i - 12].
    # With equal distance to both centres the weights are equal: voxels 13 and 14 sit at 13, 14 and 1, 2
    spec = spec_of(labels=spec_of().labels[:1])
    got = slide(CornerLogits(), torch.zeros(1, 28, 16, 16), spec)[1, 14, 8, 8].item()
    ramp = torch.linspace(-4, 4, 16)
    sigma = 16 * 0.125
    weight = torch.exp(-0.5 * ((torch.tensor([14.0, 2.0]) - 7.5) / sigma) ** 2)
    weight = weight / weight.sum()
    logit = float(weight[0] * ramp[14] + weight[1] * ramp[2])
    blended_probabilities = float(weight @ torch.sigmoid(ramp[torch.tensor([14, 2])]))
    # MONAI's Gaussian window is sampled by its own rule: a few percent of weight
    assert got == pytest.approx(torch.sigmoid(torch.tensor(logit)).item(), abs=0.03)
    assert abs(got - blended_probabilities) > 0.03


@pytest.mark.parametrize("shape", [(5, 6, 7), (16, 16, 1), (40, 3, 16)], ids=str)
def test_scans_smaller_than_the_window_keep_their_size(shape):
    got = slide(build_network(spec_of()).eval(), noise(1, *shape), spec_of())
    assert got.shape == (3, *shape)
    torch.testing.assert_close(got.sum(0), torch.ones(shape), rtol=0, atol=1e-5)


@pytest.mark.parametrize("slices", [1, 2, 3, 5])
def test_a_2d_network_sees_each_slice_alone(slices):
    spec = spec_of(**LABELS_2D)
    image, network = noise(1, 20, 18, slices), build_network(spec).eval()
    got = slide(network, image, spec)
    assert got.shape == (3, 20, 18, slices)
    for k in range(slices):
        # slices share a batch: convolution kernels may sum in another order
        torch.testing.assert_close(
            got[..., k], slide(network, image[..., k : k + 1], spec)[..., 0], rtol=0, atol=1e-6
        )


def test_several_channels_reach_the_network():
    spec = spec_of(channels=("t1", "t2"), network={**TINY_NETWORK, "in_channels": 2})
    network, image = build_network(spec).eval(), noise(2, 16, 16, 16)
    swapped = slide(network, image.flip(0), spec)
    assert not torch.allclose(swapped, slide(network, image, spec), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_number_of_windows_at_a_time_changes_nothing(batch):
    image, network = noise(1, 30, 20, 17), build_network(spec_of()).eval()
    torch.testing.assert_close(
        slide(network, image, spec_of(), batch=batch),
        slide(network, image, spec_of(), batch=3),
        rtol=0,
        atol=1e-6,
    )


def test_totals_may_be_kept_on_another_device():
    got = slide(Brightness(3), noise(1, 20, 16, 16), spec_of(), totals_device=torch.device("cpu"))
    assert got.device.type == "cpu"


def test_softmax_sums_to_one_and_sigmoid_stands_alone():
    logits = torch.tensor([[[0.0], [0.0]]])
    assert head_probabilities(logits, Head()).flatten().tolist() == [0.5, 0.5]
    logits = torch.tensor([[[0.0], [100.0]]])
    assert head_probabilities(logits, Head("sigmoid", (1, 2))).flatten().tolist() == [0.5, 1.0]


def test_half_precision_logits_go_through_softmax_in_single_precision():
    got = head_probabilities(torch.tensor([[[3.0], [-20.0]]], dtype=torch.bfloat16), Head())
    assert got.dtype == torch.float32
    assert 0 < got[0, 1, 0] < 1e-9


def test_the_network_is_run_without_gradients():
    network = build_network(spec_of()).eval()
    assert not slide(network, noise(1, 16, 16, 16), spec_of()).requires_grad
