"""The door of scans: read to the end, finite real numbers, and one place in space for all readers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files.geometry import Grid
from segtrust.files.header import unreadable
from segtrust.files.series import is_dicom, read_series_volume
from segtrust.files.volume import read_claims, read_volume

__all__ = ["ScanFile", "placed", "read_scan_file", "scan_grid"]

_APART_MM = 0.005  # two readers may differ by twice as much from one another


@dataclass(frozen=True)
class ScanFile:
    """``values`` ``(C, X, Y, Z)`` float32, finite, and the grid that nibabel and ITK agree on.

    ``series`` names the DICOM series that was read.
    """

    values: NDArray[np.float32]
    grid: Grid
    series: Mapping[str, Any] | None = None


def read_scan_file(path: Path, *, channels: int | None = 1) -> ScanFile:
    """Read a scan from NIfTI, NRRD, MetaImage, or DICOM.

    Args:
        path: the file, or a folder with one DICOM series.
        channels: number of channels that are needed; ``None`` for any number.

    Returns:
        Values and grid, in the file's own voxel order.

    Raises:
        ScanError: if the file is missing, cannot be read to its end, is of complex numbers, colours or a time
            series, has other than ``channels`` channels, holds values that are not finite, or if its header
            is sheared, gives lengths in another unit, or puts the scan at different places for different
            readers.
    """
    if is_dicom(path):
        series = read_series_volume(path)
        values, facts = series.values, series.facts
        grid = placed(values.shape, series.affine, series.spacing, (), path.name)
    else:
        facts = None
        volume = read_volume(path)
        header, values = volume.header, volume.scaled(np.float32)
        grid = placed(values.shape, header.affine, header.spacing, header.doubts, path.name)
    stacked = _channels_first(values, path.name, channels)
    if not np.isfinite(stacked).all():
        bad = int(np.count_nonzero(~np.isfinite(stacked)))
        raise ScanError(
            f"the scan {path.name!r} must hold finite numbers, got {bad} voxels with NaN or infinity. "
            "Export it again, or replace them.",
            "scan_not_finite",
        )
    return ScanFile(stacked, grid, facts)


def scan_grid(path: Path) -> Grid:
    """Read where a scan lies, from its header alone if it is a file.

    Args:
        path: the file, or a folder with one DICOM series.

    Returns:
        Its grid.

    Raises:
        ScanError: as :func:`read_scan_file`, except for what only the voxels show.
    """
    if is_dicom(path):
        return read_scan_file(path, channels=None).grid
    header = read_claims(path)
    shape = (*header.shape, 1, 1)[:3]
    return placed(shape, header.affine, header.spacing, header.doubts, path.name)


def placed(
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    spacing: tuple[float, float, float] | None,
    doubts: tuple[str, ...],
    name: str,
) -> Grid:
    """The grid of a file, if there is only one place where it can lie.

    Args:
        shape: of its values; only the first three axes count.
        affine: voxels to RAS+ millimetres, as its header says.
        spacing: voxel size; ``None`` if the header does not say.
        doubts: reasons why readers differ.
        name: the file, for messages.

    Returns:
        The grid.

    Raises:
        ScanError: if readers differ, or the axes are not at right angles.
    """
    if doubts:
        raise ScanError(
            f"the file {name!r} must lie at one place for every reader, but {'; '.join(doubts)}.",
            "scan_geometry",
        )
    grid = Grid((shape[0], shape[1], shape[2]), affine, spacing)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if not (size > 0).all():
        raise unreadable(name, "its header gives an axis no length")
    u, _, v = np.linalg.svd(affine[:3, :3] / size)
    straight = affine.copy()
    straight[:3, :3] = (u @ v) * size
    apart = float(np.abs(grid.corners() - Grid(grid.shape, straight, spacing).corners()).max())
    if apart > _APART_MM:
        raise ScanError(
            f"the file {name!r} must have axes at right angles, but its header is sheared by up to "
            f"{apart:.3g} mm. "
            "Was the gantry tilted? Resample it first.",
            "scan_geometry",
        )
    return grid


def _channels_first(values: NDArray[Any], name: str, channels: int | None) -> NDArray[np.float32]:
    if values.ndim not in {3, 4}:
        raise ScanError(
            f"the scan {name!r} must be one volume, got shape {values.shape}. Split time series first.",
            "scan_dimensions",
        )
    stacked = np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]
    if channels is not None and len(stacked) != channels:
        raise ScanError(
            f"the scan {name!r} must have {channels} channel(s), got {len(stacked)}. "
            "Give one file with the channels in the order of the model's specification.",
            "scan_channels",
        )
    return np.ascontiguousarray(stacked, np.float32)
