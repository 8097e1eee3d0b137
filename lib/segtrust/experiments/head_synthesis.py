"""Whole-head images made from label maps, to train a network that finds both hippocampi in real heads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Generator, Tensor
from torch.nn import functional

from segtrust.files.label import read_label_file

__all__ = ["GRID_MM", "HeadMap", "HeadSample", "read_head_map", "synthesise", "t1_image"]

GRID_MM = 4.0
"""Voxel size of the images, along every axis."""
_FINE_MM = (
    3.0  # of the stored shares: finer than the images, so that what is drawn from them is no blur of them
)
_SIDES = (17, 53)  # FreeSurfer's left and right hippocampus
_OUTSIDE_BRAIN = 500
_LEAST = 8  # voxels that a cut leaves
_TISSUES = {
    2: 0.85, 3: 0.5, 4: 0.2, 5: 0.2, 7: 0.8, 8: 0.5, 10: 0.65, 11: 0.55, 12: 0.6, 13: 0.7, 14: 0.2, 15: 0.2,
    16: 0.75, 17: 0.5, 18: 0.5, 24: 0.15, 26: 0.55, 28: 0.7,
}  # fmt: skip
"""Brightness by label as a T1-weighted image has it, of the left side."""
_RIGHT = {
    41: 2,
    42: 3,
    43: 4,
    44: 5,
    46: 7,
    47: 8,
    49: 10,
    50: 11,
    51: 12,
    52: 13,
    53: 17,
    54: 18,
    58: 26,
    60: 28,
}
"""Label of the right side -> that of the left."""


@dataclass(frozen=True)
class HeadMap:
    """A label map as shares of labels in voxels of 3 mm: ``shares``, ``(voxels, labels)``, rows sum to 1."""

    name: str
    ids: tuple[int, ...]
    shape: tuple[int, int, int]
    shares: sparse.csr_matrix

    @property
    def size_mm(self) -> Tensor:
        """Extent along the axes."""
        return torch.tensor(self.shape) * _FINE_MM


@dataclass(frozen=True)
class HeadSample:
    """One made-up scan of voxels of 4 mm, axes to the right, front and top.

    ``image`` is ``(1, X, Y, Z)``, ``target`` ``(3, X, Y, Z)``: shares of background, left and right
    hippocampus. ``kind``: what was drawn.
    """

    image: Tensor
    target: Tensor
    kind: str


def read_head_map(path: Path) -> HeadMap:
    """Read a label map of voxels of 1 mm, axes to the right, front and top.

    Args:
        path: NIfTI file with FreeSurfer's ids; 500 and more are outside the brain.

    Returns:
        Its shares.
    """
    labels = read_label_file(path).values.astype(np.int64)
    block = round(_FINE_MM)
    even = np.pad(labels, [(0, -size % block) for size in labels.shape])
    ids, inverse = np.unique(even, return_inverse=True)
    inverse = inverse.reshape(even.shape)
    shape = tuple(size // block for size in even.shape)
    corners = [
        inverse[i::block, j::block, k::block].reshape(-1) for i, j, k in np.ndindex(block, block, block)
    ]
    rows = np.tile(np.arange(math.prod(shape)), len(corners))
    values = np.full(rows.size, 1 / len(corners), dtype=np.float32)
    shares = sparse.coo_matrix(
        (values, (rows, np.concatenate(corners))), shape=(math.prod(shape), len(ids))
    ).tocsr()
    return HeadMap(path.name, tuple(int(i) for i in ids), shape, shares)  # type: ignore[arg-type]


def synthesise(maps: Sequence[HeadMap], generator: Generator) -> HeadSample:
    """Make one scan: in six of seven a head as scanners may see it, else one in which nothing is to be found.

    Args:
        maps: one is drawn.
        generator: all chance comes from it.

    Returns:
        The sample. Its image is not normalised.

    Source:
        Billot et al. 2023, SynthSeg: brightness by label at random, deformation, bias field, resolution,
        noise. Not theirs: brightness ordered as in T1 in half of the heads, skull-stripped ones, fields of
        view that cut the head, scans without a head, or with one that lies otherwise than its header says.
    """
    draw = _Draw(generator)
    if draw.chance(0.07):
        image = _nothing(draw)
        target = torch.zeros(3, *image.shape[1:])
        target[0] = 1
        return HeadSample(_degrade(image, draw), target, "no head")
    image, sides = _deformed(maps[draw.below(len(maps))], draw)
    if draw.chance(0.5):  # a mirrored head has its sides swapped
        image, sides = image.flip(1), sides.flip(0).flip(1)
    kind = "head"
    if draw.chance(0.08):
        image, kind = _turned(image, draw), "turned head"
        sides = torch.zeros(2, *image.shape[1:])
    image = _degrade(image, draw)
    if draw.chance(0.55):
        image, sides = _cut(image, sides, draw)
    background = (1 - sides.sum(0, keepdim=True)).clamp_min(0)
    return HeadSample(image, torch.cat([background, sides]), kind)


def t1_image(labels: NDArray[np.int64], generator: Generator) -> Tensor:
    """A head on the grid of its label map, in the brightness of T1; a host for pasted crops.

    Args:
        labels: FreeSurfer's ids, ``(X, Y, Z)``.
        generator: all chance comes from it.

    Returns:
        ``(X, Y, Z)`` float32, blurred as by voxels of 1 mm.
    """
    draw = _Draw(generator)
    ids, inverse = np.unique(labels, return_inverse=True)
    left = [_RIGHT.get(int(label), int(label)) for label in ids]
    outside = {int(label): draw.uniform(0.1, 0.9) for label in ids if label not in (0, *_TISSUES, *_RIGHT)}
    mean = torch.tensor([_TISSUES.get(label, outside.get(label, 0.0)) for label in left])
    flat = mean[torch.from_numpy(inverse.reshape(labels.shape))]
    return _blurred((flat + 0.04 * draw.normal(*labels.shape))[None], 0.6)[0]


class _Draw:
    """Random numbers, by name."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def chance(self, share: float) -> bool:
        return self.uniform(0, 1) < share

    def below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)


