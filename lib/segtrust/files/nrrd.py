"""The header of an NRRD file whose voxels follow in the same file."""

import re
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files.header import Encoding, Header, Kind, foreign, unreadable

__all__ = ["read_header"]

_LARGEST = 1 << 20
_MAGIC = re.compile(rb"NRRD000[1-6]\r?\n")
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_TYPE = {word: letters for letters, words in _TYPES.items() for word in words}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
    "ascii": "ascii", "text": "ascii", "txt": "ascii",
}  # fmt: skip
_TO_RAS = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
_MM = {"", "mm", "millimeter", "millimetre", "millimeters", "millimetres"}
_WORD = re.compile(r'"([^"]*)"|([^\s"]+)')
_BY_DIRECTIONS = "Export it with `space directions` and `space origin`."
_IN_SPACE = {"domain", "space", "???", "none"}
_FIELDS = frozenset({
    "axis maxs", "axis mins", "axismaxs", "axismins", "block size", "blocksize", "byte skip", "byteskip",
    "centerings", "centers", "content", "dimension", "encoding", "endian", "kinds", "labels", "line skip",
    "lineskip", "max", "measurement frame", "min", "number", "old max", "old min", "oldmax", "oldmin",
    "sample units", "sampleunits", "sizes", "space", "space dimension", "space directions", "space origin",
    "space units", "spacings", "thicknesses", "type", "units",
})  # fmt: skip


def read_header(file: BinaryIO, name: str) -> Header:
    """Read the header.

    Args:
        file: the file at its start.
        name: its name, for messages.

    Returns:
        What it claims; ``fields`` holds the key-value pairs too (``Segment0_Name``), in lower case.

    Raises:
        ScanError: if it is no NRRD file in one piece, or its header contradicts itself.
    """
    start = file.read(_LARGEST)
    if not _MAGIC.match(start):
        raise foreign(name, "NRRD", start)
    end = re.search(rb"\n\r?\n", start)
    if end is None:
        raise unreadable(name, "its header does not end", "Was it cut off?")
    fields, pairs = _lines(start[: end.start()].rstrip(b"\r"), name)
    axes = _axes(fields, name)
    letters = _TYPE.get(fields.get("type", "").lower())
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if letters is None or encoding is None:
        raise unreadable(
            name,
            f"its header names the type {fields.get('type')!r} and the encoding {fields.get('encoding')!r}, "
            "of which one is not read",
        )
    for skipped in ("byte skip", "byteskip", "line skip", "lineskip"):
        if fields.get(skipped, "0") != "0":
            raise unreadable(name, f"its header skips content (`{skipped}`)", "Save it as one plain file.")
    component, kind = _component_axis(fields, len(axes), name)
    spatial = [axis for axis in range(len(axes)) if axis != component]
    affine, spacing = _geometry(fields, spatial, len(axes), name)
    return Header(
        format="NRRD",
        axes=axes,
        component_axis=component,
        dtype=np.dtype(_order(fields, letters, encoding, name) + letters),
        kind=kind,
        encoding=encoding,
        whole_file=False,
        offset=end.end(),
        affine=affine,
        spacing=spacing,
        fields={**{f"field {key}": value for key, value in fields.items()}, **pairs},
    )


