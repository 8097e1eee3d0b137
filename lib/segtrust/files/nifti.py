"""The header of a NIfTI-1 or NIfTI-2 file in one piece, compressed or not."""

import itertools
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files.header import Header, Kind, foreign, unreadable

__all__ = ["Geometry", "geometry_of", "read_header", "start_for"]

Order = Literal["<", ">"]
_ORDERS: tuple[Order, ...] = ("<", ">")
_LARGEST_OFFSET = 16 << 20  # extensions lie between header and voxels
_TYPES: dict[int, tuple[str, Kind]] = {
    2: ("u1", "scalar"), 4: ("i2", "scalar"), 8: ("i4", "scalar"), 16: ("f4", "scalar"),
    64: ("f8", "scalar"), 256: ("i1", "scalar"), 512: ("u2", "scalar"), 768: ("u4", "scalar"),
    1024: ("i8", "scalar"), 1280: ("u8", "scalar"), 32: ("c8", "complex"), 1792: ("c16", "complex"),
    2048: ("c32", "complex"), 128: ("V3", "colour"), 2304: ("V4", "colour"),
}  # fmt: skip
_APART_MM = 0.005
_COSINE = 1e-4
_MM = {"meter": 1000.0, "micron": 0.001}
_UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}


@dataclass(frozen=True)
class _Layout:
    """Where the fields of one version of the format lie."""

    version: int
    size: int
    magic: tuple[int, bytes]
    datatype: int
    dim: tuple[int, str]
    pixdim: tuple[int, str]
    vox_offset: tuple[int, str]
    scaling: tuple[int, str]
    units: int
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    sform: tuple[int, str]


_FIRST = _Layout(
    1, 348, (344, b"n+1\0"), 70, (40, "8h"), (76, "8f"), (108, "f"), (112, "2f"), 123, (252, "2h"),
    (256, "6f"), (280, "12f"),
)  # fmt: skip
_SECOND = _Layout(
    2, 540, (4, b"n+2\0\r\n\x1a\n"), 12, (16, "8q"), (104, "8d"), (168, "q"), (176, "2d"), 500, (344, "2i"),
    (352, "6d"), (400, "12d"),
)  # fmt: skip