def _deformed(head: HeadMap, draw: _Draw) -> tuple[Tensor, Tensor]:
    """A head's image and its two hippocampi, ``(1, ...)`` and ``(2, ...)``, deformed."""
    mean, spread = _brightness(head.ids, draw)
    air = float(mean[head.ids.index(0)])
    fine = torch.from_numpy(head.shares @ (mean - air).numpy())
    fine = fine + torch.from_numpy(head.shares @ spread.numpy()) * draw.normal(fine.numel())
    columns = [head.ids.index(side) for side in _SIDES]
    sides = torch.from_numpy(np.ascontiguousarray(head.shares[:, columns].toarray().T))
    stack = torch.cat([fine[None], sides]).reshape(1, 3, *head.shape)
    grid = _sampling_grid(head, draw)
    moved = functional.grid_sample(stack, grid, align_corners=False)[0]
    return moved[:1] + air, moved[1:].clamp(0, 1)


def _brightness(ids: Sequence[int], draw: _Draw) -> tuple[Tensor, Tensor]:
    """Mean and spread of each label; the two sides mostly share theirs."""
    mean, spread = draw.rand(len(ids)), 0.005 + 0.055 * draw.rand(len(ids))
    like_t1 = draw.chance(0.6)
    scatter, tilt = 0.07 * draw.normal(len(ids)), draw.uniform(0.7, 1.3)
    for i, label in enumerate(ids):
        left = _RIGHT.get(label, label)
        if like_t1 and left in _TISSUES:
            mean[i] = (_TISSUES[left] ** tilt + float(scatter[i])) or 0.0
        if left != label and left in ids and not draw.chance(0.1):
            mean[i], spread[i] = mean[ids.index(left)], spread[ids.index(left)]
    if draw.chance(0.35):  # nothing but the brain
        for i, label in enumerate(ids):
            if label >= _OUTSIDE_BRAIN or (label == 24 and draw.chance(0.5)):
                mean[i], spread[i] = 0.0, 0.0
    if draw.chance(0.9):
        dark = draw.uniform(0, 0.04)
        mean[ids.index(0)], spread[ids.index(0)] = dark, dark / 2
    return mean, spread


def _sampling_grid(head: HeadMap, draw: _Draw) -> Tensor:
    """Where each voxel of the image lies in the map, as ``grid_sample`` wants it."""
    size = head.size_mm
    field = [round(float(mm) / GRID_MM * draw.uniform(0.95, 1.1)) for mm in size]
    axes = [(torch.arange(n) - (n - 1) / 2) * GRID_MM for n in field]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    angles = [
        math.radians(a) for a in (draw.normal(3) * torch.tensor([12.0, 7.0, 7.0])).clamp(-30, 30).tolist()
    ]
    linear = _rotation(angles) @ torch.diag(draw.uniform(0.88, 1.14) * (1 + 0.06 * draw.normal(3)))
    linear = linear + 0.03 * draw.normal(3, 3)
    places = places @ linear.T + 6 * draw.normal(3)
    coarse = draw.normal(1, 3, 5, 6, 5) * draw.uniform(0, 5)  # mm
    places = places + functional.interpolate(coarse, size=field, mode="trilinear")[0].permute(1, 2, 3, 0)
    return (places / (size / 2)).flip(-1)[None]


