"""The process behind :mod:`segtrust.files.series`: reads DICOM with ITK, one folder per line of its input."""

import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files.dicom import DicomSeries, find_series
from segtrust.files.limits import FileLimits

__all__ = ["main"]

_LIBRARIES_MB = 4096  # of addresses that ITK's libraries take before they read anything
_TYPES = {
    "unsigned_char": "u1", "char": "i1", "unsigned_short": "<u2", "short": "<i2", "unsigned_int": "<u4",
    "int": "<i4", "float": "<f4", "double": "<f8",
}  # fmt: skip


def main() -> None:
    """Answer until the input ends, which it does when the process that asks is gone."""
    threading.Thread(target=_end_with, args=(os.getppid(),), name="end-with-parent", daemon=True).start()
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(2, sys.stdout.fileno())  # libraries that print must not speak into the answers
    warnings.simplefilter("ignore")
    import itk  # noqa: PLC0415  # seconds; only this process needs it

    for library in (itk.GDCMSeriesFileNames, itk.GDCMImageIO):  # loaded now, not with the first series
        library.New()
    while line := questions.readline():
        request = json.loads(line)
        limits = FileLimits(**request["limits"])
        _limit_memory(limits)
        try:
            values, series = _read(itk, Path(request["path"]), request["series"], limits)
        except ScanError as error:
            _say(answers, {"error": str(error), "code": error.code})
        except Exception as error:  # noqa: BLE001  # whatever ITK finds wrong is told, not raised
            reason = (str(error).strip().splitlines() or [""])[-1][:200].replace(request["path"], "")
            text = (
                f"the DICOM files of {Path(request['path']).name!r} cannot be read to their end ({reason})."
            )
            _say(answers, {"error": f"{text} Export them again.", "code": "scan_unreadable"})
        else:
            kind = {"shape": values.shape, "dtype": values.dtype.str}
            place = {"spacing": series.spacing, "affine": series.affine.ravel().tolist()}
            _say(answers, {**kind, **place, "series": series.facts()})
            answers.write(np.ascontiguousarray(values.T).data.cast("B"))
            answers.flush()
            del values


def _end_with(parent: int) -> None:
    """End in the middle of a series, too, when the process that asks was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _say(answers: BinaryIO, about: dict[str, Any]) -> None:
    answers.write(json.dumps(about).encode() + b"\n")
    answers.flush()


def _limit_memory(limits: FileLimits) -> None:
    try:
        import resource  # noqa: PLC0415  # POSIX alone has it
    except ImportError:
        return
    most = (3 * limits.max_data_mb + _LIBRARIES_MB) << 20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))


def _read(
    itk: Any,  # noqa: ANN401  # a module
    path: Path,
    uid: str,
    limits: FileLimits,
) -> tuple[NDArray[Any], DicomSeries]:
    series = find_series(path, uid)
    limits.check("max_voxels", int(np.prod(series.shape, dtype=np.float64)), path.name)
    files = list(dict.fromkeys(one.file for one in series.slices))
    types = {file: _type_of(itk, file, series, path.name) for file in files}
    together = np.result_type(*types.values())  # each slice has a slope of its own, and so perhaps a type
    limits.check("max_data_mb", int(np.prod(series.shape, dtype=np.float64)) * together.itemsize, path.name)
    values = np.empty(series.shape, together, order="F")
    frames: NDArray[Any] | None = None
    for number, one in enumerate(series.slices):
        if number == 0 or one.file != series.slices[number - 1].file:
            frames = _frames(itk, one.file)
        if frames is None or frames.shape[1:] != series.shape[1::-1] or one.frame >= len(frames):
            raise ScanError(
                f"the slices of {path.name!r} must have as many pixels as their headers say, but "
                f"{one.file.name!r} has not. Export the series again.",
                "scan_unreadable",
            )
        values[..., number] = frames[one.frame].T
    return values, series


def _decoder(itk: Any, file: Path) -> Any:  # noqa: ANN401
    # named: left to choose, ITK asks the content, and a DICOM file may begin like any other
    decoder = itk.GDCMImageIO.New()
    decoder.SetFileName(str(file))
    return decoder


def _type_of(itk: Any, file: Path, series: DicomSeries, name: str) -> np.dtype[Any]:  # noqa: ANN401
    """Type of a file's values with slope and intercept applied; from its header, before memory is taken."""
    decoder = _decoder(itk, file)
    decoder.ReadImageInformation()
    size = tuple(decoder.GetDimensions(axis) for axis in range(2))
    frames = decoder.GetDimensions(2) if decoder.GetNumberOfDimensions() > 2 else 1
    kind = _TYPES.get(decoder.GetComponentTypeAsString(decoder.GetComponentType()))
    if kind is None or decoder.GetNumberOfComponents() != 1:
        raise ScanError(
            f"the DICOM files of {name!r} hold numbers of a type that is not read.", "scan_unreadable"
        )
    if size != series.shape[:2] or frames > len(series.slices):
        raise ScanError(
            f"the slices of {name!r} must have the size that their headers say, but {file.name!r} has not. "
            "Export the series again.",
            "scan_unreadable",
        )
    return np.dtype(kind)


def _frames(itk: Any, file: Path) -> NDArray[Any]:  # noqa: ANN401
    """Decoded values ``(frames, rows, columns)``, slope and intercept applied."""
    image = itk.imread(str(file), imageio=_decoder(itk, file))
    values = itk.array_view_from_image(image, keep_axes=False)
    return np.array(values if values.ndim == 3 else values[None])


if __name__ == "__main__":
    main()
