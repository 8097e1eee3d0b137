"""Figures of any draw of scans, from arrays of totals: what a bootstrap asks a thousand times."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segtrust._binning import Bins
from segtrust.evaluate.cases import CaseRecord
from segtrust.metrics.calibration import expected_calibration_error
from segtrust.metrics.detection import ErrorHistogram, error_auroc
from segtrust.metrics.voxels import VoxelTotals

__all__ = ["FIGURES", "ErrorPool", "Pool", "mean_defined", "mean_dice"]

FIGURES = ("nll", "brier", "ece")
"""Figures that a pool knows."""


def mean_dice(
    records: Sequence[CaseRecord], rows: Sequence[int], system: str, structure: int | None
) -> float:
    """Mean Dice over scans.

    Args:
        records: evaluated scans.
        rows: which of them, repeats allowed.
        system: whose mask.
        structure: index of one structure; ``None`` for the mean over all.

    Returns:
        Unitless, in [0, 1]; a structure that is in neither map of a scan takes no part, NaN if none does.
    """
    return mean_defined(np.array([records[i].dice[system] for i in rows]), structure)


def mean_defined(values: NDArray[np.float64], structure: int | None) -> float:
    """Mean of a figure of structures over scans.

    Args:
        values: ``(scans, structures)``, NaN where the figure is not defined.
        structure: index of one structure; ``None`` for the mean over all.

    Returns:
        In the unit of the values; NaN if none is defined.
    """
    values = values if structure is None else values[:, structure]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


class Pool:
    """Totals of one system in one region as arrays, so that a draw of scans is summed by indexing."""

    def __init__(self, totals: Sequence[VoxelTotals]) -> None:
        self._n = np.array([t.n for t in totals], dtype=np.int64)
        self._sums = {name: np.array([getattr(t, name) for t in totals]) for name in ("nll", "brier")}
        bins = [t.bins.coarsen(15) for t in totals]
        self._counts = np.stack([b.counts for b in bins])
        self._confidence = np.stack([b.confidence for b in bins])
        self._hits = np.stack([b.hits for b in bins])

    @property
    def has_voxels(self) -> list[bool]:
        """Whether each scan has voxels in the region."""
        return [bool(n > 0) for n in self._n]

    def figure(self, rows: Sequence[int], name: str) -> float:
        """One of :data:`FIGURES` over the voxels of some scans, repeats allowed; NaN without voxels."""
        picked = np.asarray(rows)
        if name == "ece":
            parts = (self._counts, self._confidence, self._hits)
            return expected_calibration_error(Bins(*(part[picked].sum(axis=0) for part in parts)))
        voxels = int(self._n[picked].sum())
        return float(self._sums[name][picked].sum()) / voxels if voxels else float("nan")


class ErrorPool:
    """Error histograms of one system as arrays; see :class:`Pool`."""

    def __init__(self, errors: Sequence[ErrorHistogram]) -> None:
        self._wrong = np.stack([e.wrong for e in errors])
        self._right = np.stack([e.right for e in errors])

    @property
    def has_voxels(self) -> list[bool]:
        """Whether each scan has voxels."""
        return [bool(n > 0) for n in self._wrong.sum(axis=1) + self._right.sum(axis=1)]

    def whole(self) -> ErrorHistogram:
        """Counts of all scans."""
        return ErrorHistogram(self._wrong.sum(axis=0), self._right.sum(axis=0))

    def auroc(self, rows: Sequence[int]) -> float:
        """Error AUROC over the voxels of some scans, repeats allowed."""
        times = np.bincount(np.asarray(rows), minlength=len(self._wrong))
        return error_auroc(ErrorHistogram(times @ self._wrong, times @ self._right))
