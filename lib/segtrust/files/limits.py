"""How large a file, what its header claims, and the grid it is resampled to may be."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from segtrust.errors import ScanError, SettingError

__all__ = ["FileLimits", "current_limits", "set_limits", "use_limits"]

_MIB = 1 << 20
_WORDS = {
    "max_voxels": ("voxels", "a smaller part of the scan"),
    "max_grid_voxels": ("voxels on the model's grid", "a scan whose header has the right voxel size"),
    "max_file_mb": ("bytes in the file", "a smaller part of the scan, or compress it"),
    "max_data_mb": ("bytes of uncompressed values", "a smaller part of the scan, or a narrower type"),
    "max_classes": ("different values in a label", "a label with fewer structures"),
    "max_channels": ("values per voxel", "a file with fewer channels"),
    "max_archive_files": ("files in an archive", "fewer files"),
    "read_seconds": ("seconds to read a DICOM series", "a smaller series"),
}


def _bound(default: int, doc: str) -> int:
    bound: int = field(default=default, metadata={"doc": doc})
    return bound


@dataclass(frozen=True, kw_only=True)
class FileLimits:
    """Bounds on what is read, compared with what a header claims before memory is asked for.

    ``max_file_mb`` counts all files of an upload, ``max_data_mb`` also all files of an archive together.

    Raises:
        SettingError: if a bound is below 1.
    """

    max_voxels: int = _bound(1 << 28, "most voxels of a scan or label that is read")
    max_grid_voxels: int = _bound(1 << 28, "most voxels of a scan after resampling to the model's voxel size")
    max_file_mb: int = _bound(2048, "largest file or upload as it is stored, in MiB")
    max_data_mb: int = _bound(4096, "most values of a file or archive after decompression, in MiB")
    max_classes: int = _bound(1024, "most different values of a label, or classes of a probability volume")
    max_channels: int = _bound(64, "most values per voxel of a scan")
    max_archive_files: int = _bound(20_000, "most files of an archive or of a DICOM series")
    read_seconds: int = _bound(120, "longest time to decode one DICOM series")

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            if getattr(self, name) < 1:
                raise SettingError(f"`{name}` must be at least 1, got {getattr(self, name)}.")

    @property
    def data_bytes(self) -> int:
        """Largest size of uncompressed values in bytes."""
        return self.max_data_mb * _MIB

    def check(self, setting: str, claimed: int, name: str) -> None:
        """Compare a claim with its bound.

        Args:
            setting: name of the bound, as above.
            claimed: voxels, bytes, values or files.
            name: what makes the claim, for the message.

        Raises:
            ScanError: if it is more than the bound; the message names claim, bound and setting.

        Example:
            >>> FileLimits(max_channels=2).check("max_channels", 2, "scan.nii")
        """
        bound = int(getattr(self, setting)) * (_MIB if setting.endswith("_mb") else 1)
        if claimed > bound:
            unit, instead = _WORDS[setting]
            raise ScanError(
                f"{name!r} must have at most {bound:,} {unit}, but claims {claimed:,}. Send {instead}, or "
                f"raise "
                f"the server's setting `{setting}` ({getattr(self, setting)}).",
                "scan_too_large",
            )


_current = FileLimits()
_guard = threading.Lock()


def current_limits() -> FileLimits:
    """The bounds of this process: those of the app's settings, else the defaults."""
    return _current


def set_limits(limits: FileLimits) -> None:
    """Make bounds those of this process, from now on and in all its threads.

    Args:
        limits: the bounds.
    """
    global _current  # noqa: PLW0603  # one bound for a process, however deep the code that opens a file
    with _guard:
        _current = limits


@contextmanager
def use_limits(limits: FileLimits) -> Iterator[None]:
    """Have other bounds inside a ``with``; for tests and measurements.

    Args:
        limits: the bounds.
    """
    before = _current
    set_limits(limits)
    try:
        yield
    finally:
        set_limits(before)
