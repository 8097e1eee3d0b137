"""A network in TorchScript becomes a program that computes the same; hostile archives are not loaded."""

import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from segtrust.adapters.networks import _refuse_files, load_network
from segtrust.adapters.torchscript import is_torchscript, write_program
from segtrust.errors import ModelError

WINDOW = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, padding=1)
        self.norm = nn.InstanceNorm3d(2, affine=True)

    def forward(self, window):
        return torch.relu_(self.norm(self.conv(window)))


class Branching(Network):
    def forward(self, window):
        if bool(window.mean() > 100):
            return window.repeat(1, 2, 1, 1, 1)
        return self.conv(window)


class Reader(nn.Module):
    def forward(self, window):
        return window + torch.from_file("/tmp/segtrust-read", shared=True, size=1)


@pytest.fixture
def script(tmp_path):
    def write(network):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is going out of use
            torch.jit.script(network().eval()).save(str(tmp_path / "network.pt"))
        return tmp_path / "network.pt"

    return write


def test_program_computes_the_same(script, tmp_path):
    path = script(Network)
    assert is_torchscript(path)
    write_program(path, WINDOW, tmp_path / "network.pt2")
    other = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = torch.jit.load(str(path))(other)
    torch.testing.assert_close(load_network(tmp_path / "network.pt2")(other), wanted, rtol=0, atol=0)


def test_network_that_branches_on_what_is_in_a_scan_is_refused(script, tmp_path):
    with pytest.raises(ModelError, match=r"be brought to torch\.export, but RuntimeError"):
        write_program(script(Branching), WINDOW, tmp_path / "network.pt2")


def test_weights_alone_are_no_torchscript(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    assert not is_torchscript(tmp_path / "weights.pt")


def test_network_that_opens_a_file_is_refused_before_it_is_loaded(script, tmp_path):
    with pytest.raises(ModelError, match="compute with tensors only, but its code has 'from_file'"):
        write_program(script(Reader), WINDOW, tmp_path / "network.pt2")


def test_operator_that_opens_a_file_is_refused_in_a_program():
    graph = torch.fx.Graph()
    graph.output(graph.call_function(torch.ops.aten.from_file.default, ("/etc/passwd",)))
    exported = SimpleNamespace(graph_module=torch.fx.GraphModule(nn.Module(), graph))
    with pytest.raises(ModelError, match="which opens a file"):
        _refuse_files(exported, Path("network.pt2"))


def test_archive_that_swells_is_refused(script, tmp_path):
    path = script(Network)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("network/data/99", b"\0" * (1 << 24))
    with pytest.raises(ModelError, match="an archive that swells"):
        write_program(path, WINDOW, tmp_path / "network.pt2")


def test_window_of_another_form_is_refused_in_words(script, tmp_path):
    with pytest.raises(ModelError, match=r"Do `channels` and `patch` of spec\.json fit it"):
        write_program(script(Network), WINDOW.repeat(1, 3, 1, 1, 1), tmp_path / "network.pt2")
