"""The header of a MetaImage file (.mha) whose voxels follow in the same file."""

import re
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files.header import Header, foreign, unreadable

__all__ = ["read_header"]

_LARGEST = 1 << 18
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_YES, _NO = {"true", "t", "1", "yes"}, {"false", "f", "0", "no"}


def read_header(file: BinaryIO, name: str) -> Header:
    """Read the header.

    Args:
        file: the file at its start.
        name: its name, for messages.

    Returns:
        What it claims.

    Raises:
        ScanError: if it is no MetaImage file in one piece, or its header contradicts itself.
    """
    start = file.read(_LARGEST)
    if not re.match(rb"[ \t]*(ObjectType|NDims|Comment)[ \t]*=", start):
        raise foreign(name, "MetaImage (.mha)", start)
    end = re.search(rb"\n[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*?)[ \t]*\r?\n", start)
    if end is None:
        raise unreadable(name, "its header does not say where the voxels are", "Was it cut off?")
    if end.group(1).lower() != b"local":
        raise unreadable(
            name,
            "its header says that the voxels lie in another file (`ElementDataFile`)",
            "Save it as one file (.mha).",
        )
    fields = _fields(start[: end.start()], name)
    axes, channels = _axes(fields, name), _whole(fields.get("elementnumberofchannels", "1"), name)
    letters = _TYPES.get(fields.get("elementtype", "").upper())
    if letters is None:
        raise unreadable(
            name, f"its header names a type of number that is not read ({fields.get('elementtype')})"
        )
    if not _flag(fields, "binarydata", name, default=True):
        raise unreadable(name, "its voxels are written as text", "Save it in binary form.")
    if fields.get("headersize", "0") != "0":
        raise unreadable(name, "its header skips content (`HeaderSize`)", "Save it as one plain file.")
    big = [
        _flag(fields, key, name) for key in ("binarydatabyteordermsb", "elementbyteordermsb") if key in fields
    ]
    if len(set(big)) > 1:
        raise unreadable(name, "its header gives two orders of bytes")
    affine, spacing = _geometry(fields, len(axes), name)
    return Header(
        format="MetaImage",
        axes=(channels, *axes) if channels > 1 else axes,
        component_axis=0 if channels > 1 else None,
        dtype=np.dtype((">" if any(big) else "<") + letters),
        kind="scalar",
        encoding="zlib" if _flag(fields, "compresseddata", name) else "raw",
        whole_file=False,
        offset=end.end(),
        affine=affine,
        spacing=spacing,
        fields=fields,
    )


def _fields(text: bytes, name: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    try:
        lines = text.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise unreadable(name, "its header is no text") from error
    for line in lines:
        if any(ord(letter) < 32 and letter != "\t" for letter in line):
            raise unreadable(name, "its header holds control characters")
        key, separator, value = line.partition("=")
        word = key.strip().lower()
        if not line.strip():
            continue
        if not separator or word in fields or "elementdatafile" in word:
            raise unreadable(name, f"its header holds a line that is no field, or {word[:40]!r} twice")
        fields[word] = value.strip()
    if fields.get("objecttype", "Image").lower() != "image":
        raise unreadable(name, "it holds no image")
    return fields


def _whole(text: str, name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < 1:
        raise unreadable(name, "its header gives a size that is no whole number above 0")
    return int(text)


def _axes(fields: Mapping[str, str], name: str) -> tuple[int, ...]:
    axes = tuple(_whole(size, name) for size in fields.get("dimsize", "").split())
    if len(axes) != _whole(fields.get("ndims", "0"), name) or not 2 <= len(axes) <= 3:
        raise ScanError(
            f"the file {name!r} must have 2 or 3 axes, but its header says NDims {fields.get('ndims')} and "
            f"DimSize "
            f"{axes}. Split time series first.",
            "scan_dimensions",
        )
    return axes


def _flag(fields: Mapping[str, str], key: str, name: str, *, default: bool = False) -> bool:
    word = fields.get(key, str(default)).lower()
    if word not in _YES | _NO:
        raise unreadable(name, f"its header must say True or False for `{key}`")
    return word in _YES


def _geometry(
    fields: Mapping[str, str], count: int, name: str
) -> tuple[NDArray[np.float64], tuple[float, float, float] | None]:
    """Voxels to RAS+ millimetres, and the voxel size if the header gives one; MetaImage counts in LPS."""
    units = fields.get("distanceunits", "mm").lower()
    if units not in {"mm", "?"}:
        raise unreadable(
            name, f"its header gives lengths in {units!r}, not in mm", "Export it in millimetres."
        )
    direction = _vector(fields, ("transformmatrix", "rotation", "orientation"), count * count, name)
    origin = _vector(fields, ("offset", "position", "origin"), count, name)
    size = _vector(fields, ("elementspacing", "elementsize"), count, name)
    affine = np.eye(4)
    turn = np.eye(count) if direction is None else direction.reshape(count, count).T
    affine[:count, :count] = turn * (np.ones(count) if size is None else size)
    affine[:count, 3] = 0 if origin is None else origin
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if size is None or not (size > 0).all() or not (lengths > 0).all():
        return affine, None
    return affine, (float(lengths[0]), float(lengths[1]), float(lengths[2]))


def _vector(
    fields: Mapping[str, str], keys: tuple[str, ...], count: int, name: str
) -> NDArray[np.float64] | None:
    present = [key for key in keys if key in fields]
    if not present:
        return None
    try:
        numbers = np.array([float(part) for part in fields[present[0]].split()])
    except ValueError:
        numbers = np.empty(0)
    if len(present) > 1 and len({fields[key] for key in present}) > 1:
        raise unreadable(name, f"its header gives `{present[0]}` and `{present[1]}`, which differ")
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise unreadable(name, f"`{present[0]}` in its header must have {count} finite numbers")
    return numbers