def _lines(text: bytes, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Fields and key-value pairs; what another reader might take for something else is refused."""
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    try:
        lines = text.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise unreadable(name, "its header is no text") from error
    for line in lines[1:]:
        if any(ord(letter) < 32 and letter != "\t" for letter in line):
            raise unreadable(name, "its header holds control characters")
        if line.startswith("#") or not line.strip():
            continue
        key, separator, value = line.partition(":")
        is_pair = value.startswith("=")
        word = key.strip().lower()
        if not separator:
            raise unreadable(name, "its header holds a line that is no field")
        if not is_pair:
            _check_field(word, name)
        target = pairs if is_pair else fields
        if word in target:
            raise unreadable(name, f"its header gives `{word}` twice")
        target[word] = value[1:].strip() if is_pair else value.strip()
    return fields, pairs


def _check_field(word: str, name: str) -> None:
    if re.sub(r"[^a-z]", "", word) == "datafile":
        raise unreadable(
            name, "its header says that the voxels lie in another file (`data file`)", "Save it as one file."
        )
    if word not in _FIELDS:
        raise unreadable(name, f"its header holds an unknown field {word[:40]!r}")


def _axes(fields: Mapping[str, str], name: str) -> tuple[int, ...]:
    sizes = fields.get("sizes", "").split()
    if not all(re.fullmatch(r"[0-9]{1,12}", size) for size in (*sizes, fields.get("dimension", "?"))):
        raise unreadable(name, "its header gives no `dimension` and `sizes` in whole numbers")
    axes = tuple(int(size) for size in sizes)
    if len(axes) != int(fields["dimension"]) or not 1 <= len(axes) <= 7 or 0 in axes:
        raise ScanError(
            f"the file {name!r} must have 1 to 7 axes of at least one voxel, but its header says dimension "
            f"{fields['dimension']} and sizes {axes}. Export it again.",
            "scan_dimensions",
        )
    return axes


def _order(fields: Mapping[str, str], letters: str, encoding: Encoding, name: str) -> str:
    if letters[1] == "1" or encoding == "ascii":
        return "|" if letters[1] == "1" else "="
    orders = {"little": "<", "big": ">"}
    word = fields.get("endian", "").lower()
    if word not in orders:
        raise unreadable(name, "its header does not say in which order bytes lie (`endian`)")
    return orders[word]


def _component_axis(fields: Mapping[str, str], count: int, name: str) -> tuple[int | None, Kind]:
    """The axis of the values of one voxel, by its kind or because it has no direction in space."""
    kinds = [word.lower() for word in fields.get("kinds", "").split()]
    vectors = _vectors(fields["space directions"], name) if "space directions" in fields else []
    if (kinds and len(kinds) != count) or (vectors and len(vectors) != count):
        raise unreadable(name, "its header must give `kinds` and `space directions` for each axis")
    outside = {axis for axis, vector in enumerate(vectors) if vector is None}
    outside |= {axis for axis, kind in enumerate(kinds) if kind not in _IN_SPACE}
    if len(outside) > 1 or (not outside and count > 3):
        raise ScanError(
            f"the file {name!r} must be one volume with at most one axis of values, but its header has "
            f"{count} axes, {count - len(outside)} of them in space. Split it first.",
            "scan_dimensions",
        )
    if not outside:
        return None, "scalar"
    (axis,) = outside
    word = kinds[axis] if kinds else "list"
    if word == "complex":
        return axis, "complex"
    return axis, "colour" if "color" in word or "colour" in word else "scalar"


def _vectors(text: str, name: str) -> list[list[float] | None]:
    words = re.findall(r"none|\([^()]*\)", text.lower())
    if re.sub(r"none|\([^()]*\)|\s", "", text.lower()):
        raise unreadable(name, "`space directions` in its header are no vectors")
    return [None if word == "none" else _numbers(word, name) for word in words]


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(part) for part in text.strip("() ").split(",")]
    except ValueError as error:
        raise unreadable(name, "a vector in its header holds no numbers") from error


def _geometry(
    fields: Mapping[str, str], spatial: list[int], count: int, name: str
) -> tuple[NDArray[np.float64], tuple[float, float, float] | None]:
    """Voxels to RAS+ millimetres, and the voxel size if the header gives one."""
    space = fields.get("space", "left-posterior-superior").lower()
    directions = _vectors(fields["space directions"], name) if "space directions" in fields else None
    if space not in _TO_RAS and directions:
        raise unreadable(
            name, f"its header names the space {space!r}, which is not read", "Export it in LPS or RAS."
        )
    _check_lengths(fields, spatial, count, name)
    # without directions the space says nothing about the axes, and ITK takes them as they are
    turn = np.array(_TO_RAS[space] if directions else (-1, -1, 1), np.float64)
    steps, is_known = np.eye(3), True
    if directions:
        rows = [directions[axis] for axis in spatial]
        for place, row in enumerate(rows):
            if row is None or len(row) not in (2, 3):
                raise unreadable(name, "`space directions` in its header must have three numbers each")
            steps[:, place] = [*row, 0.0][:3]
    else:
        sizes = fields.get("spacings", "").split()
        if sizes and any(word in fields for word in ("space", "space dimension", "space origin")):
            raise unreadable(
                name, "its header gives `spacings` in a `space`, which the format forbids", _BY_DIRECTIONS
            )
        sizes_mm = _spacings(sizes, spatial, count, name)
        is_known = sizes_mm is not None
        steps = np.diag([*(sizes_mm or [1.0] * len(spatial)), 1.0, 1.0][:3])
    if len(spatial) < 3:
        steps[:, 2] = np.cross(steps[:, 0], steps[:, 1]) / max(
            np.linalg.norm(np.cross(steps[:, 0], steps[:, 1])), 1e-12
        )
    affine = np.eye(4)
    affine[:3, :3] = steps * turn[:, None]
    origin = _numbers(fields["space origin"], name) if "space origin" in fields else [0.0] * 3
    affine[:3, 3] = np.array([*origin, 0.0, 0.0][:3]) * turn
    if not np.isfinite(affine).all():
        raise unreadable(name, "its header gives no finite place in space")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not is_known or not (lengths > 0).all():
        return affine, None
    return affine, (float(lengths[0]), float(lengths[1]), float(lengths[2]))


def _check_lengths(fields: Mapping[str, str], spatial: list[int], count: int, name: str) -> None:
    """Refuse units other than millimetres, and places along the axes, which few readers follow."""
    units = [quoted or bare for quoted, bare in _WORD.findall(fields.get("space units", ""))]
    along = [quoted or bare for quoted, bare in _WORD.findall(fields.get("units", ""))]
    if len(along) == count:
        units += [along[axis] for axis in spatial]
    if any(unit.strip().lower() not in _MM for unit in units):
        raise unreadable(name, f"its header gives lengths in {units}, not in mm", "Export it in millimetres.")
    for field in ("axis mins", "axismins", "axis maxs", "axismaxs"):
        words = fields.get(field, "").split()
        if any(word.lower() != "nan" for axis, word in enumerate(words) if axis in spatial):
            raise unreadable(
                name,
                f"its header places it by `{field}`, which ITK follows and other readers do not",
                _BY_DIRECTIONS,
            )


def _spacings(sizes: list[str], spatial: list[int], count: int, name: str) -> list[float] | None:
    if not sizes:
        return None
    if len(sizes) != count:
        raise unreadable(name, "its header must give `spacings` for each axis")
    try:
        values = [float(sizes[axis]) for axis in spatial]
    except ValueError as error:
        raise unreadable(name, "`spacings` in its header are no numbers") from error
    return values if all(np.isfinite(value) and value > 0 for value in values) else None
