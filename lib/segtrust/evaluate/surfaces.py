"""Distances between the surfaces of masks, by MONAI's functions; spacing decides the millimetres."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor

from segtrust.errors import ShapeError

__all__ = ["hausdorff_95", "surface_dice"]

Labels = NDArray[np.integer[Any]]


def hausdorff_95(
    predicted: Labels, reference: Labels, n_structures: int, spacing: Sequence[float]
) -> NDArray[np.float64]:
    """95th percentile of the distances between the surfaces of every structure, the larger of both ways; low is good.

    Args:
        predicted: labels 0..N, ``(X, Y)`` or ``(X, Y, Z)``.
        reference: labels, same shape.
        n_structures: N.
        spacing: millimetres per voxel, one number per axis.

    Returns:
        ``(N,)`` millimetres; NaN where neither has the structure, infinity where only one has it: leave both
        out of a mean, and count them.

    Raises:
        ShapeError: if the axes do not fit.

    Source:
        Huttenlocher et al. 1993; MONAI's ``compute_hausdorff_distance``. A surface voxel is a voxel of the
        mask that touches the outside with a face; numpy's linear percentile.

    Example:
        >>> hausdorff_95(np.eye(4, dtype=int)[:1], np.eye(4, dtype=int)[2:3], 1, (1.0, 3.0))
        array([6.])
    """
    return _per_structure(predicted, reference, n_structures, spacing, _hausdorff, one_missing=np.inf)


def surface_dice(
    predicted: Labels, reference: Labels, n_structures: int, spacing: Sequence[float], *, tolerance: float
) -> NDArray[np.float64]:
    """Share of both surfaces of every structure that lies within a tolerance of the other one; high is good.

    Args:
        predicted: labels 0..N, ``(X, Y)`` or ``(X, Y, Z)``.
        reference: labels, same shape.
        n_structures: N.
        spacing: millimetres per voxel, one number per axis.
        tolerance: millimetres that two raters may differ by.

    Returns:
        ``(N,)`` in [0, 1]; NaN where neither has the structure, 0 where only one has it.

    Raises:
        ShapeError: if the axes do not fit.

    Source:
        Nikolov et al. 2018, normalised surface distance; MONAI's ``compute_surface_dice``, which counts
        surface voxels where Nikolov et al. weigh them by their area.

    Example:
        >>> surface_dice(np.eye(4, dtype=int)[:1], np.eye(4, dtype=int)[2:3], 1, (1.0, 3.0), tolerance=6.0)
        array([1.])
    """

    def within(one: Tensor, two: Tensor, size: list[float]) -> Tensor:
        return compute_surface_dice(one, two, [tolerance], include_background=True, spacing=size)

    return _per_structure(predicted, reference, n_structures, spacing, within, one_missing=0.0)


def _hausdorff(one: Tensor, two: Tensor, size: list[float]) -> Tensor:
    return compute_hausdorff_distance(one, two, include_background=True, percentile=95, spacing=size)


def _per_structure(
    predicted: Labels,
    reference: Labels,
    n_structures: int,
    spacing: Sequence[float],
    measure: Callable[[Tensor, Tensor, list[float]], Tensor],
    *,
    one_missing: float,
) -> NDArray[np.float64]:
    if predicted.shape != reference.shape or predicted.ndim != len(spacing):
        raise ShapeError(
            "`predicted` and `reference` must have the same shape and `spacing` one number per axis, got "
            f"{predicted.shape}, {reference.shape} and {len(spacing)} numbers."
        )
    found = np.full(n_structures, np.nan)
    for index in range(n_structures):
        one, two = (labels == index + 1 for labels in (predicted, reference))
        if one.any() and two.any():
            (box,) = find_objects((one | two).astype(np.uint8))
            tensors = [torch.from_numpy(mask[box])[None, None] for mask in (one, two)]
            with warnings.catch_warnings():  # MONAI 1.6 warns of an argument that it passes to itself
                warnings.simplefilter("ignore", FutureWarning)
                found[index] = float(measure(tensors[0], tensors[1], [float(mm) for mm in spacing]))
        elif one.any() or two.any():
            found[index] = one_missing
    return found
