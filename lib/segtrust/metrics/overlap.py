"""Overlap of masks; high is good."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ShapeError

__all__ = ["dice_per_structure"]


def dice_per_structure(
    predicted: NDArray[np.integer[Any]], reference: NDArray[np.integer[Any]], n_structures: int
) -> NDArray[np.float64]:
    r"""Dice coefficient of every structure; high is good.

    .. math:: D_k = 2 |P_k \cap R_k| / (|P_k| + |R_k|)

    Args:
        predicted: labels, any shape.
        reference: labels, same shape.
        n_structures: N; structures have the values 1..N.

    Returns:
        ``(N,)`` in [0, 1]; NaN where neither has the structure, 0 where only one has it.

    Raises:
        ShapeError: if the shapes differ.

    Source:
        Dice 1945.

    Example:
        >>> dice_per_structure(np.array([1, 1, 0]), np.array([1, 0, 0]), 1).round(4)
        array([0.6667])
    """
    if predicted.shape != reference.shape:
        raise ShapeError(
            f"`predicted` and `reference` must have the same shape, got {predicted.shape} "
            f"and {reference.shape}."
        )
    values = np.arange(1, n_structures + 1)
    p = np.bincount(predicted.reshape(-1), minlength=n_structures + 1)[values]
    r = np.bincount(reference.reshape(-1), minlength=n_structures + 1)[values]
    both = np.bincount(predicted[predicted == reference].reshape(-1), minlength=n_structures + 1)[values]
    size = p + r
    return np.where(size > 0, 2 * both / np.maximum(size, 1), np.nan)
