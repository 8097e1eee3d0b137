"""Training losses: logits and labels in, one number out; low is good."""

from segtrust.losses.overlap import cross_entropy, dice_ce, dice_loss

__all__ = ["LOSSES", "cross_entropy", "dice_ce", "dice_loss"]

LOSSES = {"ce": cross_entropy, "dice": dice_loss, "dice_ce": dice_ce}
"""Losses that a training run can choose by name."""
