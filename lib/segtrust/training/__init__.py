"""Training: cases, augmentation, the loop of one member, and runs of several."""

from segtrust.training.cases import Case, load_cases, read_splits
from segtrust.training.loop import Budget, train_member

__all__ = ["Budget", "Case", "load_cases", "read_splits", "train_member"]
