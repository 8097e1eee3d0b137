"""A TorchScript file, turned once into a program of `torch.export`.

TorchScript is code. Before it is loaded its text is searched for what a network has no use for, and before
it is run its graph is compared with a list; then it is run on one window, and what it computed is written
down.
"""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from segtrust.errors import ModelError

__all__ = ["is_torchscript", "write_program"]

_SWELLS = 8
_HOSTILE = re.compile(r"from_file|__setstate__|\bops\.(?!prim\.)|\btorch\.(save|load|ops|classes)\b|open\(")
_NAMESPACES = ("aten::", "prim::")
_REFUSED = ("aten::from_file", "aten::save", "prim::PythonOp")


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive that `torch.jit.save` wrote."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return False
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def write_program(path: Path, window: Tensor, program: Path) -> None:
    """Write the network as ``.pt2``.

    Args:
        path: what `torch.jit.save` wrote.
        window: ``(1, C, *patch)``; the program takes windows of this size.
        program: file to write.

    Raises:
        ModelError: if the file cannot be read or run, or asks for more than tensors to compute with.
    """
    _check_text(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is going out of use
        try:
            network: Any = torch.jit.load(str(path), map_location="cpu").eval()
            kinds = _kinds(network.inlined_graph)
        except Exception as error:  # whatever a damaged file makes the reader trip over
            raise ModelError(f"{path} must be a network in TorchScript, but {_short(error)}.") from error
        if refused := sorted(k for k in kinds if not k.startswith(_NAMESPACES) or k in _REFUSED):
            raise ModelError(f"{path} must compute with tensors only, got {', '.join(refused[:5])}.")
        try:
            with torch.no_grad():
                traced = make_fx(network.forward)(window)
                wanted = network(window)
            exported = torch.export.export(_Frozen(traced), (window,))
            torch.export.save(exported, program)
            got = torch.export.load(program).module()(window)
        except Exception as error:  # whatever a foreign network trips over
            raise ModelError(
                f"{path} must take a window {tuple(window.shape)} and be brought to torch.export, but "
                f"{_short(error)}. Do `channels` and `patch` of spec.json fit it?"
            ) from error
    if not isinstance(wanted, Tensor) or not torch.equal(got, wanted):
        raise ModelError(f"{path} must put out one tensor that depends on its window alone, got another one.")


class _Frozen(nn.Module):
    """What was written down, without gradients."""

    def __init__(self, traced: nn.Module) -> None:
        super().__init__()
        self.traced = traced.requires_grad_(False)

    def forward(self, window: Tensor) -> Tensor:
        out: Tensor = self.traced(window)
        return out


def _check_text(path: Path) -> None:
    """Search the code of an archive before anything of it is loaded, since loading may run parts of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > _SWELLS * path.stat().st_size:
                raise ModelError(f"{path} must hold tensors as they are, got an archive that swells.")
            code = [
                entry for entry in entries if "/code/" in entry.filename and entry.filename.endswith(".py")
            ]
            text = "\n".join(archive.read(entry).decode("utf-8", "replace") for entry in code)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"{path} must be a network in TorchScript, but {_short(error)}.") from error
    if match := _HOSTILE.search(text):
        raise ModelError(f"{path} must compute with tensors only, but its code has {match[0]!r}.")


def _kinds(block: Any) -> set[str]:  # noqa: ANN401  # PyTorch's graph
    kinds = set()
    for node in block.nodes():
        kinds |= {node.kind()}.union(*(_kinds(inner) for inner in node.blocks()))
    return kinds


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
