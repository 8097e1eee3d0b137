"""A source series as other DICOM objects refer to it: its headers in order, its grid, or a clear refusal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from segtrust.dicom.grid import Placement, place
from segtrust.errors import DicomError
from segtrust.files.opening import is_regular

__all__ = ["Series", "read_series"]

_NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
_NUMBERS = {"PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3}
_ONE_OF_A_KIND = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
_COSINES = 1e-4  # largest difference between direction cosines that rounding explains
_UNEVEN = 0.01  # largest departure from even slices, as a share of their distance ...
_UNEVEN_MM = 0.01  # ... or in millimetres, whichever is more
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


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
    """Read the headers of the one series in a folder; no pixel is decoded, so any transfer syntax will do.

    Args:
        folder: its files, of which those that are no DICOM are passed over.

    Returns:
        The series, sorted by position, not by file name or instance number.

    Raises:
        DicomError: if other objects cannot refer to it safely: no DICOM, several series, multi-frame objects,
            attributes without which a slice has no place, mixed orientation, spacing, size or frame of
            reference, two slices at one place, missing or uneven slices, a tilted gantry.

    Source:
        Geometry of DICOM PS3.3 C.7.6.2.1.1.
    """
    headers = _headers(folder)
    _check_attributes(headers, folder.name)
    _check_alike(headers, folder.name)
    orientation = _floats(headers[0], "ImageOrientationPatient")
    right, down = orientation[:3], orientation[3:]
    normal = np.cross(right, down)
    headers.sort(key=lambda header: float(normal @ _floats(header, "ImagePositionPatient")))
    positions = np.array([_floats(header, "ImagePositionPatient") for header in headers])
    _check_positions(positions, normal, folder.name)
    step = (positions[-1] - positions[0]) / (len(headers) - 1) if len(headers) > 1 else None
    thickness = _thickness(headers[0], folder.name, step)
    step = normal * thickness if step is None else step
    between_rows, between_columns = _floats(headers[0], "PixelSpacing")
    affine = np.eye(4)
    affine[:3] = _TO_RAS @ np.column_stack([right * between_columns, down * between_rows, step, positions[0]])
    shape = (int(headers[0].Columns), int(headers[0].Rows), len(headers))
    spacing = (float(between_columns), float(between_rows), float(np.linalg.norm(step)))
    return Series(tuple(headers), affine, shape, spacing, thickness)


def _headers(folder: Path) -> list[Dataset]:
    if not folder.is_dir():
        raise DicomError(f"the DICOM series must be a folder with one file per slice, got {folder.name!r}.")
    headers = []
    for file in sorted(path for path in folder.iterdir() if is_regular(path) and path.name != "DICOMDIR"):
        try:
            headers.append(_named(dcmread(file, stop_before_pixels=True)))
        except InvalidDicomError:
            continue
        except Exception as error:
            raise DicomError(
                f"the slices of {folder.name!r} must be readable DICOM, got {type(error).__name__} from "
                f"{file.name!r}. Was the file cut off? Export the series again."
            ) from error
    if not headers:
        raise DicomError(
            f"the folder {folder.name!r} must hold DICOM files, got none. Is it the right folder?"
        )
    return headers


def _named(header: Dataset) -> Dataset:
    """The header with class and instance; anonymisers that blank them leave them in the file's own head."""
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not header.get(keyword):
            setattr(header, keyword, header.file_meta.get(f"MediaStorage{keyword}"))
    return header


