"""A checkpoint of nnU-Net: weights and a few plain values, read without running what the pickle asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from segtrust.adapters.plain_pickle import read_plain
from segtrust.errors import ModelError

__all__ = ["Checkpoint", "read_checkpoint"]

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
    """
    content = read_plain(path)
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
