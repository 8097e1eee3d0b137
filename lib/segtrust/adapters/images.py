"""Images as arrays in their own voxel order: NIfTI by nibabel, NRRD by pynrrd, whichever is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segtrust.errors import ScanError

__all__ = ["SUFFIXES", "Image", "ras_axes", "read_image", "toward_ras", "voxel_size"]

SUFFIXES = (".nii.gz", ".nii", ".nrrd")
"""Endings of the files that can be read."""
_TO_RAS: Mapping[str, tuple[float, float, float]] = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
_SHORT = {"RAS": "right-anterior-superior", "LAS": "left-anterior-superior", "LPS": "left-posterior-superior"}


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
        The files are decoded by nibabel and pynrrd, of which only the one for this file must be there.
    """
    if not path.is_file():
        raise ScanError(f"there must be a file {path}, got none. Was it moved?", "scan_missing")
    if not path.name.endswith(SUFFIXES):
        raise ScanError(
            f"{path.name} must end in {', '.join(SUFFIXES)}. Convert it first.", "scan_unreadable"
        )
    try:
        data, affine = _nrrd(path) if path.suffix == ".nrrd" else _nifti(path)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # each reader has errors of its own
        raise ScanError(
            f"{path} cannot be read: {str(error)[:200]}. Was it cut off?", "scan_unreadable"
        ) from error
    if data.ndim == 2:
        data = data[..., None]
    if data.ndim not in (3, 4):
        raise ScanError(
            f"{path.name} must be a volume, or one with values per voxel, got shape {data.shape}.",
            "scan_dimensions",
        )
    return Image(data, affine)


def voxel_size(affine: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Millimetres per voxel along each axis; ``None`` if the file does not say.

    Args:
        affine: voxels to millimetres, 4x4.

    Returns:
        Three lengths above 0.

    Example:
        >>> voxel_size(np.diag([1.0, -2.0, 3.0, 1.0]))
        (1.0, 2.0, 3.0)
    """
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(size).all() and (size > 0).all()):
        return None
    return (float(size[0]), float(size[1]), float(size[2]))


def toward_ras(data: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Turn a volume so that its axes run towards right, anterior and superior; voxels only move.

    Args:
        data: ``(X, Y, Z)``.
        affine: voxels to RAS+ millimetres, 4x4.

    Returns:
        A view of the same voxels.

    Note:
        Each axis goes to the direction it is closest to, no two to the same one.

    Example:
        >>> toward_ras(np.arange(2).reshape(2, 1, 1), np.diag([-1.0, 1.0, 1.0, 1.0])).ravel()
        array([1, 0])
    """
    axes = ras_axes(affine)
    back = [affine[row, axis] < 0 for row, axis in enumerate(axes)]
    return data.transpose(axes)[tuple(slice(None, None, -1 if b else 1) for b in back)]


def ras_axes(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """Which voxel axis runs left to right, which back to front, and which upwards (or the other way).

    Args:
        affine: voxels to RAS+ millimetres, 4x4.

    Returns:
        Three different axes.
    """
    steps = affine[:3, :3]
    _, axes = linear_sum_assignment(-np.abs(steps) / np.maximum(np.linalg.norm(steps, axis=0), 1e-12))
    first, second, third = (int(axis) for axis in axes)
    return first, second, third


def _nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    import nibabel as nib  # noqa: PLC0415  # only the reader of this format is needed

    image: Any = nib.load(path)
    data = np.asanyarray(image.dataobj)
    if data.ndim == 5 and data.shape[3] == 1:  # vectors lie on the fifth axis, after time
        data = data[:, :, :, 0]
    return data, np.asarray(image.affine, np.float64)


def _nrrd(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    import nrrd  # noqa: PLC0415  # only the reader of this format is needed

    data, header = nrrd.read(str(path))
    directions = np.asarray(header.get("space directions", np.eye(3)), np.float64)
    if len(directions) != data.ndim:  # no row for the axis of the values
        directions = np.concatenate([np.full((data.ndim - len(directions), 3), np.nan), directions])
    in_space = np.isfinite(directions).all(axis=1)
    if in_space.sum() != 3:
        raise ValueError(f"three axes must lie in space, got {int(in_space.sum())}")
    data = np.moveaxis(data, np.flatnonzero(~in_space).tolist(), list(range(3, data.ndim)))
    space = str(header.get("space", "left-posterior-superior"))
    turn = np.array(_TO_RAS[_SHORT.get(space, space)])
    affine = np.eye(4)
    affine[:3, :3] = directions[in_space].T * turn[:, None]
    affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), np.float64) * turn
    return data, affine
