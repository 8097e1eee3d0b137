"""The door for DICOM: which files of a folder are one series, its slices in order, and where they lie.

Headers only; no pixel is decoded here. :mod:`segtrust.files.series_worker` decodes what this module finds,
and :mod:`segtrust.dicom` writes objects that refer to it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from segtrust.errors import ScanError
from segtrust.files.dicom_geometry import Stack, check_alike, stacked
from segtrust.files.dicom_slices import SPLIT, DicomSlice, refusal, slices_of
from segtrust.files.opening import is_regular

__all__ = ["DicomSeries", "find_series"]

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NO_SCAN = tuple(
    _STORAGE + part
    for part in (
        "9.",  # waveforms
        "11.",  # presentation states
        "30",  # parametric maps
        "66",  # raw data, registrations, segmentations
        "88.",  # reports
        "104.",  # documents
        "481.",  # radiotherapy
    )
)
"""Classes of objects that are about a scan, and none."""
_OF_A_DAMAGED_HEADER = (
    AttributeError, ArithmeticError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series, ascending along row direction x column direction.

    ``affine`` takes (column, row, slice) to RAS+ millimetres; ``shape`` is in the same order. ``spacing`` is
    ``None`` where the files do not say how large a pixel is; ``affine`` then counts voxels. ``thickness`` is
    a slice's in millimetres. ``passed_over`` counts files of the folder that are no part of it.
    """

    uid: str
    slices: tuple[DicomSlice, ...]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] | None
    thickness: float | None
    passed_over: int

    def facts(self) -> dict[str, Any]:
        """What an answer says about it, in JSON types."""
        header = self.slices[0].header
        named = {
            "number": "SeriesNumber",
            "description": "SeriesDescription",
            "modality": "Modality",
            "manufacturer": "Manufacturer",
            "scanner": "ManufacturerModelName",
            "protocol": "ProtocolName",
        }
        texts = {key: str(header.get(keyword) or "") for key, keyword in named.items()}
        return {
            "uid": self.uid,
            **{key: text[:64] for key, text in texts.items() if text},
            "slices": len(self.slices),
            **({"files_passed_over": self.passed_over} if self.passed_over else {}),
        }


def find_series(path: Path, uid: str = "") -> DicomSeries:
    """Find the one series in a folder, or in one file.

    Args:
        path: folder whose files are looked at, not those of its folders; or a file. What is no DICOM is
            passed over, and so are reports, segmentations and other objects about scans, and localisers
            beside another series.
        uid: the series meant, where there are several.

    Returns:
        The series, sorted by position, not by file name or instance number.

    Raises:
        ScanError: if it is not one whole and even series: no DICOM, several series without a choice, time
            points or echoes, two slices at one place, missing or uneven slices, a tilted gantry, mixed
            orientation, pixel size or matrix, frames or slices without a place, colour, a transfer syntax
            that is not decoded.

    Source:
        Geometry of DICOM PS3.3 C.7.6.2.1.1; multi-frame functional groups C.7.6.16.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values, of patients' names too
            return _found(path, uid)
    except ScanError:
        raise
    except _OF_A_DAMAGED_HEADER as error:  # attributes are decoded when they are asked for
        raise _cut_off(path, path.name, type(error).__name__) from error


def _found(path: Path, uid: str) -> DicomSeries:
    name = path.name
    headers, others = _headers(path)
    chosen = _chosen(headers, name, uid)
    check_alike([header for _, header in chosen], name)
    slices = [one for file, header in chosen for one in slices_of(file, header, name)]
    stack: Stack = stacked(slices, name)
    return DicomSeries(
        uid=str(chosen[0][1].get("SeriesInstanceUID") or ""),
        slices=stack.slices,
        affine=stack.affine,
        shape=stack.shape,
        spacing=stack.spacing,
        thickness=stack.thickness,
        passed_over=others + len(headers) - len(chosen),
    )


_Headers = list[tuple[Path, Dataset]]


def _headers(path: Path) -> tuple[_Headers, int]:
    """Headers of the DICOM images, and the number of other files."""
    if path.is_dir():
        entries = sorted(path.iterdir())
        files = [entry for entry in entries if is_regular(entry) and entry.name != "DICOMDIR"]
    else:
        entries, files = [], [path]
    headers: _Headers = []
    for file in files:
        header = _header(file, path.name)
        if header is not None and _is_image(header):
            if "Rows" not in header or not header.get("SeriesInstanceUID"):
                raise _cut_off(file, path.name, "no matrix or series")
            headers.append((file, header))
    if not headers:
        nested = any(entry.is_dir() for entry in entries)
        where = (
            " Its files lie in folders of it: name one of those." if nested else " Is it the right folder?"
        )
        raise ScanError(
            f"the folder {path.name!r} must hold DICOM files, got none.{where}", "scan_unreadable"
        )
    return headers, len(files) - len(headers)


def _header(file: Path, name: str) -> Dataset | None:
    """A file's header without pixels; ``None`` if it is no DICOM."""
    try:
        try:
            return _named(dcmread(file, stop_before_pixels=True))
        except InvalidDicomError:  # written without the usual head, as some old programs do
            header = dcmread(file, stop_before_pixels=True, force=True)
            return header if header.get("SOPClassUID") and header.get("SeriesInstanceUID") else None
    except InvalidDicomError:
        return None
    except Exception as error:
        if not _begins_as_dicom(file):
            return None
        raise _cut_off(file, name, type(error).__name__) from error


