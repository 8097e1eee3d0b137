"""Unpacking an archive that somebody else made: plain files only, counted and measured first."""

import bz2
import gzip
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from segtrust.errors import ScanError
from segtrust.files.header import unreadable
from segtrust.files.limits import current_limits
from segtrust.files.opening import opened
from segtrust.files.stopping import check_stopped

__all__ = ["copy_bounded", "safe_name", "unpack"]

_PIECE = 1 << 20
_LARGEST_READ = 4 << 20  # a tar's own header of an entry; longer ones are an attack on memory
_DIRECTORY_ENTRY = 4096  # bytes that one file may take in a ZIP's list of files
_END_OF_LIST = b"PK\x05\x06"
_ENCRYPTED = 1


def unpack(path: Path, folder: Path) -> list[Path]:
    """Unpack a ZIP or tar archive (plain, gzip or bzip2) into one flat folder.

    Args:
        path: the archive.
        folder: an empty folder; nothing is written outside it.

    Returns:
        The files, in the archive's order; folders within the archive are left out, and so are hidden files.

    Raises:
        ScanError: if it is no such archive, is damaged, holds a link, device, pipe or encrypted file, a name
            that leads out of its folder, or more files or bytes than ``max_archive_files`` and
            ``max_data_mb`` allow.
    """
    with opened(path) as file:
        start = file.read(4)
        file.seek(0)
        try:
            if start.startswith(b"PK"):
                return list(_unzipped(file, path.name, folder))
            return list(_untarred(file, start, path.name, folder))
        except ScanError:
            raise
        except (
            tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError,
            RuntimeError, ValueError, UnicodeError,
        ) as error:  # fmt: skip
            raise unreadable(
                path.name,
                f"it is no archive of a kind that is read, or is damaged ({type(error).__name__})",
                "Send a .zip, .tar, .tar.gz or .tar.bz2.",
            ) from error


def copy_bounded(source: IO[bytes], target: Path, name: str, already: int = 0) -> int:
    """Copy a stream to a file, and stop as soon as it is longer than ``max_file_mb``.

    Args:
        source: the stream.
        target: the new file.
        name: what is copied, for the message.
        already: bytes of other files that count too.

    Returns:
        Bytes copied, and those that counted before.

    Raises:
        ScanError: if it is longer.
    """
    total = already
    with target.open("xb") as file:
        while piece := source.read(_PIECE):
            check_stopped()
            total += len(piece)
            current_limits().check("max_file_mb", total, name)
            file.write(piece)
    return total


def safe_name(name: str, taken: Path) -> str:
    """A plain name for a new file in a folder: no way out of it, and no other file's.

    Args:
        name: the name that somebody gave it.
        taken: the folder.

    Returns:
        The name, with the endings it had.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", re.split(r"[/\\]", name)[-1])[-100:].lstrip(".") or "file"
    number = 0
    while (taken / (chosen := f"{number}-{plain}" if number else plain)).exists():
        number += 1
    return chosen


class _Budget:
    """What an archive may still write."""

    def __init__(self, name: str) -> None:
        self.name, self.files, self.bytes = name, 0, 0

    def take(self, size: int) -> None:
        self.files += 1
        self.bytes += max(size, 0)
        current_limits().check("max_archive_files", self.files, self.name)
        current_limits().check("max_data_mb", self.bytes, self.name)


def _unzipped(file: BinaryIO, name: str, folder: Path) -> Iterator[Path]:
    _check_list(file, name)
    budget = _Budget(name)
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            budget.take(member.file_size)
            kind = member.external_attr >> 28
            if kind not in {0, 8} or member.flag_bits & _ENCRYPTED:  # 8 is a regular file
                raise unreadable(name, "it holds a link, a device or an encrypted file", "Pack plain files.")
            _check_member(member.filename, name)
        for member in members:
            if not _is_hidden(member.filename):
                with archive.open(member) as content:
                    yield _written(content, member.filename, member.file_size, folder)


def _check_list(file: BinaryIO, name: str) -> None:
    """The list of files lies at the end, and is read whole: it must not be longer than so many files need."""
    size = file.seek(0, 2)
    file.seek(max(size - (1 << 16) - 22, 0))
    end = file.read()
    place = end.rfind(_END_OF_LIST)
    if place >= 0:
        listed = int.from_bytes(end[place + 12 : place + 16], "little")
        current_limits().check("max_archive_files", listed // _DIRECTORY_ENTRY, name)
    file.seek(0)


def _untarred(file: BinaryIO, start: bytes, name: str, folder: Path) -> Iterator[Path]:
    if start.startswith(b"\xfd7zX"):
        raise unreadable(name, "archives of xz are not read", "Send a .zip, .tar, .tar.gz or .tar.bz2.")
    budget = _Budget(name)
    content: Any = file
    if start.startswith(b"\x1f\x8b"):
        content = gzip.GzipFile(fileobj=file)
    elif start.startswith(b"BZh"):
        content = bz2.BZ2File(file)
    with tarfile.TarFile(fileobj=_Measured(content)) as archive:  # type: ignore[arg-type]  # reads forwards alone
        for member in archive:
            check_stopped()
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise unreadable(name, "it holds a link, a device or a pipe", "Pack plain files.")
            _check_member(member.name, name)
            budget.take(member.size)
            values = archive.extractfile(member)
            if values is not None and not _is_hidden(member.name):
                yield _written(values, member.name, member.size, folder)


class _Measured:
    """The uncompressed stream of a tar, which no entry may make read too much, at once or in all."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._place = stream, 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError("a header of an entry is too long")
        content = self._stream.read(size)
        self._place += len(content)
        if self._place > 2 * current_limits().data_bytes:
            raise tarfile.ReadError("it is too long")
        return content

    def seek(self, place: int) -> int:
        if place < self._place:
            raise tarfile.ReadError("an entry lies before the one before it")
        while self._place < place and self.read(min(_PIECE, place - self._place)):
            check_stopped()
        return self._place

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place


def _check_member(member: str, name: str) -> None:
    if re.search(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:|\0", member):
        raise unreadable(name, "it holds a file that would lie outside its folder", "Pack plain files.")


def _is_hidden(member: str) -> bool:
    """Left behind by a file manager, such as macOS's ``__MACOSX/._scan.nii``."""
    parts = re.split(r"[/\\]", member)
    return parts[-1].startswith(".") or "__MACOSX" in parts


def _written(content: IO[bytes], member: str, size: int, folder: Path) -> Path:
    path = folder / safe_name(member, folder)
    left = size
    with path.open("xb") as file:
        while left > 0:
            check_stopped()
            piece = content.read(min(_PIECE, left))
            if not piece:
                raise EOFError
            file.write(piece)
            left -= len(piece)
    return path
