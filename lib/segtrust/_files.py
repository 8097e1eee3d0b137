"""Replacing a file: a kill at any moment leaves the old content or the new one, never half of it."""

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path

__all__ = ["can_write", "check_written", "replace_text", "sync"]


_HEADER = 4096


def replace_text(path: Path, text: str, check: Callable[[], None] | None = None) -> None:
    r"""Write text beside a file, then rename it into place.

    Args:
        path: the file; its folder exists.
        text: its new content, stored as UTF-8 with ``\n``.
        check: called before the rename; what it raises leaves the old file as it was.

    Note:
        Write, fsync, rename is the usual recipe.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check()
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; a power cut cannot take them then.

    Args:
        path: a file, or a folder (only POSIX can wait for one).
    """
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def can_write(folder: Path) -> bool:
    """Whether files can be put into a folder, or it can be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return os.access(there, os.W_OK | os.X_OK)


def check_written(path: Path, size: int) -> None:
    """Check that a volume is on the disk to its end; ITK writes part of a NIfTI to a full disk in silence.

    Args:
        path: a file that was just written and closed.
        size: bytes of its voxels, uncompressed; a header of at most 4 KiB comes on top.

    Raises:
        OSError: ``ENOSPC`` if it holds less.
    """
    with path.open("rb") as file:
        held = file.seek(0, os.SEEK_END)
        if path.suffix == ".gz":
            # the last four bytes of gzip: how much it held before, modulo 2**32
            file.seek(max(held - 4, 0))
            held = int.from_bytes(file.read(4), "little")
    if (held - size) % (1 << 32) > _HEADER:
        raise OSError(errno.ENOSPC, "the file was written in part only", str(path))
