"""Bins: mergeable tables of counts, confidences and hits, exact at any number of voxels.

Edge rule, everywhere: bins have equal width on [0, 1], are right-closed, and 0 belongs to the first bin.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust.errors import ShapeError

__all__ = ["Bins", "bin_index", "bin_voxels"]

_CHUNK = 1 << 22


def bin_index(values: Tensor, cells: int) -> Tensor:
    """Number of the bin that each value falls into.

    Args:
        values: any shape, in [0, 1].
        cells: number of bins.

    Returns:
        int64, same shape, 0..cells-1.

    Source:
        ours; right-closed bins as in Naeini et al. 2015.

    Example:
        >>> bin_index(torch.tensor([0.0, 0.5, 0.500001, 1.0]), 2)
        tensor([0, 0, 1, 1])
    """
    return (torch.ceil(values.double() * cells) - 1).clamp_(0, cells - 1).long()


@dataclass(frozen=True, eq=False)
class Bins:
    """Totals per bin that can be added: ``counts`` int64, ``confidence`` and ``hits`` float64 sums.

    Args:
        counts: voxels per bin, ``(cells,)``.
        confidence: sum of the confidences, ``(cells,)``.
        hits: number of voxels that were right, ``(cells,)`` int64.
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    hits: NDArray[np.int64]

    @classmethod
    def empty(cls, cells: int) -> Self:
        """Totals of no voxels."""
        return cls(np.zeros(cells, np.int64), np.zeros(cells), np.zeros(cells, np.int64))

    def __add__(self, other: "Bins") -> "Bins":
        if len(self) != len(other):
            raise ShapeError(
                f"bins must have equally many cells to be added, got {len(self)} and {len(other)}."
            )
        return Bins(self.counts + other.counts, self.confidence + other.confidence, self.hits + other.hits)

    def __len__(self) -> int:
        return len(self.counts)

    def coarsen(self, cells: int) -> "Bins":
        """Join neighbouring bins.

        Args:
            cells: new number of bins; must divide the present one.

        Returns:
            Bins of the same voxels.

        Raises:
            ShapeError: if it does not divide.
        """
        if len(self) % cells:
            raise ShapeError(f"{len(self)} cells cannot be joined to {cells} equal ones. Use a divisor.")
        counts, confidence, hits = (
            a.reshape(cells, -1).sum(axis=1) for a in (self.counts, self.confidence, self.hits)
        )
        return Bins(counts, confidence, hits)

    def to_json(self) -> dict[str, list[Any]]:
        """Plain lists; :meth:`from_json` reads them back exactly."""
        return {
            "counts": self.counts.tolist(),
            "confidence": self.confidence.tolist(),
            "hits": self.hits.tolist(),
        }

    @classmethod
    def from_json(cls, document: dict[str, list[Any]]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(
            np.asarray(document["counts"], np.int64),
            np.asarray(document["confidence"], np.float64),
            np.asarray(document["hits"], np.int64),
        )


def bin_voxels(confidence: Tensor, correct: Tensor, *, cells: int = 1500) -> Bins:
    """Sort voxels into bins of confidence.

    Args:
        confidence: any shape, in [0, 1].
        correct: boolean, same shape.
        cells: number of bins; 1500 can be coarsened to 10, 15, 20, 25, 50, 100.

    Returns:
        Totals, exact in the counts at any number of voxels; peak memory is that of a chunk of 4 Mi voxels.

    Raises:
        ShapeError: if the shapes differ.

    Source:
        ours; float32 counters stop at 2^24 voxels.

    Example:
        >>> bin_voxels(torch.tensor([0.2, 0.9]), torch.tensor([False, True]), cells=2).counts
        array([1, 1])
    """
    if confidence.shape != correct.shape:
        raise ShapeError(
            f"`confidence` and `correct` must have the same shape, got {tuple(confidence.shape)} "
            f"and {tuple(correct.shape)}."
        )
    total = Bins.empty(cells)
    flat, right = confidence.reshape(-1), correct.reshape(-1)
    for begin in range(0, flat.numel(), _CHUNK):
        part, good = flat[begin : begin + _CHUNK], right[begin : begin + _CHUNK]
        index = bin_index(part, cells)
        total += Bins(
            torch.bincount(index, minlength=cells).cpu().numpy(),
            torch.bincount(index, weights=part.double(), minlength=cells).cpu().numpy(),
            torch.bincount(index[good.bool()], minlength=cells).cpu().numpy(),
        )
    return total
