"""Where voxels lie: a grid, how two grids compare, and turning an array from one onto the other."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["STILL", "Grid", "Reordering", "ras_axes", "ras_reordering", "toward_ras", "voxel_size"]

_SHARE, _FLOOR_MM = 0.02, 0.01  # headers round far less than this; more is another place


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxels of a file.

    Args:
        shape: number of voxels along the three axes.
        affine: voxels to RAS+ millimetres, 4x4.
        spacing: voxel size in millimetres; ``None`` if the file does not say, and ``affine`` then counts
            voxels.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float] | None

    def corners(self) -> NDArray[np.float64]:
        """The centres of the eight outermost voxels in millimetres, ``(8, 3)``."""
        index = np.array(list(itertools.product(*((0, size - 1) for size in self.shape))), np.float64)
        places: NDArray[np.float64] = index @ self.affine[:3, :3].T + self.affine[:3, 3]
        return places

    def describe(self) -> str:
        """The grid in words, for messages.

        Example:
            >>> Grid((3, 4, 5), np.diag([-1.0, 1.0, 2.0, 1.0]), (1.0, 1.0, 2.0)).describe()
            '3 x 4 x 5 voxels of 1 x 1 x 2 mm, axes LAS, the first at (0, 0, 0) mm'
        """
        size = (
            "an unknown size"
            if self.spacing is None
            else f"{' x '.join(f'{mm:.4g}' for mm in self.spacing)} mm"
        )
        place = ", ".join(f"{mm + 0.0:.6g}" for mm in self.affine[:3, 3])
        axes = "".join(self._letter(axis) for axis in range(3))
        return f"{' x '.join(map(str, self.shape))} voxels of {size}, axes {axes}, the first at ({place}) mm"

    def _letter(self, axis: int) -> str:
        world = ras_axes(self.affine).index(axis)
        return "LRPAIS"[2 * world + int(self.affine[world, axis] > 0)]

    def reordering_to(self, other: "Grid") -> "Reordering | None":
        """How arrays on this grid must be turned to lie on another one.

        Args:
            other: the grid to turn to.

        Returns:
            The permutation and flips of axes that put every voxel onto a voxel of the other grid, whole and
            in the same place in millimetres; ``None`` if there is none.
        """
        allowed = _FLOOR_MM + _SHARE * min(voxel_size(other.affine) or (0.0,))
        try:
            steps = np.linalg.inv(self.affine) @ other.affine
        except np.linalg.LinAlgError:
            same = self.shape == other.shape and np.abs(self.affine - other.affine).max() <= allowed
            return STILL if same else None
        axes = tuple(int(axis) for axis in np.abs(steps[:3, :3]).argmax(axis=0))
        if sorted(axes) != [0, 1, 2] or tuple(self.shape[axis] for axis in axes) != other.shape:
            return None
        turned = Reordering(axes, tuple(bool(steps[axis, k] < 0) for k, axis in enumerate(axes)))
        apart = np.abs(turned.grid(self).corners() - other.corners()).max()
        return turned if apart <= allowed else None


@dataclass(frozen=True)
class Reordering:
    """Axes of an array in another order, some of them the other way round; voxels only move.

    Args:
        axes: for each new axis the old one.
        flips: which new axes run the other way.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self == STILL

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array.

        Args:
            array: ``(X, Y, Z)`` or ``(X, Y, Z, ...)``; axes behind the third stay.

        Returns:
            A view of the same voxels.
        """
        rest = tuple(range(3, array.ndim))
        return array.transpose(*self.axes, *rest)[
            tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        ]

    def grid(self, grid: Grid) -> Grid:
        """The grid of a turned array: the same places in millimetres."""
        axes = list(self.axes)
        affine = grid.affine.copy()
        affine[:3, :3] = grid.affine[:3, axes]
        shape = tuple(grid.shape[axis] for axis in axes)
        for k, flip in enumerate(self.flips):
            if flip:
                affine[:3, 3] += affine[:3, k] * (shape[k] - 1)
                affine[:3, k] *= -1
        spacing = None if grid.spacing is None else tuple(grid.spacing[axis] for axis in axes)
        return Grid(shape, affine, spacing)  # type: ignore[arg-type]  # three axes stay three

    @property
    def inverse(self) -> "Reordering":
        """The reordering that undoes this one."""
        axes, flips = [0, 0, 0], [False, False, False]
        for new, (old, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            axes[old], flips[old] = new, flip
        return Reordering(tuple(axes), tuple(flips))


STILL = Reordering((0, 1, 2), (False, False, False))
"""The reordering in which nothing moves."""


def voxel_size(affine: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Millimetres per voxel along each axis; ``None`` if the file does not say.

    Args:
        affine: voxels to millimetres, 4x4.

    Returns:
        Three lengths above 0.

    Example:
        >>> voxel_size(np.diag([1.0, -2.0, 3.0, 1.0]))
        (1.0, 2.0, 3.0)
    """
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(size).all() and (size > 0).all()):
        return None
    return (float(size[0]), float(size[1]), float(size[2]))


def toward_ras(data: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Turn a volume so that its axes run towards right, anterior and superior; voxels only move.

    Args:
        data: ``(X, Y, Z)``.
        affine: voxels to RAS+ millimetres, 4x4.

    Returns:
        A view of the same voxels.

    Note:
        Each axis goes to the direction it is closest to, no two to the same one.

    Example:
        >>> toward_ras(np.arange(2).reshape(2, 1, 1), np.diag([-1.0, 1.0, 1.0, 1.0])).ravel()
        array([1, 0])
    """
    return ras_reordering(affine).apply(data)


def ras_reordering(affine: NDArray[np.float64]) -> Reordering:
    """The reordering after which axes run towards right, anterior and superior, as :func:`toward_ras`.

    Args:
        affine: voxels to RAS+ millimetres, 4x4.

    Example:
        >>> ras_reordering(np.diag([-1.0, 1.0, 1.0, 1.0]))
        Reordering(axes=(0, 1, 2), flips=(True, False, False))
    """
    axes = ras_axes(affine)
    return Reordering(axes, tuple(bool(affine[row, axis] < 0) for row, axis in enumerate(axes)))


def ras_axes(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """Which voxel axis runs left to right, which back to front, and which upwards (or the other way).

    Args:
        affine: voxels to RAS+ millimetres, 4x4.

    Returns:
        Three different axes.
    """
    steps = affine[:3, :3]
    _, axes = linear_sum_assignment(-np.abs(steps) / np.maximum(np.linalg.norm(steps, axis=0), 1e-12))
    first, second, third = (int(axis) for axis in axes)
    return first, second, third
