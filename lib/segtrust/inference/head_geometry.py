"""Boxes in a scan of a whole head, in millimetres along its own axes as they run right, front and up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segtrust.files.geometry import ras_reordering
from segtrust.inference.looked_at import Box
from segtrust.inference.scan import Scan, content_box

__all__ = ["Crop", "HeadGeometry", "as_seen"]

Millimetres = NDArray[np.float64]


@dataclass(frozen=True)
class Crop:
    """A box of voxels along the axes as they run right, front and up."""

    start: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def box(self) -> tuple[slice, ...]:
        """Its slices."""
        return tuple(slice(s, s + n) for s, n in zip(self.start, self.size, strict=True))


class HeadGeometry:
    """Where things lie in a scan whose axes are turned to run right, front and up; voxels only move.

    Args:
        scan: with known voxel size.
    """

    def __init__(self, scan: Scan) -> None:
        assert scan.spacing is not None
        self.scan = scan
        self.turn = ras_reordering(scan.affine)
        self.grid = self.turn.grid(scan.grid)
        self.mm = np.array(self.grid.spacing)
        inside = Crop(*zip(*((s.start, s.stop - s.start) for s in content_box(scan.data)), strict=True))
        content = self._turned(inside)
        self.low: Millimetres = np.array(content.start) * self.mm
        self.high: Millimetres = (np.array(content.start) + content.size) * self.mm

    def place(self, voxel: Sequence[float], affine: NDArray[np.float64]) -> Millimetres:
        """A voxel of another grid in millimetres from this scan's outer corner.

        Args:
            voxel: on the other grid.
            affine: of the other grid.
        """
        world = affine[:3, :3] @ np.asarray(voxel) + affine[:3, 3]
        own = np.linalg.solve(self.grid.affine[:3, :3], world - self.grid.affine[:3, 3])
        return np.asarray((own + 0.5) * self.mm, dtype=np.float64)

    def crop(self, centre: Millimetres, size_mm: Sequence[float]) -> Crop:
        """The box around a place, moved where it would leave the scan's content.

        Args:
            centre: of the box.
            size_mm: of the box; cut where the content is smaller.
        """
        first = np.round(self.low / self.mm).astype(int)
        last = np.round(self.high / self.mm).astype(int)
        size = np.minimum(np.maximum(np.round(np.asarray(size_mm) / self.mm), 1).astype(int), last - first)
        start = np.round(centre / self.mm - size / 2).astype(int)
        start = np.clip(start, first, last - size)
        return Crop(tuple(map(int, start)), tuple(map(int, size)))

    def around(
        self,
        low: Millimetres,
        high: Millimetres,
        low_margins: Sequence[float],
        high_margins: Sequence[float],
        *,
        mirrored: bool,
    ) -> Crop:
        """The box of a mask with margins, cut where it would leave the scan's content.

        Args:
            low: edges of the mask to the left, back and bottom.
            high: edges to the right, front and top.
            low_margins: of a left structure, beyond ``low``.
            high_margins: beyond ``high``.
            mirrored: whether it is a right structure, whose margins left and right are exchanged.
        """
        before, behind = np.array(low_margins, float), np.array(high_margins, float)
        if mirrored:
            before[0], behind[0] = behind[0], before[0]
        first = np.round(np.maximum(low - before, self.low) / self.mm).astype(int)
        last = np.round(np.minimum(high + behind, self.high) / self.mm).astype(int)
        return Crop(tuple(map(int, first)), tuple(map(int, np.maximum(last - first, 1))))

    def edges_apart(self, one: Crop, other: Crop) -> float:
        """Largest distance of the edges of two boxes, in millimetres."""
        starts = np.subtract(one.start, other.start)
        stops = starts + np.subtract(one.size, other.size)
        return float(max((np.abs(starts) * self.mm).max(), (np.abs(stops) * self.mm).max()))

    def centres_apart(self, place: Millimetres, crop: Crop) -> float:
        """Distance of a place and the centre of a box, in millimetres."""
        centre = (np.array(crop.start) + np.array(crop.size) / 2) * self.mm
        return float(np.linalg.norm(centre - place))

    def cut(self, crop: Crop, *, mirrored: bool) -> Scan:
        """The scan of a box, turned, and mirrored if wanted; its header is that of the box unmirrored."""
        data = torch.from_numpy(self.turned(self.scan.data[(slice(None), *self.native(crop))].numpy()))
        if mirrored:
            data = data.flip(1)
        affine = self.grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.array(crop.start)
        return Scan(data.contiguous(), affine, self.grid.spacing, self.scan.series)

    def bounds(self, mask: NDArray[np.bool_], crop: Crop) -> tuple[Millimetres, Millimetres]:
        """Outer edges of what a mask of a box holds; the mask holds something."""
        voxels = np.argwhere(mask)
        start = np.array(crop.start)
        return (start + voxels.min(axis=0)) * self.mm, (start + voxels.max(axis=0) + 1) * self.mm

    def native(self, crop: Crop) -> Box:
        """The slices of a box in the file's own order."""
        parts = [slice(0)] * 3
        for axis, flip, part in zip(self.turn.axes, self.turn.flips, crop.box, strict=True):
            n = self.scan.shape[axis]
            parts[axis] = slice(n - part.stop, n - part.start) if flip else part
        return parts[0], parts[1], parts[2]

    def turned(self, values: NDArray[Any]) -> NDArray[Any]:
        """``(C, X, Y, Z)`` in the file's order as axes run right, front and up; a copy."""
        return np.ascontiguousarray(np.moveaxis(self.turn.apply(np.moveaxis(values, 0, 3)), 3, 0))

    def back(self, values: NDArray[Any]) -> NDArray[Any]:
        """``(X, Y, Z)`` of a box in the file's own order."""
        return self.turn.inverse.apply(values)

    def _turned(self, native: Crop) -> Crop:
        parts = []
        for axis, flip in zip(self.turn.axes, self.turn.flips, strict=True):
            start, size = native.start[axis], native.size[axis]
            parts.append((self.scan.shape[axis] - start - size if flip else start, size))
        return Crop(tuple(start for start, _ in parts), tuple(size for _, size in parts))


def as_seen(offset_mm: Sequence[float], *, mirrored: bool) -> Millimetres:
    """An offset that was measured on left structures, for one side."""
    signs = np.array((-1.0, 1.0, 1.0) if mirrored else (1.0, 1.0, 1.0))
    seen: Millimetres = np.array(offset_mm, dtype=np.float64) * signs
    return seen
