"""Does uncertainty find the wrong voxels? From two histograms that can be added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma
from torch import Tensor

from segtrust._binning import bin_index
from segtrust._checks import check_same_space

__all__ = ["DetectionLimits", "ErrorHistogram", "detection_limits", "error_aupr", "error_auroc", "error_fpr"]

_CELLS = 4096
_CHUNK = 1 << 15


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
            Histograms of 4096 cells; the peak memory is that of 32 Ki voxels.

        Raises:
            ShapeError: if the shapes differ.
        """
        check_same_space("uncertainty", uncertainty, "wrong", wrong)
        flat, bad = uncertainty.reshape(-1), wrong.reshape(-1)
        counts = np.zeros(2 * _CELLS, np.int64)
        for begin in range(0, flat.numel(), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            cell = bin_index(flat[part], _CELLS).add_(bad[part].bool(), alpha=_CELLS)
            counts += np.bincount(cell.cpu().numpy(), minlength=2 * _CELLS)
        return cls(counts[_CELLS:], counts[:_CELLS])


def error_auroc(histogram: ErrorHistogram) -> float:
    """Chance that a wrong voxel is less sure than a right one; high is good, ties count half.

    Args:
        histogram: counts.

    Returns:
        Unitless, in [0, 1]; NaN if no voxel or every voxel is wrong.

    Source:
        Mann-Whitney; exact up to the width of a cell.

    Example:
        >>> import torch
        >>> error_auroc(ErrorHistogram.of(torch.tensor([0.9, 0.1]), torch.tensor([True, False])))
        1.0
    """
    n_wrong, n_right = int(histogram.wrong.sum()), int(histogram.right.sum())
    if not n_wrong or not n_right:
        return float("nan")
    below = np.cumsum(histogram.right) - histogram.right
    won = (histogram.wrong * (below + histogram.right / 2)).sum(dtype=np.float64)
    return float(won / n_wrong / n_right)


def error_aupr(histogram: ErrorHistogram) -> float:
    r"""Mean precision among the least sure voxels, over the wrong ones found; high is good.

    .. math:: \sum_c (R_c - R_{c+1}) P_c, \quad \text{cells } c \text{ from the least sure down}

    What a score without information reaches is the share of wrong voxels, so compare on the same voxels only.

    Args:
        histogram: counts.

    Returns:
        Unitless, in [0, 1]; NaN if no voxel is wrong.

    Source:
        average precision, Davis & Goadrich 2006; scikit-learn's ``average_precision_score`` of the cells.

    Example:
        >>> import torch
        >>> error_aupr(ErrorHistogram.of(torch.tensor([0.9, 0.5, 0.1]), torch.tensor([True, False, True])))
        0.8333333333333333
    """
    wrong, right = histogram.wrong[::-1], histogram.right[::-1]
    hits = np.cumsum(wrong)
    flagged = hits + np.cumsum(right)
    return float((wrong * hits / np.maximum(flagged, 1)).sum() / hits[-1]) if hits[-1] else float("nan")


def error_fpr(histogram: ErrorHistogram, *, recall: float = 0.95) -> float:
    """Share of the right voxels that are flagged when at least this share of the wrong ones is; low is good.

    Args:
        histogram: counts.
        recall: share of the wrong voxels to be found; 0.95 gives FPR95.

    Returns:
        Unitless, in [0, 1]; NaN if no voxel or every voxel is wrong.

    Source:
        Liang et al. 2018 (ODIN), FPR at 95 % TPR; the highest threshold that reaches the recall.

    Example:
        >>> import torch
        >>> error_fpr(ErrorHistogram.of(torch.tensor([0.9, 0.5, 0.1]), torch.tensor([True, False, False])))
        0.0
    """
    return _fpr_limits(histogram, recall)[1]


def _fpr_limits(histogram: ErrorHistogram, recall: float) -> tuple[float, float]:
    wrong, right = histogram.wrong[::-1], histogram.right[::-1]
    n_wrong, n_right = int(wrong.sum()), int(right.sum())
    if not n_wrong or not n_right:
        return float("nan"), float("nan")
    reached = int(np.argmax(np.cumsum(wrong) >= recall * n_wrong))
    return float(right[:reached].sum() / n_right), float(right[: reached + 1].sum() / n_right)


class DetectionLimits(NamedTuple):
    """Lowest and highest value that an exact sort of the voxels could give, ``(low, high)`` each."""

    auroc: tuple[float, float]
    aupr: tuple[float, float]
    fpr95: tuple[float, float]


def detection_limits(histogram: ErrorHistogram) -> DetectionLimits:
    """How far the cells of a histogram can have moved AUROC, AUPR and FPR95: strict limits.

    Inside a cell nothing is known about the order; the limits are those of the worst and the best one.

    Args:
        histogram: counts.

    Returns:
        Limits that hold for any order and any ties inside the cells; NaN where the figure is.

    Example:
        >>> import torch
        >>> tied = ErrorHistogram.of(torch.tensor([0.9, 0.9]), torch.tensor([True, False]))
        >>> detection_limits(tied)
        DetectionLimits(auroc=(0.0, 1.0), aupr=(0.5, 1.0), fpr95=(0.0, 1.0))
    """
    wrong, right = (part[::-1].astype(np.float64) for part in (histogram.wrong, histogram.right))
    n_wrong, n_right = wrong.sum(), right.sum()
    if not n_wrong or not n_right:
        nothing = (float("nan"), float("nan"))
        return DetectionLimits(nothing, (1.0, 1.0) if n_wrong else nothing, nothing)
    value, slack = error_auroc(histogram), float((wrong * right).sum() / 2 / n_wrong / n_right)
    before, flagged = np.cumsum(wrong) - wrong, np.cumsum(right) - right
    # worst: all right voxels of a cell come first, then the j-th wrong one has the precision
    # (before + j) / (before + j + flagged + right); the sum over j is a difference of digamma functions
    behind = flagged + right
    low = wrong - behind * (digamma(before + wrong + behind + 1) - digamma(before + behind + 1))
    best = (before + wrong) / np.maximum(before + wrong + flagged, 1)
    return DetectionLimits(
        (value - slack, value + slack),
        (float(low.sum() / n_wrong), float((wrong * best).sum() / n_wrong)),
        _fpr_limits(histogram, 0.95),
    )
