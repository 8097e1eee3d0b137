"""A file's voxels, decoded to their end and not one byte further than its header claims."""

import bz2
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError
from segtrust.files.formats import read_header
from segtrust.files.header import Header, unreadable
from segtrust.files.limits import current_limits
from segtrust.files.opening import opened
from segtrust.files.stopping import check_stopped

__all__ = ["Volume", "read_claims", "read_volume"]

PerVoxel = Literal["max_channels", "max_classes"]
_PIECE = 1 << 20
_LARGEST_TEXT = 10_000_000  # numbers written as text take twenty times their memory while they are read
_GAIN = {"gzip": 1040, "zlib": 1040, "bzip2": 1 << 20}  # a stream cannot grow by more than this factor
_TEXT = "ascii"


@dataclass(frozen=True)
class Volume:
    """A header, and its values ``(X, Y, ...)`` or ``(X, Y, ..., C)`` as stored, in the file's own order."""

    header: Header
    stored: NDArray[Any]

    def scaled(self, dtype: type[np.floating[Any]] | None = None) -> NDArray[Any]:
        """The values after the file's own scaling.

        Args:
            dtype: of the result; that of the stored values, or float64 after a scaling, unless given.

        Returns:
            Same shape as ``stored``.
        """
        if self.header.scaling is None:
            return self.stored if dtype is None else self.stored.astype(dtype, copy=False)
        slope, intercept = self.header.scaling
        result = np.empty(self.stored.shape, dtype or np.float64, order="F")
        for index in range(self.stored.shape[-1]):  # piece by piece: float64 in between
            result[..., index] = self.stored[..., index] * np.float64(slope) + np.float64(intercept)
        return result


def read_claims(path: Path, *, per_voxel: PerVoxel = "max_channels") -> Header:
    """Read what a file claims, and compare it with the bounds and the file's size; no voxel is read.

    Args:
        path: the file.
        per_voxel: see :func:`read_volume`.

    Returns:
        Its header.

    Raises:
        ScanError: as :func:`read_volume`, except for damage behind the header.
    """
    with opened(path) as file:
        header = read_header(file, path)
        _check_claims(file, header, path.name, per_voxel)
        return header


def read_volume(path: Path, *, per_voxel: PerVoxel = "max_channels") -> Volume:
    """Read a NIfTI, NRRD or MetaImage file to its end.

    Args:
        path: the file.
        per_voxel: bound on the values of one voxel: channels of a scan, or classes.

    Returns:
        Header and values.

    Raises:
        ScanError: if there is no such regular file, it is of another type, its header names another file,
            claims more than the bounds allow, is of complex numbers or colours, or the content is shorter or
            longer than the header claims.

    Note:
        Peak memory: the values once, and a few mebibytes. It cannot block: see :mod:`segtrust.files`.
    """
    with opened(path) as file:
        header = read_header(file, path)
        _check_claims(file, header, path.name, per_voxel)
        _check_kind(header, path.name)
        values = _decoded(file, header, path.name)
    array = values.reshape(header.axes, order="F")
    if header.component_axis is not None:
        array = np.moveaxis(array, header.component_axis, -1)
        if header.components == 1:
            array = array[..., 0]
        if array.ndim == 5 and array.shape[3] == 1:  # NIfTI's vectors have an axis of time before them
            array = array[:, :, :, 0]
    if array.ndim == 2:
        array = array[..., None]
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return Volume(header, array)


