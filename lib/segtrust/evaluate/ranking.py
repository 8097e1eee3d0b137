"""Does a score put the scans in the order of their Dice? Correlations with intervals over subjects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from segtrust.errors import SettingError
from segtrust.evaluate.cases import CaseRecord
from segtrust.metrics.bootstrap import cluster_bootstrap

__all__ = ["SCORES", "correlation", "paired", "ranking_table", "score_interval"]

SCORES = (
    "entropy",
    "doubt",
    "between_member",
    "patch_maximum",
    "volume_spread",
    "pairwise_dice",
    "soft_dice_confidence",
    "global_mean",
)
"""Every score of a scan; `pairwise_dice` and `soft_dice_confidence` run the other way: high means sure."""
_KINDS = ("pearson", "spearman")
_TARGETS = ("dice", "logit_dice")
_EDGE = 0.005


def correlation(
    scores: Sequence[float | None], dice: Sequence[NDArray[np.float64]], *, kind: str, of: str
) -> float:
    """Correlation of a score with the mean Dice over structures.

    Args:
        scores: one per scan; ``None`` where it is not defined.
        dice: one array over structures per scan, NaN where a structure is in neither map.
        kind: ``pearson`` or ``spearman``.
        of: ``dice``, or ``logit_dice``: Dice clipped to [.005, .995], then its logit.

    Returns:
        Unitless, in [-1, 1]; NaN with fewer than three scans that have both, or without any spread.

    Raises:
        SettingError: for another kind or target.

    Source:
        Mehrtash et al. 2020 correlate with logit Dice; the clipping is ours.

    Example:
        >>> dice = [np.array([d]) for d in (0.1, 0.2, 0.9)]
        >>> round(correlation([3, 2, 1], dice, kind="spearman", of="dice"), 6)
        -1.0
    """
    if kind not in _KINDS or of not in _TARGETS:
        raise SettingError(
            f"kind must be one of {', '.join(_KINDS)} and target one of {', '.join(_TARGETS)}, "
            f"got {kind!r} and {of!r}."
        )
    return _correlation(*paired(scores, dice, of), kind)


def paired(
    scores: Sequence[float | None], dice: Sequence[NDArray[np.float64]], of: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and target of every scan.

    Args:
        scores: one per scan; ``None`` where it is not defined.
        dice: one array over structures per scan, NaN where a structure is in neither map.
        of: ``dice``, or ``logit_dice``.

    Returns:
        Two arrays, NaN where a score or a Dice is not defined.
    """
    values = np.array([np.nan if value is None else value for value in scores], dtype=np.float64)
    target = np.array([np.nanmean(d) if np.isfinite(d).any() else np.nan for d in dice], dtype=np.float64)
    if of == "logit_dice":
        target = np.clip(target, _EDGE, 1 - _EDGE)
        target = np.log(target / (1 - target))
    return values, target


def _correlation(values: NDArray[np.float64], target: NDArray[np.float64], kind: str) -> float:
    defined = np.isfinite(values) & np.isfinite(target)
    a, b = values[defined], target[defined]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    if kind == "spearman":
        a, b = stats.rankdata(a), stats.rankdata(b)
    return float(np.corrcoef(a, b)[0, 1])


def ranking_table(records: Sequence[CaseRecord], system: str) -> dict[str, Any]:
    """Every score against Dice and logit Dice, Pearson and Spearman, with intervals over subjects.

    Args:
        records: scans of one condition, with scores; clean and shifted scans are never mixed.
        system: whose Dice.

    Returns:
        ``{score: {dice | logit_dice: {pearson | spearman: {value, low, high, subjects, interval}}, "scans":
        n}}``; 95 %, studentised over subjects, 1000 draws, seed 0; ``None`` where not defined. ``scans``
        counts those on which the score is defined.
    """
    subjects = [r.subject for r in records]
    dice = [r.dice[system] for r in records]
    table: dict[str, Any] = {}
    for score in SCORES:
        values = [None if r.scores is None else getattr(r.scores, score) for r in records]
        table[score] = {
            of: {kind: score_interval(subjects, values, dice, kind=kind, of=of) for kind in _KINDS}
            for of in _TARGETS
        }
        table[score]["scans"] = sum(value is not None for value in values)
    return table


def score_interval(
    subjects: Sequence[str],
    values: Sequence[float | None],
    dice: Sequence[NDArray[np.float64]],
    *,
    kind: str,
    of: str,
) -> dict[str, Any]:
    """:func:`correlation` with its interval over subjects.

    Args:
        subjects: subject of each scan.
        values: score of each scan.
        dice: see :func:`correlation`.
        kind: ``pearson`` or ``spearman``.
        of: ``dice`` or ``logit_dice``.

    Returns:
        ``{value, low, high, subjects, interval}``; ``None`` where not defined.
    """
    score, target = paired(values, dice, of)

    def drawn(rows: Sequence[int]) -> float:
        picked = np.asarray(rows)
        return _correlation(score[picked], target[picked], kind)

    return cluster_bootstrap(
        subjects, drawn, kind="correlation", where=np.isfinite(score) & np.isfinite(target)
    ).to_json()