def _check_attributes(headers: Sequence[Dataset], name: str) -> None:
    for header in headers:
        if int(header.get("NumberOfFrames") or 1) > 1 or "SharedFunctionalGroupsSequence" in header:
            raise _refusal(
                name, "one slice per file", "a multi-frame object", "Export as single-frame slices."
            )
        missing = [keyword for keyword in _NEEDED if header.get(keyword) in (None, "", [])]
        if missing:
            raise _refusal(
                name,
                "a place in space for every slice",
                f"a slice without {', '.join(missing)}",
                "Localisers, reports and anonymised slices without geometry do not belong into the folder.",
            )
        for keyword, n in _NUMBERS.items():
            values = _floats(header, keyword)
            if len(values) != n or not np.isfinite(values).all():
                raise _refusal(name, f"{n} finite numbers in {keyword}", str(header[keyword].value), _AGAIN)
        if not (_floats(header, "PixelSpacing") > 0).all():
            raise _refusal(name, "PixelSpacing above 0", str(header.PixelSpacing), _AGAIN)


def _check_alike(headers: Sequence[Dataset], name: str) -> None:
    for keyword in _ONE_OF_A_KIND:
        values = {header[keyword].value for header in headers}
        if len(values) > 1:
            raise _refusal(name, f"one {keyword}", f"{len(values)} different ones", _SPLIT)
    if len({header.SOPInstanceUID for header in headers}) < len(headers):
        raise _refusal(name, "every slice once", "two files with one SOPInstanceUID", "Remove the copy.")
    tolerances: dict[str, Callable[[NDArray[np.float64]], float]] = {
        "ImageOrientationPatient": lambda _: _COSINES,
        "PixelSpacing": lambda first: _COSINES * float(first.min()),
    }
    for keyword, tolerance in tolerances.items():
        values_of = np.array([_floats(header, keyword) for header in headers])
        if np.ptp(values_of, axis=0).max() > tolerance(values_of[0]):
            raise _refusal(name, f"one {keyword}", "different ones", _SPLIT)
    axes = _floats(headers[0], "ImageOrientationPatient").reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 10 * _COSINES:
        raise _refusal(name, "rows and columns at right angles", f"directions {axes.tolist()}", _AGAIN)


def _check_positions(positions: NDArray[np.float64], normal: NDArray[np.float64], name: str) -> None:
    if len(positions) == 1:
        return
    heights = positions @ normal
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    allowed = max(_UNEVEN * usual, _UNEVEN_MM)
    if gaps.min() < _UNEVEN_MM:
        k = int(gaps.argmin()) + 1
        raise _refusal(name, "one slice at each place", f"slices {k} and {k + 1} at the same place", _SPLIT)
    even = np.linspace(heights[0], heights[-1], len(heights))
    if max(np.abs(gaps - usual).max(), np.abs(heights - even).max()) > allowed:
        k = int(np.abs(gaps - usual).argmax())
        raise _refusal(
            name,
            f"slices at even distances without a gap (usual: {usual:.4g} mm)",
            f"{gaps[k]:.4g} mm between slices {k + 1} and {k + 2} of {len(positions)}",
            "Fetch the missing slices, or resample the series.",
        )
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    if np.abs(sideways).max() > allowed:
        raise _refusal(
            name,
            "slices stacked along their normal",
            f"a sideways shift of {np.abs(sideways).max():.4g} mm",
            "Was the gantry tilted? Resample the series first.",
        )


def _thickness(header: Dataset, name: str, step: NDArray[np.float64] | None) -> float:
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        value = abs(float(_floats(header, keyword)[0])) if header.get(keyword) else 0.0
        if np.isfinite(value) and value > 0:
            return value
    if step is None:
        raise _refusal(name, "SliceThickness if there is only one slice", "none", _AGAIN)
    return float(np.linalg.norm(step))


def _floats(header: Dataset, keyword: str) -> NDArray[np.float64]:
    """The numbers of an attribute; NaN for what is no number."""
    try:
        return np.atleast_1d(np.array(header[keyword].value, dtype=np.float64))
    except (TypeError, ValueError):
        return np.array([np.nan])


_SPLIT = "Put each series, time point and echo into a folder of its own."
_AGAIN = "Export the series again."


def _refusal(name: str, wanted: str, got: str, fix: str) -> DicomError:
    return DicomError(f"the DICOM series {name!r} must have {wanted}, got {got}. {fix}")
