"""Features of the encoder, taken along by hooks while a prediction runs."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from phantoms import TINY_NETWORK, Brightness, NetworkSource, make_blob, spec_of, version_of
from segtrust.inference import MAP_NAMES, Predictor
from segtrust.inference.features import PooledFeatures
from segtrust.inference.members import build_network
from segtrust.models import open_version


def seen(network, *windows):
    features = PooledFeatures()
    with torch.inference_mode(), features.watching(network):
        for window in windows:
            network(window)
    return features.values()


def network(target, **arguments):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return build_network(
            spec_of(network={"_target_": f"monai.networks.nets.{target}", **arguments})
        ).eval()


def window(*shape):
    return torch.from_numpy(np.random.default_rng(0).random(shape).astype(np.float32))


UP_AND_DOWN = nn.Sequential(nn.AvgPool3d(2), nn.Upsample(scale_factor=2))


def test_the_mean_of_the_coarsest_grid_by_hand():
    image = torch.zeros(1, 2, 4, 4, 4)
    image[:, 0], image[:, 1, :2] = 3.0, 8.0
    assert seen(UP_AND_DOWN, image) == (3.0, 4.0)


def test_every_window_counts_the_same():
    # two windows at once and one after them
    three = torch.arange(3.0).reshape(3, 1, 1, 1, 1).expand(3, 1, 4, 4, 4)
    assert seen(UP_AND_DOWN, three[:2], three[2:] * 4) == (pytest.approx((0 + 1 + 8) / 3),)


ARGUMENTS = {"in_channels": 1, "out_channels": 3}
DEEPEST = {
    # of the same grid: the second stage beside the bottom one, 4 + 8 channels
    "UNet": ({k: v for k, v in TINY_NETWORK.items() if k != "_target_"}, 3, lambda n: n.model[1]),
    "UNet, 2-D": (
        {"spatial_dims": 2, **ARGUMENTS, "channels": [4, 8, 16], "strides": [2, 2]},
        2,
        lambda n: n.model[1].submodule[1],
    ),
    "BasicUNet": (
        {"spatial_dims": 3, **ARGUMENTS, "features": [4, 4, 4, 4, 8, 4]},
        3,
        lambda n: n.down_4,
    ),
    "SegResNet": ({"spatial_dims": 3, **ARGUMENTS, "init_filters": 8}, 3, lambda n: n.down_layers[-1]),
    "DynUNet": (
        {
            "spatial_dims": 3,
            **ARGUMENTS,
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [4, 8, 12],
        },
        3,
        lambda n: n.bottleneck,
    ),
    "AttentionUnet": (
        {"spatial_dims": 3, **ARGUMENTS, "channels": [4, 8], "strides": [2]},
        3,
        lambda n: n.model[1].submodule,
    ),
}


@pytest.mark.parametrize(("arguments", "axes", "stage"), DEEPEST.values(), ids=DEEPEST)
def test_the_deepest_stage_of_a_network_of_monai_is_found(arguments, axes, stage, request):
    target = request.node.callspec.id.partition(",")[0]
    net, image = network(target, **arguments), window(1, 1, *[32] * axes)
    kept = []
    handle = stage(net).register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.inference_mode():
        net(image)
    handle.remove()
    assert seen(net, image) == pytest.approx(kept[0].flatten(2).mean(dim=2)[0].tolist(), abs=1e-6)


def test_one_point_for_channel_attention_is_no_stage():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.look, self.down = nn.AdaptiveAvgPool3d(1), nn.AvgPool3d(2)

        def forward(self, image):
            coarse = self.down(image)
            return image * self.look(coarse)

    image = window(1, 1, 8, 8, 8)
    assert seen(Attention(), image) == pytest.approx((image.mean().item(),))


@pytest.mark.parametrize(
    "net", [Brightness(), nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU())], ids=["bare", "flat"]
)
def test_a_network_that_keeps_its_grid_has_no_features(net):
    assert seen(net, window(1, 1, 8, 8, 8)) == ()


def test_no_hook_is_left_even_after_a_failure():
    net = network("UNet", **{k: v for k, v in TINY_NETWORK.items() if k != "_target_"})
    with pytest.raises(RuntimeError), PooledFeatures().watching(net):
        net(window(1, 7, 8, 8, 8))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


# --- in a prediction ---------------------------------------------------------------------------------------


def test_nothing_else_changes_by_a_bit(tiny_model_original, blob_scan, monkeypatch):
    version = open_version(tiny_model_original)
    watched = Predictor(version).predict_scan(blob_scan)
    monkeypatch.setattr(PooledFeatures, "watching", lambda *_: nullcontext())
    plain = Predictor(version).predict_scan(blob_scan)
    assert len(watched.features) == 12
    assert plain.features == ()
    np.testing.assert_array_equal(watched.mask, plain.mask)
    np.testing.assert_array_equal(watched.probs, plain.probs)
    for name in MAP_NAMES:
        np.testing.assert_array_equal(watched.map(name), plain.map(name))
    assert watched.params() == plain.params()


def test_the_features_are_those_of_the_first_member():
    nets = [network("UNet", **{k: v for k, v in TINY_NETWORK.items() if k != "_target_"}) for _ in range(2)]
    with torch.no_grad():
        for weight in nets[1].parameters():
            weight.mul_(2)
    scan = make_blob()
    spec = version_of(spec_of())
    one, both, other = (
        Predictor(spec, source=NetworkSource(*s)).predict_scan(scan).features
        for s in ([nets[0]], nets, [nets[1]])
    )
    assert one == both != other


def test_a_2d_model_has_features_too(make_model):
    spec = spec_of(
        network={**TINY_NETWORK, "spatial_dims": 2}, spatial_dims=2, patch=(16, 16), spacing=(1.0, 1.0)
    )
    predicted = Predictor(open_version(make_model(spec))).predict_scan(make_blob((18, 17, 3)))
    assert len(predicted.features) == 12
    assert np.isfinite(predicted.features).all()


def test_scans_that_differ_have_other_features(tiny):
    dark, bright = make_blob(radius=3.0), make_blob(radius=7.0)
    assert tiny.predict_scan(dark).features != tiny.predict_scan(bright).features
