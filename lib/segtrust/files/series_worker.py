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
from segtrust.files.limits import FileLimits

__all__ = ["main"]

_LIBRARIES_MB = 4096  # of addresses that ITK's libraries take before they read anything
_PIXELS = "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<f8"


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
            values, affine = _read(itk, Path(request["path"]), request["name"], limits)
        except ScanError as error:
            _say(answers, {"error": str(error), "code": error.code})
        except Exception as error:  # noqa: BLE001  # whatever ITK finds wrong is told, not raised
            reason = (str(error).strip().splitlines() or [""])[-1][:200].replace(request["path"], "")
            text = f"the DICOM files of {request['name']!r} cannot be read to their end ({reason})."
            _say(answers, {"error": f"{text} Export them again.", "code": "scan_unreadable"})
        else:
            about = {"shape": values.shape, "dtype": values.dtype.str, "affine": affine.ravel().tolist()}
            _say(answers, about)
            answers.write(memoryview(np.ascontiguousarray(values.T)).cast("B"))
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
    name: str,
    limits: FileLimits,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    files = _files(itk, path, name)
    # with the decoder named: left to choose, ITK asks the content, and a DICOM file may begin like any other
    decoder = itk.GDCMImageIO.New()
    decoder.SetFileName(files[0])
    decoder.ReadImageInformation()
    frames = decoder.GetDimensions(2) if decoder.GetNumberOfDimensions() > 2 else 1
    slices = len(files) * frames
    voxels = decoder.GetDimensions(0) * decoder.GetDimensions(1) * slices
    limits.check("max_voxels", voxels, name)
    limits.check("max_data_mb", voxels * decoder.GetNumberOfComponents() * decoder.GetComponentSize(), name)
    image = itk.imread(files[0] if len(files) == 1 else files, imageio=decoder)
    size = [int(n) for n in image.GetLargestPossibleRegion().GetSize()]
    limits.check("max_voxels", int(np.prod(size)), name)
    values = itk.array_view_from_image(image, keep_axes=False)
    values = values.T if image.GetNumberOfComponentsPerPixel() == 1 else np.moveaxis(values.T, 0, -1)
    if values.dtype.newbyteorder("<").str not in _PIXELS:
        raise ScanError(
            f"the DICOM files of {name!r} hold numbers of a type that is not read.", "scan_unreadable"
        )
    return np.asfortranarray(values), _affine(itk, image)


def _files(itk: Any, path: Path, name: str) -> list[str]:  # noqa: ANN401
    if path.is_file():
        return [str(path)]
    names = itk.GDCMSeriesFileNames.New()
    names.SetUseSeriesDetails(True)
    names.AddSeriesRestriction("0008|0021")  # series date
    names.SetDirectory(str(path))
    series = names.GetSeriesUIDs()
    if not series:
        raise ScanError(f"the folder {name!r} must hold a DICOM series, but holds none.", "scan_unreadable")
    return [str(file) for file in names.GetFileNames(series[0])]


def _affine(itk: Any, image: Any) -> NDArray[np.float64]:  # noqa: ANN401
    direction = np.asarray(itk.array_from_matrix(image.GetDirection()))
    size, origin = np.asarray(image.GetSpacing()), np.asarray(image.GetOrigin())
    axes = min(len(size), 3)
    affine = np.eye(4)
    affine[:axes, :axes] = direction[:axes, :axes] * size[:axes]
    affine[:axes, 3] = origin[:axes]
    turned: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return turned


if __name__ == "__main__":
    main()
