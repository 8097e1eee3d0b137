"""Files that clients send with a request, kept as long as the request runs."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from segtrust.files.archive import copy_bounded

__all__ = ["receive"]

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".bin", ".dcm")


@contextmanager
def receive(source: BinaryIO | None, name: str | None) -> Iterator[Path | None]:
    """Keep an uploaded file in a folder that only this user can read.

    Args:
        source: its content; ``None`` if none was sent.
        name: the client's name for it; characters that mean something to a file system are replaced, and a
            name without a known ending gets ``.nii.gz``.

    Raises:
        ScanError: if it is larger than ``max_file_mb`` allows.

    Yields:
        The file, deleted at the end of the ``with``; ``None`` if none was sent.
    """
    if source is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="segtrust-upload-")).resolve()
    path = folder / _safe_name(name or "")
    try:
        copy_bounded(source, path, path.name)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _safe_name(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:].lstrip(".") or "upload"
    return plain if plain.lower().endswith(_SUFFIXES) else f"{plain}.nii.gz"
