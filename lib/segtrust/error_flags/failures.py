"""In what way a label is wrong: at the border, deep inside, swapped, missed, or invented."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrust.errors import ShapeError
from segtrust.regions import distance_to

__all__ = ["FAILURES", "failure_map"]

FAILURES = (
    "right",
    "boundary_1",
    "boundary_2",
    "deep",
    "class_swap",
    "missed_component",
    "spurious_component",
)
"""Names of the values of :func:`failure_map`."""

Labels = NDArray[np.integer[Any]]


def failure_map(predicted: Labels, reference: Labels) -> NDArray[np.uint8]:
    """Sort every voxel by the way in which its label is wrong; each has one kind.

    Args:
        predicted: labels, ``(X, Y, Z)``, 0 = background.
        reference: labels, same shape.

    Returns:
        ``(X, Y, Z)`` uint8, index into :data:`FAILURES`: ``class_swap``: both are structures, another one;
        ``missed_component``: in a connected part of a reference structure (voxels that share a face) in
        which no structure was predicted; ``spurious_component``: in a part of a predicted structure in which
        the reference has none; else ``boundary_1``, ``boundary_2`` or ``deep``: at most 1, at most 2, more
        than 2 voxels away from where the reference would agree.

    Raises:
        ShapeError: if the shapes differ.

    Example:
        >>> kinds = failure_map(np.array([[[1, 1, 1, 0, 0]]]), np.array([[[1, 0, 0, 0, 1]]]))
        >>> [FAILURES[kind] for kind in kinds.ravel()]
        ['right', 'boundary_1', 'boundary_2', 'right', 'missed_component']
    """
    if predicted.shape != reference.shape:
        raise ShapeError(
            f"`predicted` and `reference` must have the same shape, got {predicted.shape} "
            f"and {reference.shape}."
        )
    inside, there = predicted > 0, reference > 0
    kinds = np.zeros(predicted.shape, np.uint8)
    border = inside != there
    away = np.where(there, distance_to(~there, None), distance_to(there, None))
    for name, within in (("deep", np.inf), ("boundary_2", 2), ("boundary_1", 1)):
        kinds[border & (away <= within)] = FAILURES.index(name)
    kinds[_parts_apart(reference, inside)] = FAILURES.index("missed_component")
    kinds[_parts_apart(predicted, there)] = FAILURES.index("spurious_component")
    kinds[inside & there & (predicted != reference)] = FAILURES.index("class_swap")
    return kinds


def _parts_apart(labels: Labels, other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the connected parts of each structure that share no voxel with a mask."""
    apart = np.zeros(labels.shape, bool)
    for value in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == value)
        touched = np.bincount(parts[other], minlength=count + 1) > 0
        touched[0] = True
        apart |= ~touched[parts]
    return apart
