"""One slice of DICOM, from a file of its own or from a frame of a multi-frame object."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from segtrust.errors import ScanError

__all__ = ["AGAIN", "SPLIT", "DicomSlice", "numbers", "refusal", "slices_of"]

SPLIT = "Put each series, time point and echo into a folder of its own."
AGAIN = "Export the series again."

_NUMBERS = {"PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3}
# what ITK's GDCM decodes; others, such as videos or HTJ2K, it does not
_DECODED = frozenset({
    "1.2.840.10008.1.2",  # implicit little endian
    "1.2.840.10008.1.2.1",  # explicit little endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.2",  # big endian
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first order
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE
})  # fmt: skip


_PLAIN = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})


@dataclass(frozen=True, eq=False)
class DicomSlice:
    """Where a slice is stored and where it lies, in millimetres; ``None`` for what the file does not say.

    ``frame`` counts from 0 within ``file``. ``size`` is the distance between rows and that between columns.
    """

    file: Path
    frame: int
    header: Dataset
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    size: NDArray[np.float64] | None
    thickness: float | None


def slices_of(file: Path, header: Dataset, name: str) -> Iterator[DicomSlice]:
    """The slices that a file holds.

    Args:
        file: the file.
        header: its data set without pixels.
        name: of the folder, for messages.

    Yields:
        One slice, or one for each frame.

    Raises:
        ScanError: if frames have no place, pixels are coloured or missing, numbers are none, or nothing here
            decodes them.
    """
    _check_pixels(file, header, name)
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if frames:
        shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        for number, frame in enumerate(frames):
            yield _slice(file, number, header, (frame, shared), name)
    elif int(header.get("NumberOfFrames") or 1) > 1:
        raise refusal(
            name,
            "one slice per file",
            "a multi-frame object without a place for each frame",
            "Export as single-frame slices.",
        )
    else:
        yield _slice(file, 0, header, (), name)


def _check_pixels(file: Path, header: Dataset, name: str) -> None:
    syntax = UID(str(getattr(header, "file_meta", {}).get("TransferSyntaxUID") or "1.2.840.10008.1.2"))
    if syntax not in _DECODED:
        raise refusal(
            name,
            "pixels of a kind that is decoded (uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000)",
            f"the transfer syntax {syntax.name}",
            "Export the series uncompressed.",
        )
    _check_picture(header, name)
    frames = int(header.get("NumberOfFrames") or 1)
    stored = int(header.Rows) * int(header.Columns) * frames * int(header.get("BitsAllocated") or 8) // 8
    if syntax in _PLAIN and file.stat().st_size < stored:
        raise refusal(
            name, "all pixels of every slice", f"a file that ends before them, {file.name!r}", AGAIN
        )


def _check_picture(header: Dataset, name: str) -> None:
    """Refuse colours, and pictures that hold more than one slice."""
    colours = f"{header.get('SamplesPerPixel')} colours"
    if str(header.get("PhotometricInterpretation") or "").startswith("PALETTE"):
        colours = "numbers of colours (PALETTE COLOR)"
    elif int(header.get("SamplesPerPixel") or 1) == 1:
        colours = ""
    if colours:
        raise refusal(
            name,
            "one grey value per pixel",
            colours,
            "Export the original series, not a picture of it.",
        )
    kinds = header.get("ImageType") or []
    if "MOSAIC" in ([kinds] if isinstance(kinds, str) else kinds):
        raise refusal(
            name,
            "one slice per file",
            "a mosaic, in which Siemens lays all slices beside each other",
            "Convert it with dcm2niix.",
        )


_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
}


def _slice(file: Path, number: int, header: Dataset, groups: tuple[Dataset, ...], name: str) -> DicomSlice:
    return DicomSlice(
        file=file,
        frame=number,
        header=header,
        position=_values(header, groups, "ImagePositionPatient", name),
        orientation=_values(header, groups, "ImageOrientationPatient", name),
        size=_values(header, groups, "PixelSpacing", name),
        thickness=_thickness(header, groups),
    )


def _group(functional: Dataset, keyword: str) -> Dataset:
    group: Dataset = (functional.get(_GROUPS[keyword]) or [Dataset()])[0]
    return group


def _holder(header: Dataset, groups: tuple[Dataset, ...], keyword: str) -> Dataset | None:
    """What holds an attribute of a slice: its frame, what all frames share, or the file's header."""
    holders = [*(_group(functional, keyword) for functional in groups), header]
    return next((holder for holder in holders if holder.get(keyword) not in (None, "", [])), None)


def _values(
    header: Dataset, groups: tuple[Dataset, ...], keyword: str, name: str
) -> NDArray[np.float64] | None:
    holder = _holder(header, groups, keyword)
    if holder is None:
        return None
    values, count = numbers(holder, keyword), _NUMBERS[keyword]
    if len(values) != count or not np.isfinite(values).all():
        raise refusal(name, f"{count} finite numbers in {keyword}", str(holder[keyword].value)[:200], AGAIN)
    if keyword == "PixelSpacing" and not (values > 0).all():
        raise refusal(name, "PixelSpacing above 0", str(holder.PixelSpacing), AGAIN)
    return values


def _thickness(header: Dataset, groups: tuple[Dataset, ...]) -> float | None:
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        holder = _holder(header, groups, keyword)
        value = abs(float(numbers(holder, keyword)[0])) if holder is not None else 0.0
        if np.isfinite(value) and value > 0:
            return value
    return None


def numbers(header: Dataset, keyword: str) -> NDArray[np.float64]:
    """The numbers of an attribute; NaN for what is no number."""
    try:
        return np.atleast_1d(np.array(header[keyword].value, dtype=np.float64))
    except (TypeError, ValueError):
        return np.array([np.nan])


def refusal(name: str, wanted: str, got: str, fix: str) -> ScanError:
    """Why a series is not read: what it must have, what it has, the usual fix."""
    return ScanError(f"the DICOM series {name!r} must have {wanted}, got {got}. {fix}", "scan_series")
