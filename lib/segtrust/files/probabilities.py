"""Probability volumes that other programs wrote: read to the end, with the place of every voxel."""

import itertools
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._checks import check_probs
from segtrust.errors import ProbabilityError, ScanError, ShapeError
from segtrust.files.geometry import Grid, Reordering
from segtrust.files.limits import current_limits
from segtrust.files.opening import opened
from segtrust.files.volume import Volume, read_volume

__all__ = ["ProbabilityVolume", "read_probability_volume"]

MOST_CLASSES = 65_535
"""More would not fit into the numbers that viewers read."""

_KEYS = ("probabilities", "softmax")
_TIE = 2e-3  # by which half precision can make another class the likeliest
_ARRAY_AXES = 4


@dataclass(frozen=True, eq=False)
class ProbabilityVolume:
    """Probabilities ``(C, X, Y, Z)`` float32 that sum to one, background first.

    ``grid`` says where the voxels lie; it is ``None`` if no file does and the caller took the order on trust.
    """

    name: str
    probs: Tensor
    grid: Grid | None

    def known_grid(self) -> Grid:
        """The grid, where distances in millimetres are needed.

        Returns:
            The grid.

        Raises:
            ScanError: if no file says where the voxels lie.
        """
        if self.grid is None:
            raise ScanError(_no_place(self.name), "scan_missing")
        return self.grid

    def onto(self, grid: Grid, whose: str) -> Tensor:
        """The probabilities in the voxel order of another grid.

        Args:
            grid: where to.
            whose: what lies on that grid, for messages.

        Returns:
            ``(C, X, Y, Z)``, turned if the two grids are one in another order.

        Raises:
            ScanError: if they are not; the message has both in words.
        """
        if self.grid is None:
            if tuple(self.probs.shape[1:]) == grid.shape:
                return self.probs
            got = f"{' x '.join(map(str, self.probs.shape[1:]))} voxels"
        else:
            turn = self.grid.reordering_to(grid)
            if turn is not None:
                return _turned(self.probs, turn)
            got = self.grid.describe()
        raise ScanError(
            f"the probabilities of {self.name!r} must lie on the grid of {whose}, {grid.describe()}, got "
            f"{got}. Were they made for another image, or resampled? TotalSegmentator keeps probabilities "
            "on a grid of its own.",
            "scan_dimensions",
        )


def read_probability_volume(
    name: str, paths: Sequence[Path], *, mask: Path | None = None, trust_order: bool = False
) -> ProbabilityVolume:
    """Read the probabilities of one scan.

    Args:
        name: of the scan, for messages.
        paths: one file, or one per class in order of the classes, background first.
        mask: the segmentation that lies beside an ``.npz``, which alone knows where the voxels lie.
        trust_order: take the order of an ``.npz`` without a mask as it is; its grid is unknown then.

    Returns:
        The volume. An ``.npz`` is in the order of its mask: as it is stored if its likeliest classes are the
        mask, else turned by the one reordering that makes them so.

    Raises:
        ScanError: if a file cannot be read, files do not fit together, or an ``.npz`` does not fit its mask.
        ProbabilityError: if the values are no softmax probabilities.

    Source:
        nnU-Net 2 stores ``probabilities`` as ``(C, Z, Y, X)``, the axes of SimpleITK; nnU-Net 1 ``softmax``.
        No object is unpickled, and the ``.pkl`` beside it is not opened.
    """
    if paths[0].suffix == ".npz":
        if mask is None and not trust_order:
            raise ScanError(_no_place(paths[0].stem), "scan_missing")
        probs = _checked(name, _read_npz(paths[0]).transpose(0, 3, 2, 1))
        return ProbabilityVolume(name, probs, None) if mask is None else _as_mask(name, probs, mask)
    stored, grid = _stacked(name, [read_volume(path, per_voxel="max_classes") for path in paths])
    return ProbabilityVolume(name, _checked(name, stored), grid)


def _no_place(name: str) -> str:
    return (
        f"{name}.npz does not say where its voxels lie. Put the mask that was written with it, "
        f"{name}.nii.gz, beside it."
    )


def _checked(name: str, stored: NDArray[Any]) -> Tensor:
    probs = torch.from_numpy(np.ascontiguousarray(stored, dtype=np.float32))
    try:
        check_probs(probs, class_axis=0)
    except (ProbabilityError, ShapeError) as error:
        raise ProbabilityError(
            f"the probabilities of {name!r} are none of a softmax: {error} Sigmoid outputs (region-based "
            "training) are not supported."
        ) from error
    probs = probs.clamp_(0, 1)
    return probs / probs.sum(dim=0, keepdim=True)


def _stacked(name: str, volumes: Sequence[Volume]) -> tuple[NDArray[Any], Grid]:
    first = volumes[0]
    grid = Grid(first.stored.shape[:3], first.header.affine, first.header.spacing)
    if len(volumes) == 1:
        if first.stored.ndim != _ARRAY_AXES:
            raise ScanError(
                f"the volume of {name!r} must hold one value per class, got shape {first.stored.shape}. Is "
                "it a mask? nnU-Net writes probabilities with --npz or --save_probabilities.",
                "scan_dimensions",
            )
        _check_count(name, first.stored.shape[-1])
        return np.moveaxis(first.scaled(np.float32), -1, 0), grid
    _check_count(name, len(volumes))
    stack = np.empty((len(volumes), *grid.shape), np.float32)
    for number, volume in enumerate(volumes):
        if volume.stored.ndim != len(grid.shape):
            raise ScanError(
                f"each file of {name!r} must hold one value per voxel, got shape {volume.stored.shape} for "
                f"class {number}.",
                "scan_dimensions",
            )
        own = Grid(volume.stored.shape, volume.header.affine, volume.header.spacing)
        turn = own.reordering_to(grid)
        if turn is None:
            raise ScanError(
                f"all files of {name!r} must lie on one grid, got {grid.describe()} for class 0 and "
                f"{own.describe()} for class {number}.",
                "scan_dimensions",
            )
        stack[number] = turn.apply(volume.scaled(np.float32))
    return stack, grid


def _check_count(name: str, classes: int) -> None:
    current_limits().check("max_classes", classes, name)
    if classes > MOST_CLASSES:
        raise ScanError(
            f"{name!r} must have at most {MOST_CLASSES:,} classes, got {classes:,}.", "scan_too_large"
        )


def _as_mask(name: str, probs: Tensor, path: Path) -> ProbabilityVolume:
    """Probabilities of an ``.npz`` in the order of its mask, which is proved by the likeliest classes."""
    mask = read_volume(path)
    labels, stored = mask.scaled(), probs.numpy()
    if labels.ndim != len(stored.shape) - 1:
        raise ScanError(
            f"the mask {path.name} must hold one value per voxel, got shape {labels.shape}.",
            "scan_dimensions",
        )
    grid = Grid(labels.shape, mask.header.affine, mask.header.spacing)
    best = probs.argmax(dim=0).numpy()
    orders = [turn for turn in _orders(stored.shape[1:], grid.shape) if _fits(turn, stored, best, labels)]
    if orders and (orders[0].is_identity or len(orders) == 1):
        return ProbabilityVolume(name, _turned(probs, orders[0]), grid)
    sizes = f"{' x '.join(map(str, stored.shape[1:]))} voxels"
    if not orders:
        reason = (
            f"{path.name} with {' x '.join(map(str, grid.shape))} voxels is not the likeliest class of its "
            f"{sizes}, in whatever order they are read. Put the mask there that was written with it, before "
            "any clean-up."
        )
    else:
        reason = f"{len(orders)} reorderings of its {sizes} fit {path.name} equally well. Write it as NIfTI."
    raise ScanError(f"the order of voxels in the .npz of {name!r} is not known: {reason}", "scan_dimensions")


def _orders(shape: tuple[int, ...], wanted: tuple[int, ...]) -> Iterator[Reordering]:
    """Ways to turn an array to another shape, that in which nothing moves first; lazily, most need one."""
    for axes in itertools.permutations(range(3)):
        if tuple(shape[axis] for axis in axes) == wanted:
            for flips in itertools.product((False, True), repeat=3):
                yield Reordering(axes, flips)


def _fits(turn: Reordering, stored: NDArray[Any], best: NDArray[np.int64], labels: NDArray[Any]) -> bool:
    """Whether the mask is the likeliest class everywhere, up to ties that rounding decides."""
    other = np.nonzero(turn.apply(best) != labels)
    if not len(other[0]):
        return True
    values = labels[other]
    if len(other[0]) > labels.size // 100 + 10 or values.min() < 0 or values.max() >= len(stored):
        return False
    if not np.array_equal(values, np.rint(values)):
        return False
    turned = np.stack([turn.apply(one)[other] for one in stored]).astype(np.float64)
    at_mask = np.take_along_axis(turned, values.astype(np.int64)[None], axis=0)[0]
    return bool((turned.max(axis=0) - at_mask <= _TIE).all())


def _turned(probs: Tensor, turn: Reordering) -> Tensor:
    if turn.is_identity:
        return probs
    return torch.from_numpy(np.stack([turn.apply(one) for one in probs.numpy()]))


def _read_npz(path: Path) -> NDArray[Any]:
    """The array ``(C, Z, Y, X)``; its header is bounded before memory is asked for, its checksum is read."""
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                member = _member(archive, path.name)
                with archive.open(member) as stream:
                    data = _read_array(stream, member.file_size, path.name)
        except ScanError:
            raise
        except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, *_DAMAGE) as error:
            raise ScanError(
                f"{path.name} cannot be read to its end: {str(error)[:200]}. Was it cut off? Copy it again.",
                "scan_unreadable",
            ) from error
    return data[:, None] if data.ndim == _ARRAY_AXES - 1 else data


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    key = next((k for k in _KEYS if k in members), None)
    if key is None:
        raise ScanError(
            f"{name} must hold one of {', '.join(_KEYS)}, got {', '.join(members) or 'nothing'}.",
            "scan_unreadable",
        )
    return members[key]


_DAMAGE = (zipfile.BadZipFile, zlib.error, SyntaxError)


def _read_array(stream: IO[bytes], size: int, name: str) -> NDArray[Any]:
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)  # type: ignore[no-untyped-call]
    if dtype.kind not in "fiu":
        raise ScanError(f"{name} must hold numbers, got {dtype}.", "scan_unreadable")
    if len(shape) not in (_ARRAY_AXES - 1, _ARRAY_AXES) or min(shape) < 1:
        raise ScanError(f"{name} must hold (C, Z, Y, X), got shape {shape}.", "scan_dimensions")
    limits, count = current_limits(), math.prod(shape)
    _check_count(name, shape[0])
    limits.check("max_voxels", count // shape[0], name)
    limits.check("max_data_mb", count * dtype.itemsize, name)
    if size < count * dtype.itemsize:
        raise ValueError(f"its array claims {count * dtype.itemsize:,} bytes, the archive {size:,}")
    values = np.empty(count, dtype)
    memory = values.data.cast("B")
    filled = 0
    while piece := stream.read(1 << 20):  # to the end: the checksum is compared there
        if filled + len(piece) > len(memory):
            raise ValueError("more follows behind its array")
        memory[filled : filled + len(piece)] = piece
        filled += len(piece)
    if filled < len(memory):
        raise EOFError(f"its array ends after {filled:,} of {len(memory):,} bytes")
    return values.reshape(shape, order="F" if fortran else "C")
