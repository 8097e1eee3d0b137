"""Scales on which quality is predicted, each clipped at both ends, and the way back from them."""

import math

import numpy as np
from scipy.special import expit

__all__ = ["LEAST_DICE", "clipped_log", "dice_range", "factor_range", "logit_dice"]

LEAST_DICE = 0.005
"""A Dice below counts as this, one above 1 less this as that."""
_LIMIT = 3.0
_ROUNDING = 1e-9


def logit_dice(dice: float) -> float:
    """Log odds of a Dice, clipped to [.005, .995] before, since a Dice of 0 would decide every fit.

    Args:
        dice: in [0, 1].

    Returns:
        Unitless, in [-5.3, 5.3].

    Source:
        Mehrtash et al. 2020, without the clipping.

    Example:
        >>> logit_dice(0.5), round(logit_dice(1.0), 3)
        (0.0, 5.293)
    """
    clipped = min(max(dice, LEAST_DICE), 1 - LEAST_DICE)
    return float(np.log(clipped / (1 - clipped)))


def dice_range(low: float, high: float) -> tuple[float, float]:
    """All Dice whose clipped log odds lie between two ends: an end at the clip, or beyond, is open.

    Args:
        low: log odds.
        high: log odds.

    Returns:
        Lowest and highest Dice; 0 and 1 where the end is open, since a clipped value may be any beyond it.

    Example:
        >>> dice_range(-9.0, logit_dice(0.998))
        (0.0, 1.0)
    """
    edge = logit_dice(1.0)
    bottom, top = _outward(low, high, edge)
    return (
        0.0 if bottom <= -edge else float(expit(bottom)),
        1.0 if top >= edge else float(expit(top)),
    )


def clipped_log(value: float) -> float:
    """Logarithm of a ratio or a distance, clipped to [-3, 3], since a value of 0 would decide every fit.

    Args:
        value: at least 0.

    Returns:
        Unitless, in [-3, 3]: a factor of 20 either way.

    Example:
        >>> clipped_log(0.0), clipped_log(1.0)
        (-3.0, 0.0)
    """
    return min(max(math.log(value), -_LIMIT), _LIMIT) if value > 0 else -_LIMIT


def factor_range(low: float, high: float) -> tuple[float, float]:
    """All values whose clipped logarithm lies between two ends: an end at the clip, or beyond, is open.

    Args:
        low: logarithm.
        high: logarithm.

    Returns:
        Lowest and highest value; 0 and infinity where the end is open.

    Example:
        >>> factor_range(-3.0, 3.0)
        (0.0, inf)
    """
    bottom, top = _outward(low, high, _LIMIT)
    return (
        0.0 if bottom <= -_LIMIT else math.exp(bottom),
        math.inf if top >= _LIMIT else math.exp(top),
    )


def _outward(low: float, high: float, edge: float) -> tuple[float, float]:
    """Ends that hold every value which floating point may put a little beyond them, and reach the clip."""
    return min(low - _ROUNDING, edge), max(high + _ROUNDING, -edge)
