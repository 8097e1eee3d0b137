"""Does uncertainty find the wrong voxels? From two histograms that can be added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._binning import bin_index

__all__ = ["ErrorHistogram", "error_auroc"]

_CELLS = 4096


@dataclass(frozen=True, eq=False)
class ErrorHistogram:
    """Counts of wrong and right voxels per cell of uncertainty; int64, can be added."""

    wrong: NDArray[np.int64]
    right: NDArray[np.int64]

    def __add__(self, other: "ErrorHistogram") -> "ErrorHistogram":
        return ErrorHistogram(self.wrong + other.wrong, self.right + other.right)

    def to_json(self) -> dict[str, list[list[int]]]:
        """``[cell, count]`` of every cell that is not empty; :meth:`from_json` reads them back."""
        parts = {"wrong": self.wrong, "right": self.right}
        return {
            name: [[int(cell), int(part[cell])] for cell in np.flatnonzero(part)]
            for name, part in parts.items()
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Sequence[Sequence[int]]]) -> "ErrorHistogram":
        """Read what :meth:`to_json` wrote."""
        parts = {name: np.zeros(_CELLS, np.int64) for name in ("wrong", "right")}
        for name, part in parts.items():
            for cell, count in document[name]:
                part[cell] = count
        return cls(**parts)

    @classmethod
    def of(cls, uncertainty: Tensor, wrong: Tensor) -> "ErrorHistogram":
        """Count voxels.

        Args:
            uncertainty: in [0, 1], high means unsure, any shape.
            wrong: boolean, same shape.

        Returns:
            Histograms of 4096 cells.
        """
        index, bad = bin_index(uncertainty.reshape(-1), _CELLS), wrong.reshape(-1).bool()
        return cls(
            torch.bincount(index[bad], minlength=_CELLS).numpy(),
            torch.bincount(index[~bad], minlength=_CELLS).numpy(),
        )


def error_auroc(histogram: ErrorHistogram) -> float:
    """Chance that a wrong voxel is less sure than a right one; high is good, ties count half.

    Args:
        histogram: counts.

    Returns:
        Unitless, in [0, 1]; NaN if no voxel or every voxel is wrong.

    Source:
        Mann-Whitney; exact up to the width of a cell.

    Example:
        >>> error_auroc(ErrorHistogram.of(torch.tensor([0.9, 0.1]), torch.tensor([True, False])))
        1.0
    """
    n_wrong, n_right = int(histogram.wrong.sum()), int(histogram.right.sum())
    if not n_wrong or not n_right:
        return float("nan")
    below = np.cumsum(histogram.right) - histogram.right
    won = (histogram.wrong * (below + histogram.right / 2)).sum(dtype=np.float64)
    return float(won / n_wrong / n_right)
