"""Distances between the surfaces of masks, in millimetres; without a spacing there are none."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects, generate_binary_structure

from segtrust.errors import ShapeError
from segtrust.regions import BOUNDARY_MM, within

__all__ = ["SURFACE_FIGURES", "SURFACE_TOLERANCE_MM", "surface_figures"]

Labels = NDArray[np.integer[Any]]

SURFACE_FIGURES = ("hd95", "surface_dice")
"""What is measured of surfaces: 95th percentile of distances in mm, share within the tolerance."""

SURFACE_TOLERANCE_MM = BOUNDARY_MM
"""How far two surfaces may be apart and count as one, as far as ``boundary`` reaches and as TotalSegmentator
(Wasserthal et al. 2023) reports it."""


def surface_figures(
    predicted: Labels,
    reference: Labels,
    n_structures: int,
    spacing: Sequence[float],
    *,
    tolerance: float = SURFACE_TOLERANCE_MM,
) -> dict[str, NDArray[np.float64]]:
    """Hausdorff distance (95th percentile, low is good) and surface Dice (high is good) of every structure.

    Args:
        predicted: labels 0..N, ``(X, Y)`` or ``(X, Y, Z)``.
        reference: labels, same shape.
        n_structures: N.
        spacing: millimetres per voxel, one number per axis.
        tolerance: millimetres within which two surfaces count as one.

    Returns:
        ``hd95``, ``(N,)`` millimetres: the larger of both ways; NaN where neither has the structure, infinity
        where only one has it: leave both out of a mean, and count them. ``surface_dice``, ``(N,)`` in [0, 1]:
        share of both surfaces that lies within the tolerance of the other one; NaN where neither has the
        structure, 0 where only one has it.

    Raises:
        ShapeError: if the axes do not fit.

    Source:
        Huttenlocher et al. 1993; Nikolov et al. 2018, normalised surface distance. As in MONAI, a surface
        voxel is a voxel of the mask that touches the outside with a face, percentiles are numpy's linear
        ones, and surface voxels are counted where Nikolov et al. weigh them by their area.

    Example:
        >>> surface_figures(np.eye(4, dtype=int)[:1], np.eye(4, dtype=int)[2:3], 1, (1.0, 3.0))["hd95"]
        array([6.])
    """
    if predicted.shape != reference.shape or predicted.ndim != len(spacing):
        raise ShapeError(
            "`predicted` and `reference` must have the same shape and `spacing` one number per axis, got "
            f"{predicted.shape}, {reference.shape} and {len(spacing)} numbers."
        )
    hd95, share = np.full(n_structures, np.nan), np.full(n_structures, np.nan)
    for index in range(n_structures):
        one, two = (labels == index + 1 for labels in (predicted, reference))
        if one.any() and two.any():
            there, back = _distances(one, two, spacing)
            hd95[index] = max(np.percentile(there, 95), np.percentile(back, 95))
            share[index] = within(np.concatenate([there, back]), tolerance).mean()
        elif one.any() or two.any():
            hd95[index], share[index] = np.inf, 0.0
    return {"hd95": hd95, "surface_dice": share}


def _distances(
    one: NDArray[np.bool_], two: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Millimetres from every surface voxel of each mask to the surface of the other."""
    (box,) = find_objects((one | two).astype(np.uint8))
    first, second = _surface(one[box]), _surface(two[box])
    there = distance_transform_edt(~second, sampling=spacing)[first]
    back = distance_transform_edt(~first, sampling=spacing)[second]
    return there, back


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner: NDArray[np.bool_] = binary_erosion(mask, generate_binary_structure(mask.ndim, 1), border_value=0)
    return mask & ~inner
