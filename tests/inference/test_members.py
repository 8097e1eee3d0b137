"""Networks and their weights."""

import pickle
import re

import pytest
import torch

from phantoms import TINY_NETWORK, spec_of
from segtrust.errors import DeviceError, ModelError
from segtrust.inference.members import build_network, check_device, load_member, load_weights, save_weights

TWO_D = {**TINY_NETWORK, "spatial_dims": 2}
UNETR = {
    "_target_": "monai.networks.nets.UNETR",
    "in_channels": 1,
    "out_channels": 3,
    "feature_size": 4,
    "hidden_size": 24,
    "mlp_dim": 24,
    "num_heads": 2,
}


def target(class_name, **arguments):
    return spec_of(network={"_target_": class_name, **arguments})


@pytest.mark.parametrize(
    "network",
    [
        TINY_NETWORK,
        {
            "_target_": "monai.networks.nets.DynUNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [4, 8, 8],
        },
        {
            "_target_": "monai.networks.nets.SegResNet",
            "spatial_dims": 3,
            "out_channels": 3,
            "init_filters": 8,
        },
        {**UNETR, "spatial_dims": 3, "img_size": [16, 16, 16]},
    ],
    ids=lambda n: n["_target_"].rpartition(".")[2],
)
def test_a_specification_names_any_network_of_monai(network):
    built = build_network(spec_of(network=network)).eval()
    with torch.inference_mode():
        assert built(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (target("monai.networks.nets.Nothing"), "has no attribute 'Nothing'"),
        (target("monai.networks.nets.nothing.UNet"), "No module named"),
        (target("monai.networks.nets.UNet", depth=3), "unexpected keyword argument 'depth'"),
        (target("segtrust.models.Label", name="a"), "must be a torch.nn.Module, got 'Label'"),
    ],
    ids=["no class", "no module", "unknown argument", "no network"],
)
def test_a_network_that_cannot_be_built_is_a_model_error(spec, words):
    with pytest.raises(ModelError, match=words):
        build_network(spec)


def test_a_function_is_refused_before_it_is_called(monkeypatch, tmp_path):
    # a specification must not be able to delete or download anything
    witness = tmp_path / "called"
    monkeypatch.setattr("segtrust.models.shipped_models_dir", witness.touch)
    with pytest.raises(ModelError, match=r"must be a torch\.nn\.Module"):
        build_network(target("segtrust.models.shipped_models_dir"))
    assert not witness.exists()


def test_weights_come_back_bit_by_bit(tmp_path):
    spec = spec_of()
    network = build_network(spec)
    save_weights(network, tmp_path / "w.safetensors")
    again = load_member(spec, tmp_path / "w.safetensors").state_dict()
    assert again.keys() == network.state_dict().keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())


def test_a_transformer_comes_back_and_answers_the_same(tmp_path):
    network = {**UNETR, "spatial_dims": 2, "img_size": [32, 16]}
    spec = spec_of(network=network, spatial_dims=2, patch=(32, 16), spacing=None)
    image = torch.randn(2, 1, 32, 16)
    network = build_network(spec).eval()
    save_weights(network, tmp_path / "w.safetensors")
    with torch.inference_mode():
        expected = network(image)
        again = load_member(spec, tmp_path / "w.safetensors")
        assert expected.shape == (2, 3, 32, 16)
        assert torch.equal(again(image), expected)
        assert torch.equal(again(image), again(image))  # no layer draws anything


def test_a_member_is_ready_to_predict(tmp_path):
    save_weights(build_network(spec_of()), tmp_path / "w.safetensors")
    member = load_member(spec_of(), tmp_path / "w.safetensors")
    assert not any(module.training for module in member.modules())
    assert not any(parameter.requires_grad for parameter in member.parameters())


def test_a_member_may_be_a_plain_state_dict(tmp_path):
    network = build_network(spec_of())
    torch.save({"model": network.state_dict()}, tmp_path / "w.pt")
    again = load_member(spec_of(), tmp_path / "w.pt").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())


def test_saving_leaves_no_part_file(tmp_path):
    save_weights(build_network(spec_of()), tmp_path / "w.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_weights_that_were_cut_off_are_named(tmp_path, name):
    path, network = tmp_path / name, build_network(spec_of())
    save_weights(network, path) if name.endswith("rs") else torch.save(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=re.escape(str(path))):
        load_weights(path)


def test_a_weight_file_that_is_missing_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.safetensors"):
        load_member(spec_of(), tmp_path / "nothing.safetensors")


class Malice:
    def __reduce__(self):
        return (print, ("code was run",))


def test_code_in_a_weight_file_is_never_run(tmp_path, capsys):
    torch.save({"model": Malice()}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w\.pt must hold weights"):
        load_weights(tmp_path / "w.pt")
    assert "code was run" not in capsys.readouterr().out


def test_a_bare_pickle_is_refused(tmp_path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Malice(), protocol=2))
    with pytest.raises(ModelError, match=r"w\.pt must hold weights"):
        load_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_of_another_network_are_refused(tmp_path, suffix):
    path, other = tmp_path / f"w{suffix}", build_network(spec_of(network=TWO_D))
    save_weights(other, path) if suffix != ".pt" else torch.save(other.state_dict(), path)
    with pytest.raises(ModelError, match="must fit the network of 'tiny'"):
        load_member(spec_of(), path)


def test_auto_takes_a_device_that_exists():
    assert check_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "tpu", ""])
def test_a_device_that_does_not_exist_is_refused_with_those_that_do(name):
    with pytest.raises(DeviceError, match=rf"`device` must be one of auto, cpu.*, got '{name}'"):
        check_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_means_the_first_gpu():
    assert check_device("cuda") == torch.device("cuda:0")
