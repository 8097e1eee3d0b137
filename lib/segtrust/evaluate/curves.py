"""Curves of a report with their intervals: stated chances that came true, risk after setting scans aside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.metrics import VoxelTotals, aurc, reliability_curve

__all__ = ["BINS", "reliability_points", "risk_coverage", "subject_draws"]

BINS = 15
_TAIL = 0.025
_GRID = np.arange(1, 21) / 20

Floats = NDArray[np.float64]


def subject_draws(subjects: Sequence[str], *, draws: int = 1000, seed: int = 0) -> Floats:
    """How often each scan is in each draw of subjects with replacement.

    Args:
        subjects: subject of each scan.
        draws: number of draws.
        seed: of the draws.

    Returns:
        ``(draws, scans)`` counts as float64.

    Source:
        Efron & Tibshirani 1993; clusters as in Field & Welsh 2007.

    Example:
        >>> subject_draws(["a", "a", "b"], draws=5).sum(axis=1).min() >= 2
        True
    """
    names, group = np.unique(np.asarray(subjects), return_inverse=True)
    picks = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in picks])
    return counts[:, group].astype(np.float64)


def reliability_points(totals: Sequence[VoxelTotals], draws: Floats) -> list[dict[str, Any]]:
    """Stated confidence against observed accuracy in 15 bins, with 95 % intervals over subjects.

    Args:
        totals: of one system in one region, one per scan.
        draws: of :func:`subject_draws`.

    Returns:
        One entry per bin that holds voxels: ``low`` and ``high`` edge, ``voxels``, ``scans`` with voxels in
        it, mean ``confidence``, ``accuracy`` and its interval ``accuracy_low`` to ``accuracy_high`` (``None``
        where most draws have no voxel there).

    Source:
        DeGroot & Fienberg 1983; intervals ours.
    """
    bins = [t.bins.coarsen(BINS) for t in totals]
    counts, hits = (
        np.stack([getattr(b, name) for b in bins]).astype(np.float64) for name in ("counts", "hits")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (draws @ hits) / (draws @ counts)
    curve = reliability_curve(sum(bins[1:], bins[0]))
    points = []
    for low, high, voxels, confidence, frequency in zip(*curve, strict=True):
        k = round(low * BINS)
        defined = drawn[np.isfinite(drawn[:, k]), k]
        enough = len(defined) > len(draws) / 2
        ends = np.quantile(defined, [_TAIL, 1 - _TAIL]).tolist() if enough else [None, None]
        points.append({
            "low": float(low),
            "high": float(high),
            "voxels": int(voxels),
            "scans": int((counts[:, k] > 0).sum()),
            "confidence": float(confidence),
            "accuracy": float(frequency),
            "accuracy_low": ends[0],
            "accuracy_high": ends[1],
        })  # fmt: skip
    return points


def risk_coverage(
    scores: Sequence[float | None], risks: Sequence[float], draws: Floats
) -> dict[str, Any] | None:
    """Mean risk of the scans that are kept when the least sure ones are set aside; low is good.

    Args:
        scores: one per scan, high means unsure; a scan without a score is set aside first.
        risks: one per scan, most often 1 - Dice; NaN takes no part.
        draws: of :func:`subject_draws`.

    Returns:
        ``coverage`` in steps of .05 with ``risk``, ``low`` and ``high`` (95 % over subjects) and the ``best``
        that any order could do, and the area ``aurc`` (:func:`segtrust.metrics.aurc`); ``None`` with fewer
        than three scans that have a risk. In the curve scans of equal score keep their order.

    Source:
        Geifman & El-Yaniv 2017.

    Example:
        >>> found = risk_coverage([0.1, 0.2, 0.9], [0.0, 0.1, 0.5], np.ones((1, 3)))
        >>> [round(v, 2) for v in (found["risk"][-1], found["risk"][9], found["aurc"])]
        [0.2, 0.05, 0.08]
    """
    risk = np.asarray(risks, np.float64)
    defined = np.isfinite(risk)
    if defined.sum() < 3:
        return None
    unsure = np.array([np.inf if s is None else s for s in scores], np.float64)[defined]
    risk, weights = risk[defined], draws[:, defined]
    order = np.argsort(unsure, kind="stable")
    curves = _kept(risk[order], weights[:, order])
    low, high = np.nanquantile(curves, [_TAIL, 1 - _TAIL], axis=0)
    plain = np.ones((1, len(risk)))
    ranks = np.searchsorted(np.sort(unsure), unsure)  # finite also where there is no score
    return {
        "coverage": _GRID.tolist(),
        "risk": _kept(risk[order], plain)[0].tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
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
