"""Replacing a file: a kill at any moment leaves the old content or the new one, never half of it."""

import os
import uuid
from pathlib import Path

__all__ = ["can_write", "replace_text", "sync"]


def replace_text(path: Path, text: str) -> None:
    r"""Write text beside a file, then rename it into place.

    Args:
        path: the file; its folder exists.
        text: its new content, stored as UTF-8 with ``\n``.

    Note:
        Write, fsync, rename is the usual recipe.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


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
