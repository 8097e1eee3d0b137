"""Whole-scan samples against several raters: distance of the two sets, diversity, coherence of one mask."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrust.errors import ShapeError

__all__ = ["SampleDistances", "iou_distances", "largest_part"]

Masks = NDArray[np.integer[Any]]


def iou_distances(a: Masks, b: Masks, n_structures: int = 1) -> NDArray[np.float64]:
    r"""Distance of every mask of one set to every mask of another; low means alike.

    .. math:: d(A, B) = 1 - \frac1N \sum_{k=1}^N \frac{|A_k \cap B_k|}{|A_k \cup B_k|}, \quad
              0/0 = 1

    Args:
        a: labels 0..N, ``(n, *spatial)``.
        b: labels 0..N, ``(m, *spatial)``.
        n_structures: N.

    Returns:
        ``(n, m)`` in [0, 1]; two masks without a structure agree about it.

    Raises:
        ShapeError: if the spatial shapes differ.

    Source:
        Kohl et al. 2018; Monteiro et al. 2020, section 4.

    Example:
        >>> iou_distances(np.array([[1, 1, 0]]), np.array([[1, 0, 0], [0, 0, 0]]))
        array([[0.5, 1. ]])
    """
    if a.shape[1:] != b.shape[1:]:
        raise ShapeError(f"masks must have the same spatial shape, got {a.shape[1:]} and {b.shape[1:]}.")
    total = np.zeros((len(a), len(b)))
    for value in range(1, n_structures + 1):
        one, other = (masks.reshape(len(masks), -1) == value for masks in (a, b))
        used = one.any(axis=0) | other.any(axis=0)
        one, other = one[:, used].astype(np.float64), other[:, used].astype(np.float64)
        both = one @ other.T
        either = one.sum(axis=1)[:, None] + other.sum(axis=1) - both
        total += np.divide(both, either, out=np.ones_like(both), where=either > 0)
    return 1 - total / n_structures


@dataclass(frozen=True)
class SampleDistances:
    """Distances of n samples and m raters of one scan: all that the generalised energy distance needs.

    Args:
        cross: sample to rater, ``(n, m)``.
        samples: sample to sample, ``(n, n)``.
        raters: rater to rater, ``(m, m)``.
    """

    cross: NDArray[np.float64]
    samples: NDArray[np.float64]
    raters: NDArray[np.float64]

    @classmethod
    def of(cls, samples: Masks, raters: Masks, n_structures: int = 1) -> Self:
        """Compare the masks of one scan.

        Args:
            samples: labels ``(n, *spatial)``.
            raters: labels ``(m, *spatial)``.
            n_structures: N, labels are 0..N.

        Returns:
            All distances.

        Raises:
            ShapeError: if the spatial shapes differ.
        """
        pairs = ((samples, raters), (samples, samples), (raters, raters))
        return cls(*(iou_distances(a, b, n_structures) for a, b in pairs))

    def first(self, n: int) -> "SampleDistances":
        """The same with the first n samples only."""
        return SampleDistances(self.cross[:n], self.samples[:n, :n], self.raters)

    @property
    def diversity(self) -> float:
        """Mean distance of two different samples; high means varied; NaN for one sample."""
        n = len(self.samples)
        return float(self.samples.sum() / (n * (n - 1))) if n > 1 else math.nan

    @property
    def ged(self) -> float:
        r"""Squared generalised energy distance as the literature reports it; low is good.

        .. math:: 2 E\,d(S, Y) - E\,d(S, S') - E\,d(Y, Y'), \quad \text{over all pairs, } i = j \text{ too}

        Biased upwards by :math:`E\,d(S, S') / n`, so that methods are compared at equal n only.

        Returns:
            In [0, 2].

        Source:
            Kohl et al. 2018; the V-statistic of Székely & Rizzo.
        """
        return float(2 * self.cross.mean() - self.samples.mean() - self.raters.mean())

    @property
    def ged_unbiased(self) -> float:
        """The same without the bias: pairs of different samples only; the raters are all there are.

        Returns:
            May fall below 0; NaN for one sample.

        Source:
            the U-statistic of Székely & Rizzo, in the samples.
        """
        return float(2 * self.cross.mean() - self.diversity - self.raters.mean())


def largest_part(mask: NDArray[Any]) -> float:
    """Share of the foreground in its largest connected part; high means in one piece.

    Args:
        mask: any shape; above 0 is foreground; parts that touch at a corner are one.

    Returns:
        In (0, 1]; NaN without foreground.

    Example:
        >>> largest_part(np.array([[1, 1, 1, 0, 1]]))
        0.75
    """
    parts, _ = ndimage.label(mask > 0, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(parts.reshape(-1))[1:]
    return float(sizes.max() / sizes.sum()) if len(sizes) else math.nan
