"""Sources of samples: members, dropout passes, mirrored views."""

import weakref

import pytest
import torch
from torch import nn

from phantoms import TINY_NETWORK, spec_of
from segtrust.errors import ModelError
from segtrust.inference.members import build_network
from segtrust.inference.sources import DropoutSource, EnsembleSource, FlipSource

DROPOUT = spec_of(network={**TINY_NETWORK, "dropout": 0.3})


def whole(network, image):
    """A slide without windows."""
    with torch.inference_mode():
        return torch.softmax(network(image[None]), dim=1)[0]


@pytest.fixture
def image():
    return torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return build_network(DROPOUT).eval()


def take(source, image):
    return list(source.samples(image, whole))


# --- ensembles ---------------------------------------------------------------------------------------------


def test_an_ensemble_gives_one_sample_per_member_in_order(image):
    members = [build_network(spec_of()).eval() for _ in range(3)]
    source = EnsembleSource([lambda m=m: m for m in members])
    assert len(source) == 3
    for sample, member in zip(take(source, image), members, strict=True):
        assert torch.equal(sample, whole(member, image))


def test_a_member_loaded_in_its_call_is_freed_before_the_next(image):
    alive, seen = [], []

    def load():
        seen.append(sum(ref() is not None for ref in alive))
        member = nn.Conv3d(1, 2, 1).eval()
        alive.append(weakref.ref(member))
        return member

    for _ in EnsembleSource([load] * 3).samples(image, whole):
        pass
    assert seen == [0, 0, 0]


# --- dropout -----------------------------------------------------------------------------------------------


def test_dropout_passes_differ_and_have_the_right_number(network, image):
    samples = take(DropoutSource(network, passes=4), image)
    assert len(samples) == 4
    assert not torch.equal(samples[0], samples[1])


def test_the_same_seed_gives_the_same_samples(network, image):
    first, second = (take(DropoutSource(network, passes=3, seed=5), image) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_another_seed_gives_other_samples(network, image):
    first, second = (take(DropoutSource(network, passes=1, seed=seed), image) for seed in (5, 6))
    assert not torch.equal(first[0], second[0])


def test_samples_do_not_depend_on_the_random_state_around_them(network, image):
    torch.manual_seed(1)
    first = take(DropoutSource(network, passes=1), image)
    torch.manual_seed(2)
    assert torch.equal(first[0], take(DropoutSource(network, passes=1), image)[0])


def test_the_random_state_around_them_does_not_change(network, image):
    before = torch.random.get_rng_state()
    take(DropoutSource(network, passes=2), image)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_weight_and_buffer_is_bit_identical_afterwards(network, image):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert any("running_mean" in name for name in before)  # the network has batch normalisation
    take(DropoutSource(network, passes=3), image)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_only_dropout_layers_are_active_during_a_pass(network, image):
    seen = []

    def watching(net, picture):
        seen.append({type(m).__name__ for m in net.modules() if m.training})
        return whole(net, picture)

    list(DropoutSource(network, passes=2).samples(image, watching))
    assert seen == [{"Dropout"}, {"Dropout"}]


def test_every_layer_is_in_its_former_mode_between_samples_and_afterwards(network, image):
    for _ in DropoutSource(network, passes=2).samples(image, whole):
        assert not any(module.training for module in network.modules())


def test_every_layer_is_in_its_former_mode_after_a_failure(network, image):
    def failing(net, picture):
        raise RuntimeError("window")

    with pytest.raises(RuntimeError, match="window"):
        list(DropoutSource(network).samples(image, failing))
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize(
    "spec", [spec_of(), spec_of(network={**TINY_NETWORK, "dropout": 0.0})], ids=["no layer", "rate 0"]
)
def test_a_network_without_dropout_is_refused_with_the_field_to_set(spec):
    with pytest.raises(ModelError, match=r"Set `dropout` \(or `dropout_prob`\) in `network` of spec.json"):
        DropoutSource(build_network(spec))


# --- mirrored views ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axes", "n"), [((), 1), ((0,), 2), ((0, 2), 4), ((0, 1, 2), 8)])
def test_every_combination_of_axes_is_one_view(axes, n, image):
    source = FlipSource(nn.Identity(), axes)
    assert len(source) == len(take(source, image)) == n


def test_the_plain_view_comes_first(network, image):
    assert torch.equal(take(FlipSource(network, (0, 1)), image)[0], whole(network, image))


def test_views_are_mirrored_back_exactly(image):
    # a network that only looks at single voxels sees the same in every view
    views = list(FlipSource(nn.Identity(), (0, 1, 2)).samples(image, lambda net, picture: net(picture)))
    assert all(torch.equal(view, image) for view in views)


def test_the_network_really_sees_a_mirrored_scan(image):
    seen = []
    list(FlipSource(nn.Identity(), (1,)).samples(image, lambda net, picture: seen.append(picture) or picture))
    assert torch.equal(seen[1], image.flip(2))  # spatial axis 1 is tensor axis 2