def _check_claims(file: BinaryIO, header: Header, name: str, per_voxel: PerVoxel) -> None:
    limits = current_limits()
    limits.check("max_voxels", header.values // header.components, name)
    limits.check(per_voxel, header.components, name)
    limits.check("max_data_mb", header.data_bytes, name)
    size = file.seek(0, 2)
    if header.encoding == "raw":
        _check_length(size - header.offset, header.data_bytes, name)
    elif header.encoding == "ascii":
        if header.values > _LARGEST_TEXT:
            raise unreadable(name, "it has too many numbers written as text", "Save it in binary form.")
    elif header.data_bytes > size * _GAIN[header.encoding]:
        _check_length(size, header.data_bytes, name)


def _check_length(got: int, claimed: int, name: str) -> None:
    if got < claimed:
        raise _cut_off(
            name, f"its header claims {claimed:,} bytes of values, and the file has {max(got, 0):,}"
        )
    if got > claimed:
        raise unreadable(
            name,
            f"its header claims {claimed:,} bytes of values, but more follow",
            "Is the header of another file? Export it again.",
        )


def _cut_off(name: str, reason: str) -> ScanError:
    return ScanError(
        f"the file {name!r} cannot be read to its end: {reason}. Was it cut off? Copy it again.",
        "scan_unreadable",
    )


def _check_kind(header: Header, name: str) -> None:
    if header.kind == "complex":
        raise ScanError(
            f"the file {name!r} must hold one real number per voxel, got complex numbers. Save their "
            f"magnitude.",
            "scan_channels",
        )
    if header.kind == "colour":
        raise ScanError(
            f"the file {name!r} must hold one number per voxel, got colours (RGB). Export the scan itself, "
            f"not a "
            "picture of it.",
            "scan_channels",
        )


def _decoded(file: BinaryIO, header: Header, name: str) -> NDArray[Any]:
    file.seek(0 if header.whole_file else header.offset)
    if header.encoding == _TEXT:
        return _from_text(file, header, name)
    values = np.empty(header.values, header.dtype)
    memory, filled = values.data.cast("B"), 0
    skip = header.offset if header.whole_file else 0
    try:
        for piece in _pieces(file, header, skip + header.data_bytes + 1):
            check_stopped()
            if skip:
                skip, piece = max(skip - len(piece), 0), piece[skip:]  # noqa: PLW2901
            if filled + len(piece) > header.data_bytes:
                _check_length(filled + len(piece), header.data_bytes, name)
            memory[filled : filled + len(piece)] = piece
            filled += len(piece)
    except (zlib.error, OSError, EOFError) as error:
        raise _cut_off(name, f"its compressed content is damaged ({error})") from error
    _check_length(filled, header.data_bytes, name)
    return values


def _pieces(file: BinaryIO, header: Header, most: int) -> Iterator[bytes]:
    """Content in pieces of at most one mebibyte; no more than ``most`` bytes, however small the file."""
    if header.encoding == "raw":
        while piece := file.read(_PIECE):
            yield piece
        return
    produced = 0
    for piece in _decompressed(file, header.encoding):
        yield piece
        produced += len(piece)
        if produced >= most:
            return


def _decompressed(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    pending = file.read(_PIECE)
    while pending:  # a gzip file may consist of several streams one after the other
        if encoding == "bzip2":
            pending = yield from _unpack_bzip2(file, pending)
        else:
            pending = yield from _unpack_zlib(file, pending, 31 if encoding == "gzip" else 15)
        while pending and not pending.strip(b"\0"):  # padding, as tapes and tar leave it
            pending = file.read(_PIECE)


def _unpack_zlib(file: BinaryIO, pending: bytes, window: int) -> Generator[bytes, None, bytes]:
    stream = zlib.decompressobj(window)
    while not stream.eof:
        piece = stream.decompress(pending, _PIECE)
        if piece:
            yield piece
        pending = stream.unconsumed_tail
        if not pending and not stream.eof:
            pending = file.read(_PIECE)
            if not pending and not piece:
                raise EOFError("it ends before its end mark")
    return stream.unused_data or file.read(_PIECE)


def _unpack_bzip2(file: BinaryIO, pending: bytes) -> Generator[bytes, None, bytes]:
    stream = bz2.BZ2Decompressor()
    while not stream.eof:
        piece = stream.decompress(pending, _PIECE)
        if piece:
            yield piece
        pending = b""
        if stream.needs_input and not stream.eof:
            pending = file.read(_PIECE)
            if not pending:
                raise EOFError("it ends before its end mark")
    return stream.unused_data or file.read(_PIECE)


def _from_text(file: BinaryIO, header: Header, name: str) -> NDArray[Any]:
    words = file.read(header.values * 64 + 1).split()
    _check_length(len(words) * header.dtype.itemsize, header.data_bytes, name)
    try:
        return np.array(words, np.float64 if header.dtype.kind == "f" else np.int64).astype(header.dtype)
    except (ValueError, OverflowError) as error:
        raise unreadable(name, "its voxels are no numbers") from error
