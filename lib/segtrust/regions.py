"""Where a figure is measured: regions of the native grid, in millimetres, chosen by the prediction.

A region chosen with the reference makes even a perfect model look miscalibrated, so only ``bbox`` does that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

__all__ = [
    "BAND_MM",
    "TOLERANCE_MM",
    "Regions",
    "bounding_box",
    "distance_to",
    "distance_to_boundary",
    "in_band",
    "main_parts",
    "make_regions",
    "missed_voxels",
    "within",
]

TOLERANCE_MM = 1e-3
"""Slack of every comparison with a distance: spacings are stored rounded, and five voxels of 1.0000001 mm are
5 mm."""
BAND_MM = 5.0
BOUNDARY_MM = 3.0
BBOX_MM = 10.0
_LEAST_PART = 8  # voxels: 2 x 2 x 2

Mask = NDArray[np.bool_]
Spacing = Sequence[float] | None


@dataclass(frozen=True)
class Regions:
    """Boolean masks on the native grid, by name; ``names`` tells millimetres from voxels.

    With unknown spacing the band is 5 in-plane voxels wide and is called ``band_5vox``.
    """

    masks: dict[str, Mask]
    predicted: bool

    @property
    def band_name(self) -> str:
        """``band`` or ``band_5vox``."""
        return next(name for name in self.masks if name.startswith("band"))

    @property
    def band(self) -> Mask:
        """The band, whatever its name."""
        return self.masks[self.band_name]


def distance_to(mask: Mask, spacing: Spacing) -> NDArray[np.float32]:
    """Euclidean distance of every voxel to the nearest voxel of a mask.

    Args:
        mask: boolean, ``(X, Y, Z)``.
        spacing: millimetres per voxel; ``None`` measures in voxels.

    Returns:
        ``(X, Y, Z)`` float32, millimetres (or voxels); 0 inside, infinity everywhere if the mask is empty.

    Note:
        ``scipy.ndimage.distance_transform_edt``.

    Example:
        >>> distance_to(np.array([True, False, False]), (2.0,))
        array([0., 2., 4.], dtype=float32)
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return distance.astype(np.float32)


@overload
def within(distance: Tensor, reach: float) -> Tensor: ...
@overload
def within(distance: NDArray[np.floating[Any]], reach: float) -> NDArray[np.bool_]: ...
def within(distance: Any, reach: float) -> Any:  # array or tensor, as above
    """Which distances are at most ``reach``: the one place that compares millimetres with a limit.

    Args:
        distance: of :func:`distance_to` or the like; array or tensor.
        reach: millimetres, or voxels where the distance is in voxels.

    Returns:
        Booleans of the same kind and shape. A distance that exceeds the limit by no more than
        :data:`TOLERANCE_MM` counts as equal to it, so that a spacing that a file stores rounded to four
        decimals moves no voxel that lies on the limit.

    Example:
        >>> within(np.array([3.0, 3.0009, 3.01]), 3)
        array([ True,  True, False])
    """
    return distance <= reach + TOLERANCE_MM


@overload
def in_band(distance: Tensor) -> Tensor: ...
@overload
def in_band(distance: NDArray[np.floating[Any]]) -> NDArray[np.bool_]: ...
def in_band(distance: Any) -> Any:  # array or tensor, as above
    """Which voxels are near the prediction: the one place that says how far the band reaches.

    Args:
        distance: to the predicted foreground, of :func:`distance_to`; array or tensor.

    Returns:
        Booleans of the same kind and shape: :func:`within` 5 mm, or 5 voxels where the spacing is unknown.

    Example:
        >>> in_band(np.array([0.0, 5.0, 5.5]))
        array([ True,  True, False])
    """
    return within(distance, BAND_MM)


