"""Overlap and volume of masks, from counts that can be added."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ProbabilityError, ShapeError

__all__ = ["Confusion", "dice_of_sets", "dice_per_structure"]

_CHUNK = 1 << 16

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Confusion:
    """Voxels by predicted and by reference label, ``(N + 1, N + 1)`` int64; can be added.

    Added over scans it gives the pooled ("micro") Dice; the mean over scans ("macro") comes from each alone.
    Structures that overlap (a sigmoid head) are counted one at a time, each as a mask of 0 and 1.
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls, predicted: Labels, reference: Labels, n_structures: int, *, ignore: int | None = None
    ) -> "Confusion":
        """Count the voxels of one scan.

        Args:
            predicted: labels 0..N, any shape.
            reference: labels 0..N, same shape.
            n_structures: N.
            ignore: value of ``reference`` whose voxels take no part; none unless given.

        Returns:
            Counts; the peak memory is that of 64 Ki voxels.

        Raises:
            ShapeError: if the shapes differ.
            ProbabilityError: if a label is outside 0..N.
        """
        if predicted.shape != reference.shape:
            raise ShapeError(
                f"`predicted` and `reference` must have the same shape, got {predicted.shape} "
                f"and {reference.shape}."
            )
        size = n_structures + 1
        counts = np.zeros(size * size, np.int64)
        one, two = predicted.reshape(-1), reference.reshape(-1)
        for begin in range(0, one.size, _CHUNK):
            part = slice(begin, begin + _CHUNK)
            p, r = one[part], two[part]
            if ignore is not None:
                rated = r != ignore
                p, r = p[rated], r[rated]
            if p.size:
                _check_range(p, r, n_structures)
                counts += np.bincount(p.astype(np.intp) * size + r, minlength=size * size)
        return cls(counts.reshape(size, size))

    def __add__(self, other: "Confusion") -> "Confusion":
        if self.counts.shape != other.counts.shape:
            raise ShapeError(
                "counts must be of equally many structures to be added, got "
                f"{len(self.counts) - 1} and {len(other.counts) - 1}."
            )
        return Confusion(self.counts + other.counts)

    def dice(self) -> NDArray[np.float64]:
        r"""Dice coefficient of every structure, ``(N,)``; high is good.

        .. math:: D_k = 2 |P_k \cap R_k| / (|P_k| + |R_k|)

        NaN where neither has the structure (leave it out and count it), 0 where only one has it.
        """
        both = np.diag(self.counts)[1:]
        size = (self.counts.sum(axis=0) + self.counts.sum(axis=1))[1:]
        return np.where(size > 0, 2 * both / np.maximum(size, 1), np.nan)

    def volumes(self, spacing: Sequence[float] | None = None) -> tuple[NDArray[np.float64], ...]:
        """Predicted and reference volume of every structure, ``(N,)`` each.

        Args:
            spacing: millimetres per voxel; ``None`` counts voxels.

        Returns:
            In ml (square centimetres in 2-D), or in voxels. Their difference is the volume error, above 0
            where too much was predicted; the relative one is their difference over the reference.
        """
        voxel = 1.0 if spacing is None else float(np.prod([mm / 10 for mm in spacing]))
        return self.counts.sum(axis=1)[1:] * voxel, self.counts.sum(axis=0)[1:] * voxel


def _check_range(predicted: Labels, reference: Labels, n_structures: int) -> None:
    for name, labels in (("predicted", predicted), ("reference", reference)):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > n_structures:
            raise ProbabilityError(
                f"`{name}` must hold labels from 0 to {n_structures}, got {low} to {high}. "
                "Does the file use other values than the model? Map them first, or name one as `ignore`."
            )


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
        ProbabilityError: if a label is outside 0..N.

    Source:
        Dice 1945.

    Example:
        >>> dice_per_structure(np.array([1, 1, 0]), np.array([1, 0, 0]), 1).round(4)
        array([0.6667])
    """
    return Confusion.of(predicted, reference, n_structures).dice()


def dice_of_sets(predicted: NDArray[np.bool_], reference: NDArray[np.bool_]) -> NDArray[np.float64]:
    r"""Dice coefficient of structures that may overlap, such as nested regions; high is good.

    .. math:: D_k = 2 |P_k \cap R_k| / (|P_k| + |R_k|)

    Args:
        predicted: voxels of each structure, ``(N, *spatial)`` booleans.
        reference: the same of the reference.

    Returns:
        ``(N,)`` in [0, 1]; NaN where neither has the structure, 0 where only one has it.

    Raises:
        ShapeError: if the shapes differ.

    Source:
        Dice 1945; regions as in BraTS (Menze et al. 2015).

    Example:
        >>> whole_and_core = np.array([[True, True, True], [False, True, True]])
        >>> dice_of_sets(whole_and_core, np.array([[True, True, True], [False, False, True]])).round(4)
        array([1.    , 0.6667])
    """
    if predicted.shape != reference.shape:
        raise ShapeError(
            f"`predicted` and `reference` must have the same shape, got {predicted.shape} and "
            f"{reference.shape}."
        )
    both = np.array([np.count_nonzero(p & r) for p, r in zip(predicted, reference, strict=True)], np.int64)
    size = np.array(
        [np.count_nonzero(p) + np.count_nonzero(r) for p, r in zip(predicted, reference, strict=True)],
        np.int64,
    )
    return np.where(size > 0, 2 * both / np.maximum(size, 1), np.nan)
