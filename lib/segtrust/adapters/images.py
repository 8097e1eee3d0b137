"""Images as arrays in their own voxel order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files import ENDINGS, ras_axes, read_volume, toward_ras, voxel_size

__all__ = ["SUFFIXES", "Image", "ras_axes", "read_image", "toward_ras", "voxel_size"]

SUFFIXES = ENDINGS
"""Endings of the files that can be read."""


@dataclass(frozen=True)
class Image:
    """``data`` ``(X, Y, Z)``, or ``(X, Y, Z, C)``: C values per voxel; ``affine`` 4x4 to RAS+ millimetres."""

    data: NDArray[Any]
    affine: NDArray[np.float64]


def read_image(path: Path) -> Image:
    """Read a volume without turning it.

    Args:
        path: ``.nii.gz``, ``.nii`` or ``.nrrd``.

    Returns:
        The values as they are stored, after the file's own scaling.

    Raises:
        ScanError: if the file is missing, damaged, of another kind, or no volume.

    Note:
        The files are decoded by :mod:`segtrust.files`.
    """
    if not path.is_file():
        raise ScanError(f"there must be a file {path}, got none. Was it moved?", "scan_missing")
    if not path.name.endswith(SUFFIXES):
        raise ScanError(
            f"{path.name} must end in {', '.join(SUFFIXES)}. Convert it first.", "scan_unreadable"
        )
    volume = read_volume(path)
    data = volume.scaled()
    if data.ndim not in (3, 4):
        raise ScanError(
            f"{path.name} must be a volume, or one with values per voxel, got shape {data.shape}.",
            "scan_dimensions",
        )
    return Image(data, volume.header.affine)