def main_parts(labels: NDArray[np.integer[Any]], share: float) -> Mask:
    """The predicted foreground without specks: a false voxel far from everything is none of its parts.

    Args:
        labels: predicted labels, ``(*spatial)``, 0 = background.
        share: of what the part richest in a structure holds of it, in (0, 1].

    Returns:
        Boolean, same shape: connected parts of all structures together (diagonal neighbours too) that have
        at least 8 voxels, and that hold of some structure at least ``share`` of what the part richest in it
        holds. All of the foreground if no part is like that.

    Example:
        >>> main_parts(np.array([1] * 9 + [0, 0, 2]), 0.1).sum()
        9
    """
    foreground = labels > 0
    parts, count = ndimage.label(foreground, structure=np.ones((3,) * labels.ndim))
    if count < 2:
        return foreground
    inside = parts[foreground]
    of, number = np.unique(labels[foreground], return_inverse=True)
    held = np.bincount(inside * len(of) + number, minlength=(count + 1) * len(of)).reshape(count + 1, -1)
    held = held[1:]
    main = (held >= share * held.max(axis=0)) & (held > 0)
    chosen = main.any(axis=1) & (held.sum(axis=1) >= _LEAST_PART)
    return np.append(False, chosen)[parts] if chosen.any() else foreground


def distance_to_boundary(mask: Mask, spacing: Spacing) -> NDArray[np.float32]:
    """Distance of every voxel to the nearest voxel on the other side of the edge of a mask.

    Args:
        mask: boolean, ``(X, Y, Z)``; the *predicted* foreground wherever a figure is measured by it.
        spacing: millimetres per voxel; ``None`` measures in voxels.

    Returns:
        ``(X, Y, Z)`` float32, millimetres (or voxels), above 0; infinity everywhere if the mask is empty or
        full.

    Example:
        >>> distance_to_boundary(np.array([True, True, False, False]), (2.0,))
        array([4., 2., 2., 4.], dtype=float32)
    """
    return np.where(mask, distance_to(~mask, spacing), distance_to(mask, spacing))


def make_regions(
    predicted: NDArray[np.integer[Any]],
    spacing: Spacing,
    *,
    valid: Mask | None = None,
    reference: NDArray[np.integer[Any]] | None = None,
) -> Regions:
    """Regions of one scan.

    Args:
        predicted: predicted labels, ``(X, Y, Z)``, 0 = background. For several models pass their union.
        spacing: millimetres per voxel; ``None`` if unknown.
        valid: voxels that are no padding; all unless given.
        reference: reference labels; adds ``bbox``.

    Returns:
        ``volume``; ``band`` (within 5 mm of the predicted foreground; ``band_5vox`` without spacing);
        ``outside`` (the rest); ``boundary`` (within 3 mm of the predicted boundary); ``bbox`` if asked for.
        With an empty prediction ``band`` and ``boundary`` are empty.

    Source:
        ``bbox`` as in Mehrtash et al. 2020, reference box plus 10 mm.
    """
    volume = np.ones(predicted.shape, dtype=bool) if valid is None else valid
    foreground = predicted > 0
    band = in_band(distance_to(foreground, spacing)) & volume
    boundary = within(distance_to_boundary(foreground, spacing), BOUNDARY_MM) & volume
    masks = {
        "band" if spacing is not None else "band_5vox": band,
        "outside": volume & ~band,
        "volume": volume,
        "boundary": boundary,
    }
    if reference is not None:
        masks["bbox"] = bounding_box(reference > 0, spacing) & volume
    return Regions(masks, bool(foreground.any()))


def bounding_box(mask: Mask, spacing: Spacing, *, margin: float = BBOX_MM) -> Mask:
    """Box around a mask, widened on every side.

    Args:
        mask: boolean, any number of axes.
        spacing: millimetres per voxel; ``None`` takes 1.
        margin: millimetres added on each side.

    Returns:
        Boolean, same shape; empty if the mask is.

    Source:
        Mehrtash et al. 2020 measure inside such a box.
    """
    box = np.zeros(mask.shape, dtype=bool)
    if not mask.any():
        return box
    size = spacing or (1.0,) * mask.ndim
    slices = []
    for axis, mm in enumerate(size):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        pad = int((margin + TOLERANCE_MM) / mm + 0.5)  # to the nearest voxel, halves outwards
        slices.append(slice(max(0, hit[0] - pad), hit[-1] + 1 + pad))
    box[tuple(slices)] = True
    return box


def missed_voxels(reference: NDArray[np.integer[Any]], outside: Mask) -> tuple[int, float]:
    """Reference voxels that lie outside the band: what no map near the prediction can show.

    Args:
        reference: reference labels.
        outside: the region ``outside``.

    Returns:
        Their number, and their share of all reference voxels (0 if there are none).
    """
    count = int(np.count_nonzero((reference > 0) & outside))
    total = int(np.count_nonzero(reference > 0))
    return count, count / total if total else 0.0
