"""A checkpoint of nnU-Net: weights and a few plain values, read without running what the pickle asks for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import safe_globals

from segtrust.errors import ModelError

__all__ = ["Checkpoint", "read_checkpoint"]

_WORDS = 200
_GLOBAL = re.compile(r"GLOBAL (\S+)")
_ADVICE = re.compile(r"WeightsUnpickler error: |trusted source\. ")
_PREFIXES = ("_orig_mod.", "module.")  # of compiled and of distributed networks


@dataclass(frozen=True)
class Checkpoint:
    """Weights by name; trainer and configuration as they name themselves; axes that may be mirrored."""

    weights: Mapping[str, Tensor]
    trainer: str
    configuration: str
    mirroring: tuple[int, ...] | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint that `nnUNetv2_train` wrote.

    Args:
        path: ``checkpoint_final.pth`` or ``checkpoint_best.pth``.

    Returns:
        What prediction needs. Optimizer, logs and everything else is dropped.

    Raises:
        ModelError: if the file is missing or cut off, asks for anything but tensors and plain values, or is
            no checkpoint of nnU-Net 2; the message names what it asks for.

    Note:
        PyTorch's unpickler with an allow-list: NumPy's scalars and types besides what it allows anyway.
        Whatever else a pickle names is refused before it is looked up.
    """
    if not path.is_file():
        raise ModelError(f"there must be a checkpoint {path}, got none.")
    try:
        with safe_globals(_plain_values()):
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  # the same rule as there
    except (UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path} must hold weights and plain values, but {_reason(error)}. Was the file cut off, or does "
            "its trainer store objects of its own?"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("network_weights"), Mapping):
        keys = (
            ", ".join(sorted(map(str, content))[:8]) if isinstance(content, dict) else type(content).__name__
        )
        raise ModelError(
            f"{path} must hold `network_weights` as nnU-Net 2 writes them, got {keys or 'nothing'}."
        )
    arguments = content.get("init_args")
    axes = content.get("inference_allowed_mirroring_axes")
    return Checkpoint(
        weights=_renamed(content["network_weights"], path),
        trainer=str(content.get("trainer_name", "")),
        configuration=str(arguments.get("configuration", "")) if isinstance(arguments, Mapping) else "",
        mirroring=None if axes is None else tuple(int(axis) for axis in axes),
    )


def _plain_values() -> list[Any]:
    from _codecs import encode  # noqa: PLC0415  # how NumPy's bytes are written

    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")  # of NumPy 1 and 2
    return [*((scalar, name) for name in names), np.dtype, encode, torch.device, *kinds]


def _renamed(weights: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ModelError(
            f"{path} must hold tensors in `network_weights`, got {len(weights)} entries of other kinds."
        )
    named = dict(weights)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in named):
            named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _reason(error: Exception) -> str:
    """What is not allowed, in a sentence; PyTorch puts advice around it that would run the file."""
    words = " ".join(str(error).split())
    if asked := _GLOBAL.search(words):
        return f"it asks for {asked[1]}, which is neither"
    return _ADVICE.split(words)[-1].partition(" Check the documentation")[0][:_WORDS]
