"""A folder or file of DICOM, read by a worker process that can be ended.

ITK's libraries decode DICOM; nobody can prove that a crafted file does not hold them up, crash them or fill
the memory. So a process of its own does it: one is started when first needed (or by :func:`keep_warm`),
waits for the next folder, is ended when it takes too long, when nobody waits for its answer any more, or
with this process, and has a limit of memory where the system knows one. What it says is JSON and plain
bytes, never pickled.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanCode, ScanError
from segtrust.files.header import ENDINGS
from segtrust.files.limits import FileLimits, current_limits
from segtrust.files.opening import is_regular, opened
from segtrust.files.stopping import StoppedError, check_stopped

__all__ = ["SeriesVolume", "is_dicom", "keep_warm", "read_series_volume"]

_PAUSE_S = 0.1
_WORKERS = 4  # at the same time
_LARGEST_ANSWER = 1 << 20
_CODES: dict[str, ScanCode] = {
    "scan_too_large": "scan_too_large",
    "scan_series": "scan_series",
    "scan_missing": "scan_missing",
}


@dataclass(frozen=True, eq=False)
class SeriesVolume:
    """Values of a series ``(X, Y, Z)``: columns, rows, slices, each with its slope and intercept applied.

    ``affine`` takes voxels to RAS+ millimetres. ``spacing`` is ``None`` where the files do not say how large
    a pixel is; ``affine`` then counts voxels. ``facts`` name the series, in JSON types.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float] | None
    facts: Mapping[str, Any]


def read_series_volume(path: Path, uid: str = "") -> SeriesVolume:
    """Read a folder with one DICOM series, or one DICOM file.

    Args:
        path: the folder or file.
        uid: the series meant, where there are several.

    Returns:
        The series.

    Raises:
        ScanError: if it is not one whole and even series (see :func:`segtrust.files.dicom.find_series`),
            something in the folder is no regular file, it is larger than the bounds allow, takes too long, or
            cannot be decoded.
        StoppedError: if nobody waits for it any more.
    """
    _check_files(path)
    with _turn(), _lent_worker() as worker:
        return worker.read(path, uid)


def is_dicom(path: Path) -> bool:
    """Whether a path is a folder, or a file that begins as DICOM does."""
    if path.is_dir():
        return True
    if path.name.lower().endswith(ENDINGS):
        return False
    with opened(path) as file:
        return file.read(132)[128:] == b"DICM"


def keep_warm() -> None:
    """Start a worker in the background, so that the first series does not wait for its libraries."""

    def start() -> None:
        with _lent_worker():
            pass

    threading.Thread(target=start, name="DICOM reader", daemon=True).start()


def _check_files(path: Path) -> None:
    limits, files = current_limits(), sorted(path.iterdir()) if path.is_dir() else [path]
    limits.check("max_archive_files", len(files), path.name)
    for file in files:
        if not is_regular(file) and not file.is_dir():
            raise ScanError(
                f"the folder {path.name!r} must hold DICOM files, but {file.name!r} is a pipe, device or a "
                f"link to "
                "nothing. Remove it.",
                "scan_unreadable",
            )
    limits.check("max_file_mb", sum(file.stat().st_size for file in files if is_regular(file)), path.name)


@dataclass(frozen=True)
class _Broken:
    """Why an answer was not read to its end; what is left of it must not become that of another scan."""

    reason: Exception


class _Worker:
    """A process that reads one series after the other."""

    def __init__(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "segtrust.files.series_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not sent yet has no reader any more
                    stream.close()

    def read(self, path: Path, uid: str) -> SeriesVolume:
        limits = current_limits()
        answer: list[SeriesVolume | ScanError | _Broken] = []
        reader = threading.Thread(
            target=_ask, args=(self._process, path, uid, limits, answer), name="DICOM answer", daemon=True
        )
        reader.start()
        deadline = time.monotonic() + limits.read_seconds
        while reader.is_alive():
            reader.join(_PAUSE_S)
            try:
                check_stopped()
            except StoppedError:
                self.end()
                raise
            if time.monotonic() > deadline and reader.is_alive():
                self.end()
                raise ScanError(
                    f"the DICOM files of {path.name!r} must be read within {limits.read_seconds} seconds, "
                    f"which they "
                    "were not. Are they damaged? Otherwise raise the server's setting `read_seconds`.",
                    "scan_too_large",
                )
        outcome = answer[0]
        if isinstance(outcome, _Broken):
            self.end()
            if isinstance(outcome.reason, ScanError):
                raise outcome.reason
            raise ScanError(
                f"the DICOM files of {path.name!r} cannot be read: their decoder ended "
                f"({type(outcome.reason).__name__}). Were they damaged? Export them again.",
                "scan_unreadable",
            ) from outcome.reason
        if isinstance(outcome, ScanError):
            raise outcome
        return outcome


def _ask(
    process: "subprocess.Popen[bytes]",
    path: Path,
    uid: str,
    limits: FileLimits,
    answer: list[SeriesVolume | ScanError | _Broken],
) -> None:
    try:
        answer.append(_exchange(process, path, uid, limits))
    except Exception as error:  # noqa: BLE001  # raised again where the answer is waited for
        answer.append(_Broken(error))


def _exchange(
    process: "subprocess.Popen[bytes]", path: Path, uid: str, limits: FileLimits
) -> SeriesVolume | ScanError:
    """The series, or the worker's own refusal; whatever is raised leaves an answer that is read in part."""
    if process.stdin is None or process.stdout is None:
        raise EOFError
    request = {"path": str(path.resolve()), "series": uid, "limits": vars(limits)}
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline(_LARGEST_ANSWER)
    if not line.endswith(b"\n"):
        raise EOFError
    about = json.loads(line)
    if "error" in about:
        return ScanError(str(about["error"]), _CODES.get(str(about["code"]), "scan_unreadable"))
    shape, dtype = tuple(int(size) for size in about["shape"]), np.dtype(str(about["dtype"]))
    limits.check("max_data_mb", int(np.prod(shape, dtype=np.float64)) * dtype.itemsize, path.name)
    values = np.empty(shape, dtype, order="F")
    memory = values.ravel(order="K").data.cast("B")
    filled = 0
    while filled < len(memory):
        count = process.stdout.readinto(memory[filled:])  # type: ignore[attr-defined]  # a BufferedReader
        if not count:
            raise EOFError
        filled += count
    affine = np.asarray(about["affine"], np.float64).reshape(4, 4)
    size = about["spacing"]
    spacing = None if size is None else (float(size[0]), float(size[1]), float(size[2]))
    return SeriesVolume(values, affine, spacing, dict(about["series"]))


_turns = threading.BoundedSemaphore(_WORKERS)
_idle: deque[_Worker] = deque()
_out: set[_Worker] = set()


@contextmanager
def _turn() -> Iterator[None]:
    """Wait for one of a few turns, as long as somebody waits for the answer."""
    while not _turns.acquire(timeout=_PAUSE_S):
        check_stopped()
    try:
        yield
    finally:
        _turns.release()


@contextmanager
def _lent_worker() -> Iterator[_Worker]:
    """A worker that nobody else has; a series that takes long keeps no other from being read."""
    worker = None
    while worker is None or not worker.lives:
        try:
            worker = _idle.pop()
        except IndexError:
            worker = _Worker()
    _out.add(worker)
    try:
        yield worker
    finally:
        _out.discard(worker)
        if worker.lives:
            _idle.append(worker)


@atexit.register
def _end_all() -> None:
    for worker in (*_idle, *_out):
        worker.end()
