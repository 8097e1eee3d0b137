"""Scores of a structure as lines take them: shares as log odds."""

import math
from collections.abc import Mapping

from segtrust.quality.log_odds import logit_dice
from segtrust.scores import StructureScores

__all__ = ["LINE_SCORES", "POOLED", "can_be_judged", "line_scores"]

LINE_SCORES = ("entropy", "between_member", "segment_entropy", "soft_dice_confidence", "pairwise_dice")
"""Scores that a line may be drawn through."""
POOLED = "pooled_pairwise_dice"
"""What `pairwise_dice` was in versions of before."""


_SHARES = ("soft_dice_confidence", "pairwise_dice", POOLED)


def line_scores(details: StructureScores) -> dict[str, float | None]:
    """Scores of a structure as lines take them: shares as log odds.

    Args:
        details: of the structure.

    Returns:
        Name -> value, one for each of :data:`LINE_SCORES` and, for versions that were fitted on it,
        ``pooled_pairwise_dice``; ``None`` where not defined.
    """
    values: dict[str, float | None] = {}
    for name in (*LINE_SCORES, POOLED):
        value: float | None = getattr(details, name)
        values[name] = logit_dice(value) if name in _SHARES and value is not None else value
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
