"""The same file with other values: every field that says where the voxels lie stays as it is, bit for bit."""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.files import nifti
from segtrust.files.header import Header, unreadable
from segtrust.files.opening import opened

__all__ = ["write_like"]

_NRRD_TYPES = {"u1": "uint8", "u2": "uint16"}
_REPLACED = re.compile(r"(type|encoding|endian|byte ?skip|line ?skip|block ?size|min|max|old ?min|old ?max)$")


def write_like(source: Path, header: Header, labels: NDArray[np.unsignedinteger[Any]], target: Path) -> Path:
    """Write a label beside another file's header.

    Args:
        source: a NIfTI or NRRD file with one value per voxel.
        header: its header, as it was read.
        labels: as many values, uint8 or uint16, in the file's own order.
        target: the new file, with the same ending.

    Returns:
        ``target``.

    Raises:
        ScanError: if the source is of another format.
    """
    with opened(source) as file:
        if header.format == "NIfTI":
            compressed = header.encoding == "gzip"
            start, order = nifti.start_for(file, source.name, labels.dtype, compressed=compressed)
            content = start + labels.astype(labels.dtype.newbyteorder(order)).tobytes(order="F")
            target.write_bytes(gzip.compress(content, 1, mtime=0) if compressed else content)
            return target
        if header.format != "NRRD":
            raise unreadable(source.name, f"labels are not written as {header.format}", "Use NIfTI or NRRD.")
        text = file.read(header.offset).decode("utf-8").replace("\r\n", "\n").rstrip("\n").split("\n")
    lines = [text[0], *(line for line in text[1:] if not _is_replaced(line))]
    lines += [f"type: {_NRRD_TYPES[labels.dtype.str[1:]]}", "endian: little", "encoding: gzip", "", ""]
    values = labels.astype(labels.dtype.newbyteorder("<")).tobytes(order="F")
    target.write_bytes("\n".join(lines).encode() + gzip.compress(values, 1, mtime=0))
    return target


def _is_replaced(line: str) -> bool:
    """Also the names of segments, which belong to the values that were."""
    key, _, value = line.partition(":")
    if value.startswith("="):
        return re.match(r"segment\d+_", key.strip().lower()) is not None
    return bool(_REPLACED.match(key.strip().lower()))
