"""Whether slices of DICOM make one even volume, and where it lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from segtrust.files.dicom_slices import AGAIN, SPLIT, DicomSlice, refusal

__all__ = ["Stack", "check_alike", "stacked"]

_ONE_OF_A_KIND = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
_COSINES = 1e-4  # largest difference between direction cosines that rounding explains
_UNEVEN = 0.01  # largest departure from even slices, as a share of their distance ...
_UNEVEN_MM = 0.01  # ... or in millimetres, whichever is more
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_REPEATS = {
    "TemporalPositionIdentifier": "time points",
    "TriggerTime": "time points",
    "AcquisitionNumber": "acquisitions",
    "EchoTime": "echoes",
    "DiffusionBValue": "diffusion weightings",
    "ContentTime": "time points",
}
"""Attributes that tell slices at one place apart, and what these then are."""


@dataclass(frozen=True)
class Stack:
    """Slices in ascending order with their grid, as :class:`segtrust.files.dicom.DicomSeries` has them."""

    slices: tuple[DicomSlice, ...]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] | None
    thickness: float | None


def check_alike(headers: Sequence[Dataset], name: str) -> None:
    """Refuse files that belong to different series or have different matrices, and copies of one file.

    Args:
        headers: of the files.
        name: of the folder, for messages.

    Raises:
        ScanError: if they are not of one kind.
    """
    for keyword in _ONE_OF_A_KIND:
        values = {str(header[keyword].value) for header in headers if header.get(keyword) not in (None, "")}
        if len(values) > 1:
            raise refusal(name, f"one {keyword}", f"{len(values)} different ones", SPLIT)
    instances = [str(header.get("SOPInstanceUID") or number) for number, header in enumerate(headers)]
    if len(set(instances)) < len(instances):
        raise refusal(name, "every slice once", "two files with one SOPInstanceUID", "Remove the copy.")


def stacked(slices: Sequence[DicomSlice], name: str) -> Stack:
    """Put slices in order and find their grid.

    Args:
        slices: in any order.
        name: of the folder, for messages.

    Returns:
        The slices and their grid.

    Raises:
        ScanError: if they are not one even volume.
    """
    first = slices[0]
    shape = (int(first.header.Columns), int(first.header.Rows), len(slices))
    if len(slices) == 1 and (first.position is None or first.orientation is None):
        return Stack((first,), np.eye(4), shape, None, first.thickness)  # a picture: its place is unknown
    _check_places(slices, name)
    orientation = _one(slices, "orientation", name)
    right, down, normal = _at_right_angles(orientation[:3], orientation[3:])
    ordered = sorted(slices, key=lambda one: float(normal @ _place(one)))
    positions = np.array([_place(one) for one in ordered])
    _check_even(ordered, positions, normal, name)
    gap = float(normal @ (positions[-1] - positions[0])) / (len(slices) - 1) if len(slices) > 1 else None
    thickness = first.thickness or gap
    size = _one(slices, "size", name) if any(one.size is not None for one in slices) else None
    apart = gap or thickness
    spacing = None if size is None or apart is None else (float(size[1]), float(size[0]), apart)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([right, down, normal]) * (spacing or (1.0, 1.0, 1.0))
    affine[:3, 3] = positions[0]
    affine[:3] = _TO_RAS @ affine[:3]
    return Stack(tuple(ordered), affine, shape, spacing, thickness)


def _at_right_angles(right: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions of columns, rows and slices of length 1 at right angles: those that rounding moved."""
    u, _, v = np.linalg.svd(np.column_stack([right, down, np.cross(right, down)]))
    axes: NDArray[np.float64] = (u @ v).T
    return axes


def _place(one: DicomSlice) -> NDArray[np.float64]:
    return np.full(3, np.nan) if one.position is None else one.position


def _check_places(slices: Sequence[DicomSlice], name: str) -> None:
    for one in slices:
        missing = [
            keyword
            for keyword, value in (
                ("ImageOrientationPatient", one.orientation), ("ImagePositionPatient", one.position),
            )
            if value is None
        ]  # fmt: skip
        if missing:
            raise refusal(
                name,
                "a place in space for every slice",
                f"a slice without {', '.join(missing)}",
                "Localisers, reports and anonymised slices without geometry do not belong into the folder.",
            )


def _one(slices: Sequence[DicomSlice], which: str, name: str) -> NDArray[np.float64]:
    """Orientation or pixel size, which must be the same for all slices."""
    keyword = {"orientation": "ImageOrientationPatient", "size": "PixelSpacing"}[which]
    values = [getattr(one, which) for one in slices]
    if any(value is None for value in values):
        raise refusal(name, f"one {keyword}", f"a slice without {keyword}", AGAIN)
    tolerances: dict[str, Callable[[NDArray[np.float64]], float]] = {
        "orientation": lambda _: _COSINES,
        "size": lambda first: _COSINES * float(first.min()),
    }
    together = np.array(values)
    if np.ptp(together, axis=0).max() > tolerances[which](together[0]):
        raise refusal(name, f"one {keyword}", "different ones", SPLIT)
    if which == "orientation":
        axes = together[0].reshape(2, 3)
        if np.abs(axes @ axes.T - np.eye(2)).max() > 10 * _COSINES:
            raise refusal(name, "rows and columns at right angles", f"directions {axes.tolist()}", AGAIN)
    return np.asarray(together[0], np.float64)


def _check_even(
    slices: Sequence[DicomSlice], positions: NDArray[np.float64], normal: NDArray[np.float64], name: str
) -> None:
    if len(positions) == 1:
        return
    heights = positions @ normal
    gaps = np.diff(heights)
    if gaps.min() < _UNEVEN_MM:
        k = int(gaps.argmin())
        words = f"slices {k + 1} and {k + 2} at the same place{_repeats(slices)}"
        raise refusal(name, "one slice at each place", words, SPLIT)
    usual = float(np.median(gaps))
    allowed = max(_UNEVEN * usual, _UNEVEN_MM)
    even = np.linspace(heights[0], heights[-1], len(heights))
    if max(np.abs(gaps - usual).max(), np.abs(heights - even).max()) > allowed:
        k = int(np.abs(gaps - usual).argmax())
        raise refusal(
            name,
            f"slices at even distances without a gap (usual: {usual:.4g} mm)",
            f"{gaps[k]:.4g} mm between slices {k + 1} and {k + 2} of {len(positions)}",
            "Fetch the missing slices, or resample the series.",
        )
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    if np.abs(sideways).max() > allowed:
        raise refusal(
            name,
            "slices stacked along their normal",
            f"a sideways shift of {np.abs(sideways).max():.4g} mm",
            "Was the gantry tilted? Resample the series first.",
        )


def _repeats(slices: Sequence[DicomSlice]) -> str:
    """What slices at the same place seem to be, if an attribute tells them apart."""
    for keyword, word in _REPEATS.items():
        values = [str(one.header.get(keyword)) for one in slices if one.header.get(keyword) is not None]
        kinds = len(set(values))
        if kinds > 1 and len(values) == len(slices) and kinds < len(slices):
            return f" ({kinds} {word} by {keyword}?)"
    return ""
