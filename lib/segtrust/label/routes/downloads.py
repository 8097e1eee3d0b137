"""Files that are sent to clients: opened once, so that one that is replaced meanwhile is sent whole."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from fastapi.responses import StreamingResponse
from monailabel.utils.others.generic import get_mime_type

__all__ = ["send_file"]

_PIECE = 1 << 20


def send_file(path: Path) -> StreamingResponse:
    """An answer with a file under its own name.

    Args:
        path: the file.

    Returns:
        The answer. Its length is that of the file which was opened: looked up by its name, as Starlette does,
        length and content could be those of two files.

    Raises:
        OSError: if it cannot be opened.
    """
    file, quoted = path.open("rb"), quote(path.name)
    named = f'filename="{quoted}"' if quoted == path.name else f"filename*=utf-8''{quoted}"
    return StreamingResponse(
        _pieces(file),
        media_type=get_mime_type(str(path)),
        headers={
            "Content-Length": str(os.fstat(file.fileno()).st_size),
            "Content-Disposition": f"attachment; {named}",
            "Cache-Control": "no-store",  # a patient's
        },
    )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece
