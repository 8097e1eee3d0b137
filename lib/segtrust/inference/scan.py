"""Reading a scan, putting it on the network's grid, and bringing probabilities back onto its own."""

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation, Spacing, Transform
from numpy.typing import NDArray
from torch import Tensor

from segtrust.errors import ScanError
from segtrust.files import Grid, current_limits, opened, ras_axes
from segtrust.files.channels import channel_files, split_channel
from segtrust.files.label import read_label_file
from segtrust.files.opening import is_regular
from segtrust.files.scan import read_scan_file
from segtrust.models import Intensity, ModelSpec

__all__ = [
    "PreparedImage",
    "PreparedScan",
    "Scan",
    "assumed_spacing",
    "fingerprint",
    "prepare",
    "read_labels",
    "read_scan",
]

_HEADER_BYTES = 4096
_LEAST_SLAB = 16  # voxels; fewer may have the same value by chance
_AXES = (("L", "R"), ("P", "A"), ("I", "S"))
_WORLD = {letter: axis for axis, letters in enumerate(_AXES) for letter in letters}


@dataclass(frozen=True)
class Scan:
    """A scan as its file has it: ``data`` ``(C, X, Y, Z)`` float32, ``affine`` 4x4 to RAS+ millimetres.

    ``series`` names the DICOM series that it was read from.
    """

    data: Tensor
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float] | None
    series: Mapping[str, Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape in the file's own voxel order."""
        return tuple(self.data.shape[1:])

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.shape, self.affine, self.spacing)


@dataclass(frozen=True)
class PreparedImage:
    """A scan on the network's grid.

    ``image`` is ``(C, *grid)``, normalised. ``box`` are the native voxels that are no padding.
    """

    image: Tensor
    box: tuple[slice, slice, slice]
    native_shape: tuple[int, ...]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which of the scan's own voxels are no padding, ``(X, Y, Z)``."""
        inside = np.zeros(self.native_shape, dtype=bool)
        inside[self.box] = True
        return inside


@dataclass(frozen=True)
class PreparedScan(PreparedImage):
    """A scan that was turned and resampled here, with the way back."""

    _chain: Compose
    _cropped: MetaTensor

    @property
    def grid_affine(self) -> NDArray[np.float64]:
        """Takes voxels of :attr:`image` to RAS+ millimetres, 4x4."""
        return np.asarray(self._cropped.affine, dtype=np.float64)

    def to_native(self, probs: Tensor, *, background: int | None) -> Tensor:
        """Bring probabilities back onto the scan's own voxels.

        Args:
            probs: ``(C, *grid)`` on the network's grid.
            background: class that padding voxels get with certainty; ``None`` gives them 0 in every channel.

        Returns:
            ``(C, X, Y, Z)`` float32, in the file's own voxel order, summing to one again after interpolation
            if ``background`` is given.

        Note:
            The interpolation is MONAI's, always linear and always of probabilities.
        """
        grid = MetaTensor(
            probs.float().cpu(),
            affine=self._cropped.affine,
            applied_operations=list(self._cropped.applied_operations),
        )
        there = self._chain.inverse(grid) if self._chain.transforms else grid
        inner: Tensor = there.as_tensor().clamp(0, 1)  # a copy: `probs` stays
        if background is not None:
            inner /= inner.sum(dim=0, keepdim=True).clamp_min_(1e-12)
        if tuple(inner.shape[1:]) == self.native_shape:
            return inner
        outer = torch.zeros((inner.shape[0], *self.native_shape))
        if background is not None:
            outer[background] = 1
        outer[(slice(None), *self.box)] = inner
        return outer


def fingerprint(path: Path) -> str:
    """Name the content of a scan file cheaply: size, time of change and a hash of its first 4096 bytes.

    Args:
        path: a file (with the other channels' files of its scan), or a folder with one DICOM series (names,
            sizes and times of its files).

    Returns:
        64 hexadecimal digits.

    Raises:
        ScanError: if nothing is there.
    """
    files = sorted(p for p in path.iterdir() if is_regular(p)) if path.is_dir() else _with_channels(path)
    if not files:
        raise ScanError(
            f"the folder {path.name!r} must hold the files of a scan, but has none.", "scan_missing"
        )
    digest = hashlib.sha256()
    try:
        for file in files:
            stat = file.stat()
            digest.update(f"{file.name}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
        with opened(files[0]) as first:
            digest.update(first.read(_HEADER_BYTES))
    except OSError as error:
        raise ScanError(f"the scan {path.name!r} cannot be opened: {error}.", "scan_missing") from error
    return digest.hexdigest()


def _with_channels(path: Path) -> list[Path]:
    parts = split_channel(path.name)
    if parts is None or parts[1] != 0 or not path.parent.is_dir():
        return [path]
    scan, _, ending = parts
    return [path, *(p for p in sorted(path.parent.glob(f"{escape(scan)}_????{ending}")) if p != path)]


def read_scan(path: Path, *, channels: int = 1) -> Scan:
    """Read a scan from NIfTI, NRRD, MetaImage or a folder with one DICOM series.

    Args:
        path: the file or folder; the first file of a scan with one per channel (``ID_0000``, ``ID_0001``).
        channels: number of channels that the model needs.

    Returns:
        The scan with finite float32 values.

    Raises:
        ScanError: if the file is missing, cannot be read to its end, has other than ``channels`` channels,
            is not a volume, holds values that are not finite, or one value everywhere.

    Note:
        Files are decoded by :mod:`segtrust.files`, DICOM in a process of its own.
    """
    files = channel_files(path, channels)
    file, *others = (read_scan_file(one, channels=channels if len(files) == 1 else 1) for one in files)
    values = [file.values]
    for other, name in zip(others, files[1:], strict=True):
        turn = other.grid.reordering_to(file.grid)
        if turn is None:
            raise ScanError(
                f"the channels of a scan must lie on one grid, but {path.name!r} has {file.grid.describe()}, "
                f"and {name.name!r} {other.grid.describe()}. Resample one to the other.",
                "scan_geometry",
            )
        values.append(turn.apply(other.values[0])[None])
    data = torch.from_numpy(np.concatenate(values))
    for index, channel in enumerate(data):
        if channel.amin() == channel.amax():
            raise ScanError(
                f"the scan {path.name!r} must not be empty, but channel {index} is {channel.amin().item():g} "
                "everywhere.",
                "scan_constant",
            )
    return Scan(data=data, affine=file.grid.affine, spacing=file.grid.spacing, series=file.series)


def read_labels(path: Path) -> tuple[Tensor, NDArray[np.float64]]:
    """Read a label map; one without any structure is allowed.

    Args:
        path: the file.

    Returns:
        ``(X, Y, Z)`` float32, in the file's own voxel order, and the 4x4 affine to RAS+ millimetres.

    Raises:
        ScanError: as :func:`segtrust.files.label.read_label_file`.
    """
    label = read_label_file(path)
    return torch.from_numpy(label.values.astype(np.float32)), label.grid.affine


def prepare(scan: Scan, spec: ModelSpec) -> PreparedScan:
    """Put a scan on the network's grid: cut padding off, turn, resample, normalise.

    Args:
        scan: what :func:`read_scan` returned.
        spec: the model's specification.

    Returns:
        The prepared scan. Padding is cut off first, see :func:`content_box`, so that added air, or what a
        program filled up with, changes nothing that is computed later; then what lies outside of the
        foreground, for a model that looks at nothing else.

    Note:
        Turning and resampling are MONAI's.
    """
    box = looked_at(scan.data, spec)
    # without voxel sizes there is no direction to turn to: the file's own order is kept
    affine = shifted(scan.affine, box) if scan.spacing is not None else np.eye(4)
    cropped = MetaTensor(scan.data[(slice(None), *box)], affine=affine)  # type: ignore[arg-type]  # takes arrays too
    current_limits().check("max_grid_voxels", math.prod(_resampled_shape(scan, spec, box)), "the scan")
    steps: list[Transform] = [turn(spec)] if spec.orientation else []
    if spec.spacing is not None and scan.spacing is not None:
        steps.append(Spacing(pixdim=pixdim(spec), mode="bilinear", padding_mode="border"))
    chain = Compose(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grid = chain(cropped)
    return PreparedScan(
        image=normalise_intensity(grid.as_tensor(), spec.intensity),
        box=box,
        native_shape=scan.shape,
        _chain=chain,
        _cropped=grid,
    )


def assumed_spacing(scan: Scan, spec: ModelSpec) -> tuple[float, float, float] | None:
    """Voxel size by which a model sees a scan: a scan that does not say its own is taken to have the model's.

    Args:
        scan: the scan.
        spec: the model's specification.

    Returns:
        Millimetres along the scan's axes; the model's own where the scan's are unknown (it is not resampled
        then, see :func:`prepare`), slices of a 2-D model as far apart as their pixels are; ``None`` if
        neither is known.
    """
    if scan.spacing is not None or spec.spacing is None:
        return scan.spacing
    first, second, third = (*spec.spacing, spec.spacing[0])[:3]
    return first, second, third


def _resampled_shape(scan: Scan, spec: ModelSpec, box: Sequence[slice]) -> tuple[int, ...]:
    """Voxels along each axis of the model's grid, before anything is resampled."""
    sizes = [piece.stop - piece.start for piece in box]
    if scan.spacing is None or spec.spacing is None:
        return tuple(sizes)
    order = [ras_axes(scan.affine)[_WORLD[letter]] for letter in spec.orientation] or range(3)
    return tuple(
        math.ceil(sizes[axis] * scan.spacing[axis] / mm) if mm > 0 else sizes[axis]
        for axis, mm in zip(order, pixdim(spec), strict=True)
    )


def turn(spec: ModelSpec) -> Orientation:
    """The transform that turns a scan to the model's orientation; exact, it only moves voxels."""
    return Orientation(axcodes=spec.orientation, labels=_AXES)


def pixdim(spec: ModelSpec) -> tuple[float, ...]:
    """Voxel size to resample to; MONAI keeps an axis whose size is not above 0: the slices of a 2-D model."""
    return (*(spec.spacing or ()), *(-1.0,) * (3 - spec.spatial_dims))


def normalise_intensity(image: Tensor, intensity: Intensity) -> Tensor:
    """Normalise each channel.

    Args:
        image: ``(C, *grid)``.
        intensity: the method of the model's specification.

    Returns:
        Same shape, float32, see :class:`segtrust.models.Intensity`.
    """
    normalised = _normalised(image, intensity)
    if intensity.rescale is None:
        return normalised
    low, high = intensity.rescale
    flat = normalised.flatten(1).double()
    least, largest = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    unit = (flat - least) / (largest - least).clamp_min(1e-8)
    return (unit * (high - low) + low).float().reshape(image.shape)


def _normalised(image: Tensor, intensity: Intensity) -> Tensor:
    if intensity.method == "none":
        return image.float()
    width = intensity.high - intensity.low
    if intensity.method == "window":
        return ((image - intensity.low) / width).clamp(0, 1).float()
    if intensity.method == "sigmoid_window":
        return torch.sigmoid(2 * (image.float() - intensity.low) / width - 1)
    wide = image.double()
    axes = tuple(range(1, image.ndim))
    if intensity.method == "zscore":
        spread = wide.std(dim=axes, keepdim=True, correction=0).clamp_min(1e-8)
        return ((wide - wide.mean(dim=axes, keepdim=True)) / spread).float()
    some = wide != 0
    count = some.sum(dim=axes, keepdim=True).clamp_min(1)
    mean = wide.sum(dim=axes, keepdim=True) / count
    spread = (((wide - mean) * some).square().sum(dim=axes, keepdim=True) / count).sqrt().clamp_min(1e-8)
    return ((wide - mean) / spread * some).float()


def looked_at(data: Tensor, spec: ModelSpec) -> tuple[slice, slice, slice]:
    """Smallest box that holds what a model looks at.

    Args:
        data: ``(C, X, Y, Z)``, not constant.
        spec: the model's specification; without ``foreground`` all but padding is looked at.

    Returns:
        One slice per spatial axis. A scan without any foreground is looked at whole.
    """
    box = content_box(data)
    if spec.foreground is None:
        return box
    some = (data > spec.foreground.above).any(dim=0)
    if not bool(some.any()):
        return box
    inner = []
    for axis, outer in enumerate(box):
        others = tuple(other for other in range(3) if other != axis)
        where = torch.nonzero(some.sum(dim=others))
        start, stop = int(where[0]) - spec.foreground.margin, int(where[-1]) + 1 + spec.foreground.margin
        inner.append(slice(max(start, outer.start), max(min(stop, outer.stop), max(start, outer.start) + 1)))
    return (inner[0], inner[1], inner[2])


def content_box(data: Tensor) -> tuple[slice, slice, slice]:
    """Smallest box outside of which there is padding.

    Padding are slabs at the border that hold one value and nothing else: the smallest of the channel, or
    on the outside whatever a program filled the volume up with (a CT with 0 instead of air, or with air
    where the scanner wrote -3024 outside its field of view); each side may have a value of its own. A
    slab of the largest value is content: so looks what is saturated.

    Args:
        data: ``(C, X, Y, Z)``, not constant.

    Returns:
        One slice per spatial axis.
    """
    low, high = data.amin(dim=(1, 2, 3)), data.amax(dim=(1, 2, 3))
    box = [slice(0, n) for n in data.shape[1:]]
    filling: dict[tuple[int, int], Tensor] = {}
    cut = True
    while cut:  # a slab may hold one value only after another side was cut
        cut = False
        for axis, end in product(range(3), (0, -1)):
            while box[axis].stop - box[axis].start > 1:
                slab = data[(slice(None), *box)].select(axis + 1, end).flatten(1)
                value = slab[:, 0]
                is_padding = bool((value == low).all()) or (
                    slab.shape[1] >= _LEAST_SLAB
                    and bool((value < high).all())
                    and bool((value == filling.get((axis, end), value)).all())
                )
                if not (is_padding and bool((slab == value[:, None]).all())):
                    break
                filling.setdefault((axis, end), value)
                start, stop = box[axis].start, box[axis].stop
                box[axis] = slice(start + 1, stop) if end == 0 else slice(start, stop - 1)
                cut = True
    return (box[0], box[1], box[2])


def shifted(affine: NDArray[np.float64], box: Sequence[slice]) -> NDArray[np.float64]:
    """The affine of a box cut out of a scan."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array([s.start for s in box], dtype=np.float64)
    return moved


def extent_voxels(scan: Scan) -> tuple[int, int, int]:
    """Size of the scan's content along its own axes in voxels."""
    first, second, third = (s.stop - s.start for s in content_box(scan.data))
    return first, second, third


def extent_mm(scan: Scan) -> tuple[float, float, float] | None:
    """Size of the scan's content along its own axes in millimetres; ``None`` if the spacing is unknown."""
    if scan.spacing is None:
        return None
    size = [voxels * mm for voxels, mm in zip(extent_voxels(scan), scan.spacing, strict=True)]
    return (size[0], size[1], size[2]) if all(map(math.isfinite, size)) else None
