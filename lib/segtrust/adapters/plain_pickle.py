"""A file that PyTorch saved: tensors and plain values, read without running what the pickle asks for."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import safe_globals

from segtrust.errors import ModelError

__all__ = ["read_plain"]

_WORDS = 200
_GLOBAL = re.compile(r"GLOBAL (\S+)")
_ADVICE = re.compile(r"WeightsUnpickler error: |trusted source\. ")
_SWELLS = 8
"""How much larger than the file its content may be: PyTorch stores tensors as they are, so that what swells
more was made to fill a memory."""


def read_plain(path: Path) -> Any:  # noqa: ANN401  # whatever was saved
    """Read a file of `torch.save`.

    Args:
        path: the file.

    Returns:
        Its content: tensors, numbers, text, lists and mappings.

    Raises:
        ModelError: if the file is missing, cut off or swells, or asks for anything but tensors and plain
            values; the message names what it asks for.

    Note:
        PyTorch's unpickler with an allow-list: NumPy's scalars and types besides what it allows anyway.
        Whatever else a pickle names is refused before it is looked up.
    """
    if not path.is_file():
        raise ModelError(f"there must be a checkpoint {path}, got none.")
    try:
        _refuse_swelling(path)
        with safe_globals(_plain_values()):
            return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  # the same rule as there
    except ModelError:
        raise
    except Exception as error:  # whatever a damaged file makes the unpickler trip over
        raise ModelError(
            f"{path} must hold weights and plain values, but {_reason(error)}. Was the file cut off, or does "
            "its trainer store objects of its own?"
        ) from error


def _refuse_swelling(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        whole = sum(entry.file_size for entry in archive.infolist())
    if whole > _SWELLS * path.stat().st_size:
        raise ModelError(
            f"{path} must hold tensors as they are, got {whole >> 20} MB packed into "
            f"{path.stat().st_size >> 20} MB. PyTorch writes no such file."
        )


def _plain_values() -> list[Any]:
    from _codecs import encode  # noqa: PLC0415  # how NumPy's bytes are written

    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")  # of NumPy 1 and 2
    return [*((scalar, name) for name in names), np.dtype, encode, torch.device, *kinds]


def _reason(error: Exception) -> str:
    """What is not allowed, in a sentence; PyTorch puts advice around it that would run the file."""
    words = " ".join(str(error).split())
    if asked := _GLOBAL.search(words):
        return f"it asks for {asked[1]}, which is neither"
    return _ADVICE.split(words)[-1].partition(" Check the documentation")[0][:_WORDS]
