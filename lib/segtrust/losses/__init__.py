"""Training losses: logits and labels in, one number out; low is good."""

from segtrust.losses.binned import hard_l1_ace, soft_l1_ace
from segtrust.losses.neighbours import neighbour_penalty, svls_loss
from segtrust.losses.overlap import cross_entropy, dice_ce, dice_loss
from segtrust.losses.specification import LOSSES, PENALTIES, LossSum, LossTerm, parse_loss
from segtrust.losses.stochastic import StochasticLoss, stochastic_nll
from segtrust.losses.voxelwise import brier_loss, focal_loss, label_smoothing_loss, margin_penalty

__all__ = [
    "LOSSES",
    "PENALTIES",
    "LossSum",
    "LossTerm",
    "StochasticLoss",
    "brier_loss",
    "cross_entropy",
    "dice_ce",
    "dice_loss",
    "focal_loss",
    "hard_l1_ace",
    "label_smoothing_loss",
    "margin_penalty",
    "neighbour_penalty",
    "parse_loss",
    "soft_l1_ace",
    "stochastic_nll",
    "svls_loss",
]
