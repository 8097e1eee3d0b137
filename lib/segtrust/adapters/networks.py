"""Networks whose code is not at hand: a program of `torch.export`, or an ONNX file.

Both are code in another form. They are loaded from the models folder alone, where an administrator put them;
and a ``.pt2`` that would be unpickled is refused.
"""

import io
import json
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from segtrust.errors import ModelError, install_line
from segtrust.uncertainty import HeadKind

__all__ = ["SUFFIXES", "ExportedNetwork", "load_network"]

SUFFIXES = (".pt2", ".onnx")
"""Endings of members that bring their own network."""
HOME = f"{__name__}."
"""Where `network._target_` of such a model points."""
_OUTPUTS = ("logits", "probabilities")
_OBJECTS = ("custom_obj", "opaque_obj")
_LEAST = 1e-12


class ExportedNetwork(nn.Module):
    """A program that `torch.export` wrote; windows go through it one at a time, so that any batch size fits.

    Args:
        path: ``.pt2``.
        output: ``logits``, or ``probabilities``, which become logits.
        head: ``softmax``: logits are the logarithms of probabilities; ``sigmoid``: their log odds.

    Raises:
        ModelError: if the file is no such program, or needs unpickling.
    """

    def __init__(self, path: Path, *, output: str = "logits", head: HeadKind = "softmax") -> None:
        super().__init__()
        self._logits = _to_logits(output, head)
        _refuse_pickles(path)
        try:
            exported = torch.export.load(path)
            _refuse_files(exported, path)
            self.program = exported.module()
        except ModelError:
            raise
        except Exception as error:  # the reader raises whatever a damaged file makes it trip over
            raise ModelError(f"{path} must be a program of torch.export, but {str(error)[:200]}.") from error

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of windows ``(B, C, *window)``."""
        out = torch.cat([self.program(window) for window in windows.split(1)])
        return self._logits(out)


class OnnxNetwork(nn.Module):
    """An ONNX file, run by ONNX Runtime on the CPU.

    Args:
        path: ``.onnx``.
        output: as for :class:`ExportedNetwork`.
        head: likewise.

    Raises:
        ModelError: if ONNX Runtime is not installed or refuses the file.
    """

    def __init__(self, path: Path, *, output: str = "logits", head: HeadKind = "softmax") -> None:
        super().__init__()
        self._logits = _to_logits(output, head)
        try:
            runtime: Any = import_module("onnxruntime")  # an extra
        except ModuleNotFoundError as error:
            raise ModelError(f"an ONNX file needs ONNX Runtime: {install_line('onnx')}") from error
        try:
            self._session: Any = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise ModelError(f"{path} must be an ONNX model, but {str(error)[:200]}.") from error
        self._input = self._session.get_inputs()[0].name

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of windows ``(B, C, *window)``."""
        parts = [
            torch.from_numpy(self._session.run(None, {self._input: window.float().cpu().numpy()})[0])
            for window in windows.split(1)
        ]
        out = torch.cat(parts).to(windows.device)
        return self._logits(out)


def load_network(path: Path, *, output: str = "logits", head: HeadKind = "softmax") -> nn.Module:
    """Load a network that is a file of its own.

    Args:
        path: ``.pt2`` or ``.onnx``.
        output: what it puts out, ``logits`` or ``probabilities``.
        head: what makes probabilities of its logits.

    Returns:
        The network, ready to be called; it has no training mode.

    Raises:
        ModelError: if the file cannot be used.
    """
    kind = OnnxNetwork if path.suffix == ".onnx" else ExportedNetwork
    return kind(path, output=output, head=head)


def _to_logits(output: str, head: HeadKind) -> Callable[[Tensor], Tensor]:
    if output not in _OUTPUTS:
        raise ModelError(f"`output` must be one of {', '.join(_OUTPUTS)}, got {output!r}.")
    if output == "logits":
        return lambda out: out
    return _logarithms if head == "softmax" else _log_odds


def _logarithms(probs: Tensor) -> Tensor:
    return probs.float().clamp_min(_LEAST).log()  # in half precision the least number would be 0


def _log_odds(probs: Tensor) -> Tensor:
    p = probs.float()
    return p.clamp_min(_LEAST).log() - (1 - p).clamp_min(_LEAST).log()


def _refuse_pickles(path: Path) -> None:
    """`torch.export.load` unpickles what a file asks it to; such a file is refused before it is loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                last = name.rpartition("/")[2]
                if last.startswith(_OBJECTS):
                    raise ModelError(
                        f"{path} must hold tensors only, got the object {last}. Export it without."
                    )
                if last.endswith("_config.json") and _pickled(json.loads(archive.read(name))):
                    raise ModelError(
                        f"{path} must hold plain tensors, got pickled ones. Export it with torch 2.9+."
                    )
                if "/sample_inputs/" in name and last.endswith(".pt"):
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)  # noqa: TID251  # a check
    except (OSError, ValueError, RuntimeError, UnpicklingError, zipfile.BadZipFile) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} must be a program of torch.export, but {str(error)[:200]}.") from error


def _refuse_files(exported: torch.export.ExportedProgram, path: Path) -> None:
    """A program may compute; the one operator of PyTorch that opens a file is none of that."""
    graphs = [part.graph for part in exported.graph_module.modules() if isinstance(part, GraphModule)]
    for node in (node for graph in graphs for node in graph.nodes):
        if node.op == "call_function" and "from_file" in str(node.target):
            raise ModelError(f"{path} must compute with tensors only, got {node.target}, which opens a file.")


def _pickled(value: Any) -> bool:  # noqa: ANN401  # whatever JSON can hold
    if isinstance(value, dict):
        return value.get("use_pickle") is True or any(map(_pickled, value.values()))
    return isinstance(value, list) and any(map(_pickled, value))
