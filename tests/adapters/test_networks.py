"""Networks without their code answer as the code did; files that would run code are refused."""

import io
import zipfile

import pytest
import torch
from torch import nn

from segtrust.adapters.networks import load_network
from segtrust.errors import ModelError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 1)).eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "a.pt2"
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 6, 6, 6),)), path)
    return path


@pytest.fixture
def windows():
    return torch.randn(3, 1, 6, 6, 6, generator=torch.Generator().manual_seed(1))


def test_a_program_takes_any_number_of_windows(network, exported, windows):
    with torch.inference_mode():
        assert torch.allclose(load_network(exported)(windows), network(windows), atol=1e-6)


def test_probabilities_become_logits(exported, windows):
    class Softmax(nn.Module):
        def forward(self, window):
            return window.softmax(dim=1)

    path = exported.with_name("probs.pt2")
    torch.export.save(torch.export.export(Softmax(), (torch.zeros(1, 3, 2, 2, 2),)), path)
    logits = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(2))
    found = load_network(path, output="probabilities")(logits)
    assert torch.allclose(found.softmax(dim=1), logits.softmax(dim=1), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_probabilities_of_a_sigmoid_become_log_odds(exported, dtype):
    class Sigmoid(nn.Module):
        def forward(self, window):
            return window.sigmoid().to(dtype)

    path = exported.with_name("odds.pt2")
    torch.export.save(torch.export.export(Sigmoid(), (torch.zeros(1, 3, 2, 2, 2),)), path)
    logits = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(2))
    found = load_network(path, output="probabilities", head="sigmoid")(logits)
    # half of the last place of a number below one: 2^-24, 2^-12 and 2^-9; one more step in single precision
    step = {torch.float32: 2**-22, torch.float16: 2**-12, torch.bfloat16: 2**-9}[dtype]
    assert torch.allclose(found.sigmoid(), logits.sigmoid(), atol=step, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_probability_of_zero_in_half_precision_is_a_finite_logit(exported, dtype):
    class Sure(nn.Module):
        def forward(self, window):
            return torch.cat([torch.zeros_like(window), torch.ones_like(window)], dim=1).to(dtype)

    path = exported.with_name("sure.pt2")
    torch.export.save(torch.export.export(Sure(), (torch.zeros(1, 1, 2, 2, 2),)), path)
    for head in ("softmax", "sigmoid"):
        logits = load_network(path, output="probabilities", head=head)(torch.zeros(1, 1, 2, 2, 2))
        assert torch.isfinite(logits).all()


def test_another_output_is_refused(exported):
    with pytest.raises(ModelError, match="`output` must be one of logits, probabilities, got 'labels'"):
        load_network(exported, output="labels")


def test_what_would_be_unpickled_is_refused_before_it_is_loaded(exported, tmp_path):
    path, ran = tmp_path / "evil.pt2", tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (ran.touch, ())

    evil = io.BytesIO()
    torch.save(Evil(), evil)
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            is_sample = "/sample_inputs/" in name and name.endswith(".pt")
            target.writestr(name, evil.getvalue() if is_sample else source.read(name))
        assert any("/sample_inputs/" in name for name in source.namelist())
    with pytest.raises(ModelError, match=r"must be a program of torch.export"):
        load_network(path)
    assert not ran.exists()


def test_objects_in_a_program_are_refused(exported, tmp_path):
    path = tmp_path / "object.pt2"
    path.write_bytes(exported.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/data/constants/custom_obj_0", b"x")
    with pytest.raises(ModelError, match="must hold tensors only, got the object custom_obj_0"):
        load_network(path)


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "b.pt2").write_bytes(b"no zip")
    with pytest.raises(ModelError, match=r"b\.pt2 must be a program of torch\.export"):
        load_network(tmp_path / "b.pt2")


def test_onnx_answers_as_the_code_did(network, windows, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx to write a file")
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: segtrust[onnx]")
    helper, numpy_helper, float_ = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    weights = {n.replace(".", "_"): p.detach().numpy() for n, p in network.named_parameters()}
    nodes = [
        helper.make_node("Conv", ["x", "0_weight", "0_bias"], ["a"], pads=[1] * 6),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "2_weight", "2_bias"], ["y"]),
    ]
    shape = [1, 1, 6, 6, 6]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", float_, shape)],
        [helper.make_tensor_value_info("y", float_, [1, 3, 6, 6, 6])],
        [numpy_helper.from_array(v, n) for n, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "a.onnx")
    with torch.inference_mode():
        assert torch.allclose(load_network(tmp_path / "a.onnx")(windows), network(windows), atol=1e-5)


def test_onnx_without_its_runtime_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"constraints.txt '\.\[onnx\]'"):
        load_network(tmp_path / "a.onnx")
