"""Figures of any draw of scans, from arrays of totals: what a bootstrap asks a thousand times."""

from collections.abc import Sequence

import numpy as np

from segtrust._binning import Bins
from segtrust.evaluate.cases import CaseRecord
from segtrust.metrics.voxels import VoxelTotals

__all__ = ["FIGURES", "Pool", "mean_dice"]

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

    Source:
        ours.
    """
    values = np.array([records[i].dice[system] for i in rows])
    values = values if structure is None else values[:, structure]
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


class Pool:
    """Totals of one system in one region as arrays, so that a draw of scans is summed by indexing."""

    def __init__(self, totals: Sequence[VoxelTotals]) -> None:
        self._n = np.array([t.n for t in totals], dtype=np.int64)
        self._sums = np.array([(t.nll, t.brier) for t in totals], dtype=np.float64)
        bins = [t.bins.coarsen(15) for t in totals]
        self._counts = np.stack([b.counts for b in bins])
        self._confidence = np.stack([b.confidence for b in bins])
        self._hits = np.stack([b.hits for b in bins])

    def figure(self, rows: Sequence[int], name: str) -> float:
        """One of :data:`FIGURES` over the voxels of some scans, repeats allowed."""
        picked = np.asarray(rows)
        nll, brier = self._sums[picked].sum(axis=0)
        bins = Bins(*(a[picked].sum(axis=0) for a in (self._counts, self._confidence, self._hits)))
        return VoxelTotals(int(self._n[picked].sum()), float(nll), float(brier), bins).figures()[name]