def _rotation(angles: Sequence[float]) -> Tensor:
    (a, b, c), (sa, sb, sc) = ([f(x) for x in angles] for f in (math.cos, math.sin))
    about_x = torch.tensor([[1, 0, 0], [0, a, -sa], [0, sa, a]])
    about_y = torch.tensor([[b, 0, sb], [0, 1, 0], [-sb, 0, b]])
    about_z = torch.tensor([[c, -sc, 0], [sc, c, 0], [0, 0, 1]])
    return about_x.float() @ about_y.float() @ about_z.float()


def _turned(image: Tensor, draw: _Draw) -> Tensor:
    """The head as it looks when its header is wrong: another axis is up, or the top is the bottom."""
    while True:
        order = torch.randperm(3, generator=draw.generator).tolist()
        flips = [axis + 1 for axis in range(3) if draw.chance(0.5)]
        if order != [0, 1, 2] or set(flips) - {1}:  # more than left and right, which look the same
            return image.permute(0, *(axis + 1 for axis in order)).flip(flips)


def _nothing(draw: _Draw) -> Tensor:
    """Noise, blobs, or a body with organs, in any size."""
    shape = [24 + draw.below(34) for _ in range(3)]
    way = draw.below(4)
    if way == 0:
        return draw.normal(1, *shape) * draw.uniform(0.01, 1) + draw.uniform(0, 1)
    coarse = draw.normal(1, 1, *(3 + draw.below(10) for _ in range(3)))
    blobs = functional.interpolate(coarse, size=shape, mode="trilinear")[0]
    levels = torch.bucketize(blobs, torch.tensor([-1.0, -0.4, 0.0, 0.5, 1.2])).long()
    image = draw.rand(6)[levels] + draw.uniform(0, 0.1) * draw.normal(1, *shape)
    if way == 1:
        return image
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    centre, radii = 0.2 * draw.normal(3), 0.5 + 0.5 * draw.rand(3)
    if way == 2:
        radii[2] = 9.0  # a trunk goes on above and below
    inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radii, strict=True)) < 1
    return torch.where(inside, image, torch.tensor(draw.uniform(0, 0.05)))


def _degrade(image: Tensor, draw: _Draw) -> Tensor:
    """What scanners do: bias field, gamma, blur, thick slices, noise."""
    size = image.shape[1:]
    bias = functional.interpolate(
        draw.normal(1, 1, 4, 4, 4) * draw.uniform(0, 0.4), size=size, mode="trilinear"
    )[0].exp()
    image = image * bias
    if draw.chance(0.5):
        image = image.clamp_min(0) ** draw.uniform(0.6, 1.6)
    if draw.chance(0.4):
        image = _blurred(image, draw.uniform(0.2, 0.8))
    if draw.chance(0.4):  # thick slices along one axis
        axis, thick = draw.below(3), draw.uniform(1.0, 2.0)
        image = _resolved(image, [thick if i == axis else 1.0 for i in range(3)])
    elif draw.chance(0.3):
        image = _resolved(image, [draw.uniform(1.0, 1.4)] * 3)
    return image + draw.uniform(0, 0.05) * draw.normal(1, *size)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian, in voxels."""
    kernel = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = 7
        padding = [0, 0, 0]
        padding[axis] = 3
        image = functional.conv3d(image[None], kernel.reshape(shape), padding=padding)[0]
    return image


def _resolved(image: Tensor, voxels: Sequence[float]) -> Tensor:
    """As voxels so many times as large would have it, on the same grid."""
    size = image.shape[1:]
    fewer = [max(2, round(n / v)) for n, v in zip(size, voxels, strict=True)]
    small = functional.interpolate(image[None], size=fewer, mode="area")
    return functional.interpolate(small, size=size, mode="trilinear")[0]


def _cut(image: Tensor, sides: Tensor, draw: _Draw) -> tuple[Tensor, Tensor]:
    """A field of view that does not hold all of the head, or air around it."""
    box = [slice(None)]
    for size in image.shape[1:]:
        low, high = (round(size * draw.uniform(0, 0.35)) if draw.chance(0.45) else 0 for _ in range(2))
        box.append(slice(low, max(size - high, low + _LEAST)))
    image, sides = image[tuple(box)], sides[tuple(box)]
    if draw.chance(0.3):
        pads = [draw.below(7) for _ in range(6)]
        image = functional.pad(image, pads, value=draw.uniform(0, 0.05))
        sides = functional.pad(sides, pads)
    return image, sides
