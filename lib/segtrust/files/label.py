"""The door of labels: whole numbers in one layer, with the names that the file gives, on the scan's grid."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files.geometry import Grid
from segtrust.files.header import Header
from segtrust.files.limits import current_limits
from segtrust.files.scan import placed
from segtrust.files.stopping import check_stopped
from segtrust.files.volume import read_volume

__all__ = ["LabelFile", "read_label_file"]

_LARGEST = np.iinfo(np.uint16).max
_SEGMENT = re.compile(r"(segment\d+)_name")


@dataclass(frozen=True)
class LabelFile:
    """A label as its file has it.

    Args:
        name: name of the file.
        values: ``(X, Y, Z)``, uint8 or uint16.
        grid: where the voxels lie.
        header: the file's header.
        names: value -> name of the segment, for ``.seg.nrrd``; empty if the file names none.
    """

    name: str
    values: NDArray[np.unsignedinteger[Any]]
    grid: Grid
    header: Header
    names: Mapping[int, str] = field(default_factory=dict)

    def on(self, grid: Grid, scan: str) -> "LabelFile":
        """Turn the label onto its scan's grid.

        Args:
            grid: of the scan.
            scan: name of the scan, for messages.

        Returns:
            The same voxels in the scan's order; ``header`` stays that of the file.

        Raises:
            ScanError: if no order of axes puts every voxel onto one of the scan.
        """
        turn = self.grid.reordering_to(grid)
        if turn is None:
            raise ScanError(
                f"the label {self.name!r} must lie on the grid of its scan {scan!r}. The scan has "
                f"{grid.describe()}; "
                f"the label has {self.grid.describe()}. Resample the label to the scan, or send the label "
                f"of this "
                "scan.",
                "label_grid",
            )
        return replace(self, values=turn.apply(self.values), grid=grid)


def read_label_file(path: Path) -> LabelFile:
    """Read a label.

    Args:
        path: NIfTI, NRRD (also ``.seg.nrrd``) or MetaImage.

    Returns:
        The label; one without any structure is allowed.

    Raises:
        ScanError: if the file is missing, cannot be read to its end, holds several layers, values that are
            not whole numbers from 0 to 65,535, or more different ones than ``max_classes``, or if its header
            puts it at different places for different readers.
    """
    volume = read_volume(path)
    values = volume.scaled()
    if values.ndim != 3:
        raise ScanError(
            f"the label {path.name!r} must be one volume with one value per voxel, got shape {values.shape}. "
            "Export the segments into one layer.",
            "scan_dimensions",
        )
    header = volume.header
    grid = placed(values.shape, header.affine, header.spacing, header.doubts, path.name)
    return LabelFile(path.name, _whole(values, path.name), grid, header, _names(header, path.name))


def _whole(values: NDArray[np.generic], name: str) -> NDArray[np.unsignedinteger[Any]]:
    distinct = _distinct(values, name)
    low, high = distinct[0], distinct[-1]
    if not (low >= 0 and high <= _LARGEST and (distinct == np.floor(distinct)).all()):
        raise ScanError(
            f"the label {name!r} must hold whole numbers from 0 to {_LARGEST}, got values from {low:g} to "
            f"{high:g}. "
            "Is it a probability map, or was it resampled with interpolation? Save the labels themselves.",
            "label_values",
        )
    return values.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)


def _distinct(values: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """Different values, slice by slice: no copy of the volume is sorted, and too many end it early."""
    distinct: NDArray[np.generic] = np.empty(0, values.dtype)
    for index in range(values.shape[-1]):
        check_stopped()
        distinct = np.union1d(distinct, values[..., index])
        if not (distinct == np.floor(distinct)).all():
            return distinct  # no label, which is all that has to be known
        current_limits().check("max_classes", len(distinct), name)
    return distinct


def _names(header: Header, name: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for key, text in header.fields.items():
        match = _SEGMENT.fullmatch(key)
        if match is None:
            continue
        value = header.fields.get(f"{match[1]}_labelvalue", "")
        if not re.fullmatch(r"\d{1,5}", value) or header.fields.get(f"{match[1]}_layer", "0") != "0":
            raise ScanError(
                f"the label {name!r} must have all segments in one layer, each with a value, but {text!r} "
                f"has not. "
                "Export the segments into one layer.",
                "scan_dimensions",
            )
        if int(value) in names and names[int(value)] != text:
            raise ScanError(
                f"the label {name!r} must name each value once, got {names[int(value)]!r} and {text!r} for "
                f"{value}.",
                "label_values",
            )
        names[int(value)] = text
    return names
