"""A source series as other DICOM objects refer to it: its headers in order, its grid, or a clear refusal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from segtrust.dicom.grid import Placement, place
from segtrust.errors import DicomError, ScanError
from segtrust.files.dicom import DicomSeries, find_series

__all__ = ["Series", "read_series"]

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class Series:
    """Slices of one series, ascending along row direction x column direction.

    ``headers`` are the slices' data sets without pixels. ``affine`` takes (column, row, slice) to RAS+
    millimetres; ``shape`` and ``spacing`` (millimetres between columns, rows, slices) are in the same order.
    ``thickness`` is a slice's, in millimetres.
    """

    headers: tuple[Dataset, ...]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    thickness: float

    def place(self, affine: NDArray[np.float64], shape: Sequence[int]) -> Placement:
        """How a volume lies on this series; see :func:`segtrust.dicom.grid.place`."""
        return place(affine, shape, self.affine, self.shape)


def read_series(folder: Path) -> Series:
    """Read the headers of the one series in a folder; no pixel is decoded.

    Args:
        folder: its files, of which those that are no DICOM are passed over.

    Returns:
        The series, sorted by position, not by file name or instance number.

    Raises:
        DicomError: if it cannot be read as a scan either (see :func:`segtrust.files.dicom.find_series`), or
            if other objects cannot refer to it: multi-frame objects, pixels of unknown size, identifiers or
            a frame of reference missing.
    """
    if not folder.is_dir():
        raise DicomError(f"the DICOM series must be a folder with one file per slice, got {folder.name!r}.")
    try:
        series = find_series(folder)
    except ScanError as error:
        raise DicomError(str(error)) from error
    spacing, thickness = _checked(series, folder.name)
    headers = tuple(one.header for one in series.slices)
    return Series(headers, series.affine, series.shape, spacing, thickness)


def _checked(series: DicomSeries, name: str) -> tuple[tuple[float, float, float], float]:
    """Spacing and thickness, if every slice has what others need to refer to it."""
    for one in series.slices:
        if "SharedFunctionalGroupsSequence" in one.header:
            raise _refusal(
                name, "one slice per file", "a multi-frame object", "Export as single-frame slices."
            )
        places = (("PixelSpacing", one.size), ("ImagePositionPatient", one.position))
        missing = [keyword for keyword in _NEEDED if one.header.get(keyword) in (None, "", [])]
        missing += [keyword for keyword, value in places if value is None]
        if missing:
            raise _refusal(
                name,
                "identifiers and a place for every slice",
                f"a slice without {', '.join(missing)}",
                "Localisers, reports and anonymised slices without geometry do not belong into the folder.",
            )
    if series.spacing is None or series.thickness is None:
        raise _refusal(name, "SliceThickness if there is only one slice", "none", "Export the series again.")
    return series.spacing, series.thickness


def _refusal(name: str, wanted: str, got: str, fix: str) -> DicomError:
    return DicomError(f"the DICOM series {name!r} must have {wanted}, got {got}. {fix}")
