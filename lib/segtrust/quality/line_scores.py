"""Scores of a structure as lines and planes take them: shares as log odds, sizes as logarithms."""

import math
from collections.abc import Callable, Mapping

from segtrust.quality.log_odds import logit_dice
from segtrust.scores import StructureScores

__all__ = ["LINE_SCORES", "PLANE_SCORES", "POOLED", "can_be_judged", "line_scores"]

LINE_SCORES = ("entropy", "between_member", "segment_entropy", "soft_dice_confidence", "pairwise_dice")
"""Scores that a line may be drawn through."""
PLANE_SCORES = (
    *LINE_SCORES,
    "class_score",
    "volume_spread",
    "mixing",
    "size",
    "surface",
    "largest_part",
    "expected_volume",
    "entropy_share",
)
"""Scores that a plane looks at, all at once."""
POOLED = "pooled_pairwise_dice"
"""What `pairwise_dice` was in versions of before."""


def _logarithm(value: float) -> float | None:
    return None if value <= 0 else math.log(value)


def _off_by(ratio: float) -> float | None:
    log = _logarithm(ratio)
    return None if log is None else abs(log)


_CHANGED: Mapping[str, Callable[[float], float | None]] = {
    **dict.fromkeys(("soft_dice_confidence", "pairwise_dice", POOLED), logit_dice),
    "size": _logarithm,
    "surface": _logarithm,
    "expected_volume": _off_by,
}


def line_scores(details: StructureScores) -> dict[str, float | None]:
    """Scores of a structure as lines and planes take them.

    Args:
        details: of the structure.

    Returns:
        Name -> value, one for each of :data:`PLANE_SCORES` and, for versions that were fitted on it,
        ``pooled_pairwise_dice``; ``None`` where not defined. Shares as log odds; ``size`` and ``surface`` as
        logarithms; ``expected_volume`` as the absolute logarithm, so that it says how far off the mask is.
    """
    values: dict[str, float | None] = {}
    for name in (*PLANE_SCORES, POOLED):
        value: float | None = getattr(details, name)
        change = _CHANGED.get(name)
        values[name] = value if value is None or change is None else change(value)
    return values


def can_be_judged(scores: Mapping[str, float | None]) -> bool:
    """Whether something may be predicted from the scores of a structure, of a calibration scan too.

    Args:
        scores: :func:`line_scores` of the structure.

    Returns:
        Whether the structure was predicted, and every score that is defined is a finite number.
    """
    is_predicted = scores["entropy"] is not None
    return is_predicted and all(math.isfinite(v) for v in scores.values() if v is not None)