def read_header(file: BinaryIO, name: str, *, compressed: bool) -> Header:
    """Read the header.

    Args:
        file: the file at its start.
        name: its name, for messages.
        compressed: whether the ending says that the whole file is a gzip stream.

    Returns:
        What it claims.

    Raises:
        ScanError: if it is no NIfTI file in one piece, or its header contradicts itself.
    """
    start = _start(file, name, compressed=compressed)
    layout, order = _layout(start, name)

    def field(place: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(order + place[1], start, place[0])

    axes = _axes(field(layout.dim), name)
    (code,) = field((layout.datatype, "h"))
    if code not in _TYPES:
        raise unreadable(name, f"its header names a type of number that is not read ({code})")
    letters, kind = _TYPES[code]
    geometry = _geometry(start, layout, order, axes)
    slope, intercept = field(layout.scaling)
    vector = len(axes) == 5 and axes[3] == 1  # vectors lie on the fifth axis, after time
    while len(axes) > 3 and axes[-1] == 1:
        axes = axes[:-1]
    return Header(
        format="NIfTI",
        axes=axes,
        component_axis=4 if vector and len(axes) == 5 else (3 if len(axes) == 4 else None),
        dtype=np.dtype(letters if letters[0] == "V" or letters == "c32" else order + letters),
        kind=kind,
        encoding="gzip" if compressed else "raw",
        whole_file=True,
        offset=_offset(field(layout.vox_offset)[0], layout, name),
        affine=geometry.affine(name),
        doubts=geometry.doubts(name),
        spacing=geometry.spacing,
        scaling=_scaling(slope, intercept, name),
        fields={"units": geometry.units},
    )


def start_for(file: BinaryIO, name: str, dtype: np.dtype[Any], *, compressed: bool) -> tuple[bytes, Order]:
    """The header of a file for other values at the same places.

    Args:
        file: the file at its start.
        name: its name, for messages.
        dtype: type of the other values: uint8 or uint16.
        compressed: whether the whole file is a gzip stream.

    Returns:
        The bytes up to the values, and the order in which theirs must lie.

    Raises:
        ScanError: as :func:`read_header`.
    """
    start = _start(file, name, compressed=compressed)
    layout, order = _layout(start, name)
    header = bytearray(start[: layout.size] + bytes(4))  # without extensions
    code = next(code for code, (letters, _) in _TYPES.items() if letters == dtype.str[1:])
    struct.pack_into(f"{order}2h", header, layout.datatype, code, 8 * dtype.itemsize)
    struct.pack_into(order + layout.vox_offset[1], header, layout.vox_offset[0], len(header))
    struct.pack_into(order + layout.scaling[1], header, layout.scaling[0], 1, 0)
    return bytes(header), order


def geometry_of(file: BinaryIO, name: str, *, compressed: bool) -> "Geometry":
    """The fields that say where the voxels lie.

    Args:
        file: as for :func:`read_header`.
        name: as there.
        compressed: as there.

    Returns:
        The fields.

    Raises:
        ScanError: as there.
    """
    start = _start(file, name, compressed=compressed)
    layout, order = _layout(start, name)
    axes = _axes(struct.unpack_from(order + layout.dim[1], start, layout.dim[0]), name)
    return _geometry(start, layout, order, axes)


def _geometry(start: bytes, layout: _Layout, order: Order, axes: tuple[int, ...]) -> "Geometry":
    def field(place: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(order + place[1], start, place[0])

    qform_code, sform_code = field(layout.codes)
    return Geometry(
        axes=axes,
        pixdim=field(layout.pixdim),
        codes=(qform_code, sform_code),
        quaternion=field(layout.quaternion),
        sform=np.array(field(layout.sform), np.float64).reshape(3, 4),
        units=_UNITS.get(start[layout.units] & 7, "unknown"),
    )


@dataclass(frozen=True)
class Geometry:
    """The fields of a NIfTI header that say where the voxels lie."""

    axes: tuple[int, ...]
    pixdim: tuple[float, ...]
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    sform: NDArray[np.float64]
    units: str

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Voxel sizes as nibabel reads them: never negative, 1 where the header has 0."""
        sizes = np.abs(np.array(self.pixdim[1:4], np.float64))
        sizes[sizes == 0] = 1
        return sizes

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Voxel sizes; ``None`` where the header does not give them."""
        if self.codes[1] > 0:
            sizes = np.linalg.norm(self.sform[:, :3], axis=0)
        else:
            flat = len(self.axes) < 3 or self.axes[2] == 1
            sizes = np.abs(np.array(self.pixdim[1:4], np.float64))
            if flat and sizes[2] == 0:
                sizes[2] = 1
        if not (np.isfinite(sizes).all() and (sizes > 0).all()):
            return None
        return (float(sizes[0]), float(sizes[1]), float(sizes[2]))

    def affine(self, name: str) -> NDArray[np.float64]:
        """Voxels to RAS+ millimetres: the sform wins over the qform, and both over bare voxel sizes.

        Raises:
            ScanError: if a number in it is not finite, or the quaternion is none.
        """
        affine = np.eye(4)
        if self.codes[1] > 0:
            affine[:3] = self.sform
        elif self.codes[0] > 0:
            affine[:3] = self.qform(name, handed=-1.0 if self.pixdim[0] == -1 else 1.0)
        else:
            shape = np.array([*self.axes, 1, 1][:3], np.float64)
            steps = self.sizes * (-1, 1, 1)
            affine[:3, :3], affine[:3, 3] = np.diag(steps), -(shape - 1) / 2 * steps
        if not np.isfinite(affine).all():
            raise unreadable(name, "its header gives no finite place in space")
        return affine

    def itk_affine(self, name: str) -> NDArray[np.float64] | None:
        """Voxels to RAS+ millimetres as ITK 5.4 has it; ``None`` where it refuses a sheared sform.

        The sform counts with code 1, or if there is no qform, and gives directions and origin alone: voxel
        sizes are always those of the header's ``pixdim``. Without codes the axes are those of LPS. Units
        count.
        """
        (qform, sform), affine = self.codes, np.eye(4)
        sizes = self.sizes
        steps = self.sform[:, :3]
        lengths = np.linalg.norm(steps, axis=0)
        is_straight = bool((lengths > 0).all()) and self._at_right_angles(steps / np.maximum(lengths, 1e-12))
        if qform <= 0 and sform <= 0:
            affine[:3, :3] = np.diag(sizes * (-1, -1, 1))
        elif sform > 0 and is_straight and (sform == 1 or qform <= 0):
            affine[:3, :3], affine[:3, 3] = steps / lengths * sizes, self.sform[:, 3]
        elif qform > 0:
            affine[:3] = self.qform(name, handed=-1.0 if self.pixdim[0] < 0 else 1.0)
        else:
            return None
        affine[:3] *= _MM.get(self.units, 1.0)
        return affine

    @staticmethod
    def _at_right_angles(directions: NDArray[np.float64]) -> bool:
        return float(np.abs(directions.T @ directions - np.eye(3)).max()) < _COSINE

    def doubts(self, name: str) -> tuple[str, ...]:
        """Why nibabel and ITK put the file at different places, and which fields to mend."""
        if self.units in _MM and _MM[self.units] != 1:
            return (
                (
                    f"its header counts in {self.units} (`xyzt_units`), which ITK follows and nibabel does "
                    "not: store voxel sizes and place in mm"
                ),
            )
        if min(self.pixdim[1:4]) < 0:
            return ("a `pixdim` in its header is negative, which ITK follows and nibabel does not",)
        nibabel, itk = self.affine(name), self.itk_affine(name)
        if itk is None:
            return ("its `sform` is sheared, which ITK refuses (a tilted gantry?): resample it",)
        shape = [*self.axes, 1, 1][:3]
        ends = np.array(list(itertools.product(*((0, size - 1) for size in shape))), np.float64)
        apart = float(np.abs(ends @ (nibabel - itk)[:3, :3].T + (nibabel - itk)[:3, 3]).max())
        if apart <= _APART_MM:
            return ()
        codes = f"`qform_code` {self.codes[0]}, `sform_code` {self.codes[1]}"
        sizes = ", ".join(f"{mm:.4g}" for mm in self.pixdim[:4])
        if max(self.codes) <= 0:
            return (
                (
                    f"its header gives no place ({codes}), and nibabel and ITK then assume others, "
                    f"{apart:.4g} mm apart: set `sform` and `qform` with a code above 0"
                ),
            )
        return (
            (
                f"nibabel and ITK read it {apart:.4g} mm apart ({codes}, `pixdim` {sizes}): make `sform`, "
                "`qform` and `pixdim` agree"
            ),
        )

    def qform(self, name: str, *, handed: float) -> NDArray[np.float64]:
        """The three rows that the quaternion stands for.

        Args:
            name: of the file, for messages.
            handed: -1 if the third axis is turned round. ``pixdim[0]`` says so: for ITK if it is negative,
                for nibabel if it is -1.

        Returns:
            ``(3, 4)``, voxels to RAS+ millimetres.

        Raises:
            ScanError: if the quaternion is longer than 1, so that it is no rotation.
        """
        b, c, d = self.quaternion[:3]
        rest = 1.0 - (b * b + c * c + d * d)
        if not rest > -1e-5:
            raise unreadable(name, "the quaternion in its header is no rotation")
        a = math.sqrt(max(rest, 0.0))
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        rows = np.empty((3, 4))
        rows[:, :3] = turn * (self.sizes * (1, 1, handed))
        rows[:, 3] = self.quaternion[3:]
        return rows


def _start(file: BinaryIO, name: str, *, compressed: bool) -> bytes:
    """The header's bytes; of a compressed file no more is decompressed."""
    raw = file.read(1 << 16)
    wanted = "compressed NIfTI (.nii.gz)" if compressed else "NIfTI (.nii)"
    if compressed != raw.startswith(b"\x1f\x8b"):
        raise foreign(name, wanted, raw)
    if not compressed:
        return raw[: _SECOND.size]
    try:
        start = zlib.decompressobj(31).decompress(raw, _SECOND.size)
    except zlib.error as error:
        raise unreadable(name, "its compressed content is damaged", "Copy it again.") from error
    if len(start) < _FIRST.size:
        raise unreadable(name, "it ends within its header", "Was it cut off? Copy it again.")
    return start


def _layout(start: bytes, name: str) -> tuple[_Layout, Order]:
    """Version of the format and order of bytes."""
    for layout in (_FIRST, _SECOND):
        for order in _ORDERS:
            if len(start) >= layout.size and struct.unpack_from(f"{order}i", start)[0] == layout.size:
                place, magic = layout.magic
                if start[place : place + len(magic)] == magic:
                    return layout, order
                if start[place : place + 2] == b"ni":
                    raise unreadable(
                        name,
                        "its header says that the voxels lie in another file (.hdr and .img)",
                        "Save it as one file.",
                    )
    if len(start) >= _FIRST.size and struct.unpack_from("<i", start)[0] in {348, 348 << 24 & 0xFFFFFFFF}:
        raise unreadable(name, "it is an Analyze header, not NIfTI", "Save it as NIfTI in one file.")
    raise foreign(name, "NIfTI", start)


def _axes(dim: tuple[Any, ...], name: str) -> tuple[int, ...]:
    count = dim[0]
    if not 1 <= count <= 7 or any(size < 1 for size in dim[1 : count + 1]):
        raise ScanError(
            f"the file {name!r} must have 1 to 7 axes of at least one voxel, but its header says "
            f"{tuple(dim)}. Export it again.",
            "scan_dimensions",
        )
    return tuple(int(size) for size in dim[1 : count + 1])


def _offset(value: float, layout: _Layout, name: str) -> int:
    first = layout.size + 4
    if not math.isfinite(value) or (value and not first <= value <= _LARGEST_OFFSET) or value != int(value):
        raise unreadable(name, f"its header says that the voxels begin at byte {value:g}")
    return int(value) or first


def _scaling(slope: float, intercept: float, name: str) -> tuple[float, float] | None:
    if (not math.isfinite(slope) or slope == 0) and math.isfinite(intercept) and intercept != 0:
        raise unreadable(
            name,
            f"its header adds {intercept:g} to every value (`scl_inter`) with a slope of {slope:g}, which "
            "ITK does and nibabel does not",
            "Set `scl_slope` to 1, or `scl_inter` to 0.",
        )
    if not math.isfinite(slope) or slope == 0 or (slope, intercept) == (1, 0):
        return None
    if not math.isfinite(intercept):
        raise unreadable(name, "the intercept in its header is no number")
    return float(slope), float(intercept)
