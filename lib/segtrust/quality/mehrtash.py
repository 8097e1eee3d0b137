"""The quality prediction of Mehrtash et al. 2020: logit Dice as a straight line in the segment's entropy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segtrust.errors import ShapeError

__all__ = ["LEAST_CASES", "SegmentEntropyLine", "fit_segment_entropy", "logit_dice"]

LEAST_CASES = 10
"""With fewer cases no line is fitted."""
_EDGE = 0.005


def logit_dice(dice: float) -> float:
    """Log odds of a Dice, clipped to [.005, .995] before.

    Args:
        dice: in [0, 1].

    Returns:
        Unitless, in [-5.3, 5.3].

    Source:
        Mehrtash et al. 2020; the clipping is ours, since a Dice of 0 would decide every fit.

    Example:
        >>> logit_dice(0.5), round(logit_dice(1.0), 3)
        (0.0, 5.293)
    """
    clipped = min(max(dice, _EDGE), 1 - _EDGE)
    return float(np.log(clipped / (1 - clipped)))


@dataclass(frozen=True)
class SegmentEntropyLine:
    """Ordinary least squares of logit Dice on mean binary entropy, with Pearson and Spearman correlation."""

    slope: float
    intercept: float
    pearson: float
    spearman: float
    cases: int
    mean: float
    spread: float
    residual: float

    def predict(self, entropy: float, *, coverage: float = 0.95) -> tuple[float, float, float]:
        """Predicted Dice of a new case with its prediction interval.

        Args:
            entropy: mean binary entropy over the predicted segment, nats.
            coverage: of the interval, if the residuals are normal.

        Returns:
            Dice, lower and upper end, in [0, 1].
        """
        centre = self.intercept + self.slope * entropy
        width = self.residual * np.sqrt(1 + 1 / self.cases + (entropy - self.mean) ** 2 / self.spread)
        width *= stats.t.ppf((1 + coverage) / 2, self.cases - 2)
        low, middle, high = (float(1 / (1 + np.exp(-y))) for y in (centre - width, centre, centre + width))
        return middle, low, high


def fit_segment_entropy(entropies: Sequence[float], dice: Sequence[float]) -> SegmentEntropyLine:
    r"""Reproduce the quality prediction of the paper.

    .. math:: \mathrm{logit}(D) = a + b \bar H(\hat S)

    Args:
        entropies: :func:`segtrust.scores.binary_segment_entropy` of each case, nats.
        dice: its Dice, in [0, 1].

    Returns:
        The line with its correlations.

    Raises:
        ShapeError: with fewer than ten cases, unequal lengths, or no spread.

    Source:
        Mehrtash et al. 2020, "Confidence calibration and predictive uncertainty estimation for deep medical
        image segmentation", segment-level confidence. Ours for use is :mod:`segtrust.quality.regression`.
    """
    x, y = np.asarray(entropies, np.float64), np.array([logit_dice(d) for d in dice])
    if len(x) != len(y) or len(x) < LEAST_CASES or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ShapeError(
            f"a line needs at least {LEAST_CASES} cases that differ, got {len(x)} entropies and "
            f"{len(y)} values of Dice."
        )
    line = stats.linregress(x, y)
    spread = float(((x - x.mean()) ** 2).sum())
    return SegmentEntropyLine(
        slope=float(line.slope),
        intercept=float(line.intercept),
        pearson=float(line.rvalue),
        spearman=float(stats.spearmanr(x, y).statistic),
        cases=len(x),
        mean=float(x.mean()),
        spread=spread,
        residual=float(np.sqrt(((y - line.intercept - line.slope * x) ** 2).sum() / (len(x) - 2))),
    )
