"""Replacing a file: a kill at any moment leaves the old content or the new one, never half of it."""

import os
import uuid
from pathlib import Path

__all__ = ["replace_text"]


def replace_text(path: Path, text: str) -> None:
    r"""Write text beside a file, then rename it into place.

    Args:
        path: the file; its folder exists.
        text: its new content, stored as UTF-8 with ``\n``.

    Source:
        ours; write, fsync, rename is the usual recipe.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
