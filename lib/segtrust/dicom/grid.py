"""How the voxels of a volume lie on the slices of a DICOM series: another order of axes, other directions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import DicomError

__all__ = ["Placement", "place"]

_VOXELS = 0.05  # largest distance of a corner from where it should be; affines are rounded in every format


@dataclass(frozen=True)
class Placement:
    """Exact way from a volume's voxels to a series' frames; nothing is resampled.

    ``order[k]`` is the volume's axis that runs along columns, rows and slices of the series for k = 0, 1, 2;
    ``flips[k]`` says that it runs the other way.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def to_frames(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """Bring a volume into the order of the series.

        Args:
            volume: ``(X, Y, Z)`` in its own voxel order.

        Returns:
            ``(slices, rows, columns)``, contiguous, same type.

        Example:
            >>> Placement((0, 1, 2), (False, False, True)).to_frames(np.array([[[1, 2]]])).tolist()
            [[[2]], [[1]]]
        """
        turned = np.flip(volume.transpose(self.order), [k for k, flip in enumerate(self.flips) if flip])
        return np.ascontiguousarray(turned.transpose(2, 1, 0))

    def to_volume(self, frames: NDArray[np.generic]) -> NDArray[np.generic]:
        """The way back from :meth:`to_frames`.

        Args:
            frames: ``(slices, rows, columns)``.

        Returns:
            ``(X, Y, Z)`` in the volume's own voxel order, contiguous, same type.

        Example:
            >>> Placement((0, 1, 2), (False, False, True)).to_volume(np.array([[[2]], [[1]]])).tolist()
            [[[1, 2]]]
        """
        turned = np.flip(frames.transpose(2, 1, 0), [k for k, flip in enumerate(self.flips) if flip])
        return np.ascontiguousarray(turned.transpose(np.argsort(self.order).tolist()))


def place(
    affine: NDArray[np.float64],
    shape: Sequence[int],
    series_affine: NDArray[np.float64],
    series_shape: tuple[int, int, int],
) -> Placement:
    """Find how a volume lies on a series, exactly or not at all.

    Args:
        affine: the volume's voxels to RAS+ millimetres, 4x4.
        shape: the volume's ``(X, Y, Z)``.
        series_affine: columns, rows, slices of the series to RAS+ millimetres, 4x4.
        series_shape: columns, rows, slices.

    Returns:
        The placement. With one slice the volume's direction and spacing across it are not compared, since
        files of one slice do not agree on them.

    Raises:
        DicomError: if the grids differ by more than order and direction of axes: another number of voxels,
            another spacing, angle or position (a corner more than 0.05 voxels away).
    """
    if not np.isfinite(affine).all():
        raise _other_grid("finite numbers in its affine", "an affine with NaN or infinity")
    voxels = np.linalg.solve(series_affine, affine)  # volume's voxel -> series' voxel
    if series_shape[2] == 1:
        voxels = _across_one_slice(voxels, shape)
    axes = voxels[:3, :3]
    order = np.abs(axes).argmax(axis=1)
    if sorted(order) != [0, 1, 2]:
        raise _other_grid("axes along those of the series", f"axes {np.round(axes, 3).tolist()}")
    sizes = tuple(shape[axis] for axis in order)
    if len(shape) != 3 or sizes != series_shape:
        raise _other_grid(f"{series_shape} columns, rows and slices", f"{sizes}")
    signs = np.sign(axes[range(3), order])
    exact = np.zeros((3, 4))
    exact[range(3), order] = signs
    exact[:, 3] = [n - 1 if sign < 0 else 0 for n, sign in zip(series_shape, signs, strict=True)]
    gap = _largest_gap(voxels[:3] - exact, shape)
    if gap > _VOXELS:
        raise _other_grid(
            f"voxels at the places of the series within {_VOXELS} voxels", f"one {gap:.3g} voxels away"
        )
    return Placement(
        order=(int(order[0]), int(order[1]), int(order[2])),
        flips=(bool(signs[0] < 0), bool(signs[1] < 0), bool(signs[2] < 0)),
    )


def _across_one_slice(voxels: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """The same map with an exact axis across the slice, if the volume has an axis of one voxel there."""
    flat = [axis for axis, n in enumerate(shape) if n == 1]
    if not flat:
        return voxels
    across = max(flat, key=lambda axis: abs(voxels[2, axis]))
    exact = voxels.copy()
    exact[:3, across] = (0, 0, 1)
    return exact


def _largest_gap(difference: NDArray[np.float64], shape: Sequence[int]) -> float:
    """Largest distance over the volume's corners, in the series' voxels."""
    corners = np.array(
        [[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)]
    )
    return float(np.abs(corners @ difference.T).max())


def _other_grid(wanted: str, got: str) -> DicomError:
    return DicomError(
        f"the prediction must lie on the grid of the DICOM series: it needs {wanted}, got {got}. "
        "Predict the series itself, or a file converted from it without resampling or cropping."
    )
