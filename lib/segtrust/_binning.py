"""Bins: mergeable tables of counts, confidences and hits, exact at any number of voxels.

Edge rule, everywhere: bins have equal width on [0, 1], are right-closed, and 0 belongs to the first bin.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segtrust.errors import ShapeError

__all__ = ["Bins", "bin_index", "bin_voxels"]

_CHUNK = 1 << 15  # the tables and a chunk fit a processor's cache


def bin_index(values: Tensor, cells: int) -> Tensor:
    """Number of the bin that each value falls into.

    Args:
        values: any shape, in [0, 1].
        cells: number of bins.

    Returns:
        int64, same shape, 0..cells-1.

    Source:
        Right-closed bins as in Naeini et al. 2015.

    Example:
        >>> import torch
        >>> bin_index(torch.tensor([0.0, 0.5, 0.500001, 1.0]), 2)
        tensor([0, 0, 1, 1])
    """
    return (values.double() * cells).ceil_().sub_(1).clamp_(0, cells - 1).long()


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

    def equal_mass(self, bins: int) -> "Bins":
        """Join neighbouring cells to bins that hold about as many voxels each.

        Args:
            bins: number of bins wanted; cells are never split, so that ties leave fewer.

        Returns:
            Bins of the same voxels, none of them empty. The gap functions take them as they take any others.

        Source:
            Nguyen & O'Connor 2015; Nixon et al. 2019. With one voxel per cell these are the bins of
            ``numpy.array_split`` if ``bins`` divides the number of voxels.
        """
        full = self.counts > 0
        counts = self.counts[full]
        middle = np.cumsum(counts) - (counts - 1) / 2
        place = np.ceil(middle * bins / max(1, counts.sum())).astype(np.int64) - 1
        first = np.flatnonzero(np.diff(place, prepend=-1))
        return Bins(
            *(np.add.reduceat(part[full], first) for part in (self.counts, self.confidence, self.hits))
        )

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
        Totals, exact in the counts at any number of voxels; the peak memory is that of 32 Ki voxels.

    Raises:
        ShapeError: if the shapes differ.

    Note:
        Float32 counters stop at 2^24 voxels.

    Example:
        >>> import torch
        >>> bin_voxels(torch.tensor([0.2, 0.9]), torch.tensor([False, True]), cells=2).counts
        array([1, 1])
    """
    if confidence.shape != correct.shape:
        raise ShapeError(
            f"`confidence` and `correct` must have the same shape, got {tuple(confidence.shape)} "
            f"and {tuple(correct.shape)}."
        )
    counts, sums = np.zeros(2 * cells, np.int64), np.zeros(2 * cells)
    flat, right = confidence.reshape(-1), correct.reshape(-1)
    for begin in range(0, flat.numel(), _CHUNK):
        part = flat[begin : begin + _CHUNK].double()
        wrong = ~right[begin : begin + _CHUNK].bool()
        cell = (
            bin_index(part, cells).add_(wrong, alpha=cells).cpu().numpy()
        )  # the wrong ones behind the right
        counts += np.bincount(cell, minlength=2 * cells)
        sums += np.bincount(cell, part.cpu().numpy(), 2 * cells)
    return Bins(counts[:cells] + counts[cells:], sums[:cells] + sums[cells:], counts[:cells])