def _cut_off(file: Path, name: str, got: str) -> ScanError:
    return ScanError(
        f"the slices of {name!r} must be readable DICOM, got {got} from {file.name!r}. "
        "Was the file cut off? Export the series again.",
        "scan_unreadable",
    )


def _begins_as_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _named(header: Dataset) -> Dataset:
    """The header with class and instance; anonymisers that blank them leave them in the file's own head."""
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not header.get(keyword):
            setattr(header, keyword, header.file_meta.get(f"MediaStorage{keyword}"))
    return header


def _is_image(header: Dataset) -> bool:
    """Whether it should be an image, by its class; one of a private class is one if it has a matrix."""
    head = str(getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID") or "")
    kind = head or str(header.get("SOPClassUID") or "")  # the head is whole where the rest was cut off
    return not kind.startswith(_NO_SCAN) and ("Rows" in header or not kind or kind.startswith(_STORAGE))


def _chosen(headers: _Headers, name: str, uid: str) -> _Headers:
    """The files of the one series that is meant."""
    groups: dict[str, _Headers] = {}
    for file, header in headers:
        groups.setdefault(str(header.get("SeriesInstanceUID") or ""), []).append((file, header))
    if uid:
        if uid not in groups:
            raise ScanError(f"no series {uid!r} in {name!r}. There: {_listed(groups)}.", "scan_missing")
        return groups[uid]
    scans = {
        key: group for key, group in groups.items() if any(_is_of_a_volume(h) for _, h in group)
    } or groups
    if len(scans) > 1:
        raise refusal(name, "one SeriesInstanceUID", f"{len(scans)} different ones: {_listed(scans)}", SPLIT)
    return next(iter(scans.values()))


def _is_of_a_volume(header: Dataset) -> bool:
    """Whether a slice has a place and is not only there to plan others."""
    placed = header.get("ImagePositionPatient") or "SharedFunctionalGroupsSequence" in header
    kinds = header.get("ImageType") or []
    return bool(placed) and "LOCALIZER" not in ([kinds] if isinstance(kinds, str) else kinds)


def _listed(groups: Mapping[str, Sequence[tuple[Path, Dataset]]]) -> str:
    words = [f"{uid or 'no UID'} ({len(group)} files)" for uid, group in list(groups.items())[:5]]
    return ", ".join([*words, "..."] if len(groups) > 5 else words)
