"""Segmentations of others and of ours, read back as labels on the slices of their series."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from segtrust.dicom.provenance import MANUFACTURER
from segtrust.dicom.series import Series
from segtrust.errors import DicomError

__all__ = ["StoredLabel", "is_prediction", "read_label", "segment_names"]

_VOXELS = 0.05  # largest distance of a frame from its slice, as for volumes
_COSINES = 1e-3


@dataclass(frozen=True)
class StoredLabel:
    """``frames`` ``(slices, rows, columns)`` uint8 hold segment numbers; ``names`` says what they mean."""

    frames: NDArray[np.uint8]
    names: dict[int, str]


def segment_names(document: Dataset) -> dict[int, str]:
    """Number and label of each segment that a segmentation describes, empty ones included."""
    return {
        int(item.SegmentNumber): str(item.get("SegmentLabel") or "")
        for item in document.get("SegmentSequence") or ()
    }


def is_prediction(document: Dataset) -> bool:
    """Whether a segmentation is a mask that this software made by itself: no label, whoever stored it.

    Args:
        document: its header.

    Returns:
        True for what :func:`segtrust.dicom.write_segmentation` wrote, false for labels of people and for
        everything that other software wrote.
    """
    kinds = {str(item.get("SegmentAlgorithmType")) for item in document.get("SegmentSequence") or ()}
    return str(document.get("Manufacturer")) == MANUFACTURER and kinds <= {"AUTOMATIC"}


def read_label(document: Dataset, series: Series, *, nested: Sequence[str] = ()) -> StoredLabel:
    """Read a binary segmentation onto the slices of its series; nothing is resampled.

    Args:
        document: the segmentation, with its pixels.
        series: what :func:`segtrust.dicom.read_series` returned.
        nested: names of segments that may share voxels, the outermost first; none unless given.

    Returns:
        The label. Slices without a frame are 0; a voxel of several nested segments is the innermost's.

    Raises:
        DicomError: if it is not binary, has another size, lies elsewhere, or has voxels in two segments that
            are not nested.

    Note:
        Frames are placed by their positions, since references to slices are optional.
    """
    _check_kind(document, series)
    pixels = document.pixel_array.reshape(-1, document.Rows, document.Columns)
    shared = document.SharedFunctionalGroupsSequence[0]
    names, order = segment_names(document), [name.lower() for name in nested]
    depth = {n: order.index(name.lower()) for n, name in names.items() if name.lower() in order}
    frames = np.zeros((series.shape[2], series.shape[1], series.shape[0]), dtype=np.uint8)
    for bits, groups in zip(pixels, document.PerFrameFunctionalGroupsSequence, strict=True):
        here = frames[_slice_of(groups, shared, series)]
        inside = bits > 0
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for other in np.unique(here[inside & (here > 0)]).tolist():
            if other == number or not {other, number} <= depth.keys():
                raise _refusal("one segment per voxel", "segments that overlap", "Cut them apart.")
            if depth[other] > depth[number]:
                inside &= here != other
        here[inside] = number
    return StoredLabel(frames, names)


def _check_kind(document: Dataset, series: Series) -> None:
    if document.get("SegmentationType") != "BINARY":
        raise _refusal(
            "SegmentationType BINARY", str(document.get("SegmentationType")), "Export it as binary."
        )
    size = (int(document.Columns), int(document.Rows))
    if size != series.shape[:2]:
        raise _refusal(f"{series.shape[:2]} columns and rows", str(size), _AGAIN)
    if max(segment_names(document), default=0) > 255:
        raise _refusal("segment numbers up to 255", str(max(segment_names(document))), _AGAIN)


def _slice_of(groups: Dataset, shared: Dataset, series: Series) -> int:
    """Number of the slice that a frame lies on."""
    orientation = _group(groups, shared, "PlaneOrientationSequence").ImageOrientationPatient
    expected = series.headers[0].ImageOrientationPatient
    if np.abs(np.subtract(orientation, expected, dtype=np.float64)).max() > _COSINES:
        raise _refusal("the orientation of its series", str(list(orientation)), _AGAIN)
    position = np.array(_group(groups, shared, "PlanePositionSequence").ImagePositionPatient, dtype=float)
    places = np.array([header.ImagePositionPatient for header in series.headers], dtype=float)
    gaps = np.linalg.norm(places - position, axis=1)
    nearest = int(gaps.argmin())
    if gaps[nearest] > _VOXELS * min(series.spacing):
        raise _refusal("its frames on slices of its series", f"one {gaps[nearest]:.3g} mm away", _AGAIN)
    return nearest


def _group(groups: Dataset, shared: Dataset, name: str) -> Dataset:
    holder = groups if name in groups else shared
    if name not in holder:
        raise _refusal(f"a {name} for every frame", "none", _AGAIN)
    group: Dataset = holder[name].value[0]
    return group


_AGAIN = "Draw or export it on the series itself."


def _refusal(wanted: str, got: str, fix: str) -> DicomError:
    return DicomError(f"the DICOM segmentation must have {wanted}, got {got}. {fix}")
