"""Curves of a report with their intervals: stated chances that came true, risk after setting scans aside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.metrics import Resamples, VoxelTotals, aurc, finite_or_none, reliability_curve
from segtrust.metrics.bootstrap import LEAST_SUBJECTS

__all__ = ["BINS", "reliability_points", "risk_coverage"]

BINS = 15
_GRID = np.arange(1, 21) / 20

Floats = NDArray[np.float64]


def reliability_points(totals: Sequence[VoxelTotals], subjects: Sequence[str]) -> list[dict[str, Any]]:
    """Stated confidence against observed accuracy in 15 bins, with 95 % intervals over subjects.

    Args:
        totals: of one system in one region, one per scan.
        subjects: subject of each scan.

    Returns:
        One entry per bin that holds voxels: ``low`` and ``high`` edge, ``voxels``, ``scans`` with voxels in
        it, mean ``confidence``, ``accuracy`` and its interval ``accuracy_low`` to ``accuracy_high`` (``None``
        where too few subjects have voxels there, see :meth:`segtrust.metrics.Resamples.interval`).

    Source:
        DeGroot & Fienberg 1983; intervals ours.
    """
    bins = [t.bins.coarsen(BINS) for t in totals]
    counts, hits = (
        np.stack([getattr(b, name) for b in bins]).astype(np.float64) for name in ("counts", "hits")
    )
    curve = reliability_curve(sum(bins[1:], bins[0]))
    points = []
    for low, high, voxels, confidence, frequency in zip(*curve, strict=True):
        k = round(low * BINS)
        resamples = Resamples.of(subjects, where=counts[:, k] > 0)
        right, all_of = resamples.times @ hits[:, k], resamples.times @ counts[:, k]
        interval = resamples.interval(
            np.divide(right, all_of, out=np.full(len(right), np.nan), where=all_of > 0), kind="share"
        )
        points.append({
            "low": float(low),
            "high": float(high),
            "voxels": int(voxels),
            "scans": int((counts[:, k] > 0).sum()),
            "confidence": float(confidence),
            "accuracy": float(frequency),
            "accuracy_low": finite_or_none(interval.low),
            "accuracy_high": finite_or_none(interval.high),
        })  # fmt: skip
    return points


def risk_coverage(
    scores: Sequence[float | None], risks: Sequence[float], subjects: Sequence[str]
) -> dict[str, Any] | None:
    """Mean risk of the scans that are kept when the least sure ones are set aside; low is good.

    Args:
        scores: one per scan, high means unsure; a scan without a score is set aside first.
        risks: one per scan, most often 1 - Dice; NaN takes no part.
        subjects: subject of each scan.

    Returns:
        ``coverage`` in steps of .05 with ``risk``, ``low`` and ``high`` (95 % over subjects; ``None`` where
        fewer subjects are left than an interval needs) and the ``best`` that any order could do, and the area
        ``aurc`` (:func:`segtrust.metrics.aurc`); ``None`` with fewer than three scans that have a risk. In
        the curve scans of equal score keep their order.

    Source:
        Geifman & El-Yaniv 2017.

    Example:
        >>> found = risk_coverage([0.1, 0.2, 0.9], [0.0, 0.1, 0.5], ["a", "b", "c"])
        >>> [round(v, 2) for v in (found["risk"][-1], found["risk"][9], found["aurc"])]
        [0.2, 0.05, 0.08]
    """
    risk = np.asarray(risks, np.float64)
    defined = np.isfinite(risk)
    if defined.sum() < 3:
        return None
    unsure = np.array([np.inf if s is None else s for s in scores], np.float64)[defined]
    risk, owners = risk[defined], np.asarray(subjects)[defined]
    order = np.argsort(unsure, kind="stable")
    resamples = Resamples.of(owners.tolist())
    curves = _kept(risk[order], resamples.times[:, order].astype(np.float64))
    intervals = [resamples.interval(curve, kind="share") for curve in curves.T]
    enough = _GRID * len(set(owners)) >= LEAST_SUBJECTS
    plain = np.ones((1, len(risk)))
    ranks = np.searchsorted(np.sort(unsure), unsure)  # finite also where there is no score
    return {
        "coverage": _GRID.tolist(),
        "risk": _kept(risk[order], plain)[0].tolist(),
        "low": [finite_or_none(i.low) if e else None for i, e in zip(intervals, enough, strict=True)],
        "high": [finite_or_none(i.high) if e else None for i, e in zip(intervals, enough, strict=True)],
        "best": _kept(np.sort(risk), plain)[0].tolist(),
        "aurc": aurc(ranks.tolist(), risk.tolist()),
    }


def _kept(risk: Floats, weights: Floats) -> Floats:
    """Mean risk of the surest share of the scans, for every draw and share of the grid."""
    total, sums = np.cumsum(weights, axis=1), np.cumsum(weights * risk, axis=1)
    out = np.full((len(weights), len(_GRID)), np.nan)
    for row, (whole, running) in enumerate(zip(total, sums, strict=True)):
        if whole[-1] > 0:
            at = np.searchsorted(whole, np.maximum(_GRID * whole[-1] - 1e-9, 1e-9))
            out[row] = running[at] / whole[at]
    return out
