"""Dice as log odds, on which quality is predicted and correlated."""

import numpy as np

__all__ = ["logit_dice"]

_EDGE = 0.005


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
    clipped = min(max(dice, _EDGE), 1 - _EDGE)
    return float(np.log(clipped / (1 - clipped)))
