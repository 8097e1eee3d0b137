"""Opening a file that somebody else made: a regular file, without waiting, or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from segtrust.errors import ScanError
from segtrust.files.limits import current_limits

__all__ = ["is_regular", "opened"]


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it; a pipe, device or socket is refused and never waited for.

    Args:
        path: the file.

    Yields:
        The file at its start. What was checked is the open file itself, so that nothing can be put in its
        place.

    Raises:
        ScanError: if nothing is there, it is no regular file, may not be read, or has more bytes than
            ``max_file_mb`` allows.
    """
    try:
        number = os.open(path, os.O_RDONLY | _FLAGS)
    except FileNotFoundError as error:
        raise ScanError(f"the file {path.name!r} does not exist.", "scan_missing") from error
    except (OSError, ValueError) as error:
        raise ScanError(
            f"the file {path.name!r} cannot be opened ({type(error).__name__}). Is it a file that this "
            f"program "
            "may read?",
            "scan_unreadable",
        ) from error
    state = os.fstat(number)
    if not stat.S_ISREG(state.st_mode):
        os.close(number)
        raise ScanError(
            f"{path.name!r} must be a regular file, got a pipe, device or folder. Put the file itself there.",
            "scan_unreadable",
        )
    with os.fdopen(number, "rb") as file:
        current_limits().check("max_file_mb", state.st_size, path.name)
        yield file


def is_regular(path: Path) -> bool:
    """Whether a path leads to a regular file; looking does not wait for anything."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


# without waiting for the other end of a pipe; Windows has no such pipes and needs to be told that it is
# binary
_FLAGS = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
