"""Flags on voxels that may be wrong: scores of error, rules that set a threshold, kinds of error."""

from segtrust.error_flags.failures import FAILURES, failure_map
from segtrust.error_flags.scores import PROBABILITY_SCORES, SAMPLE_SCORES, probability_scores, sample_scores
from segtrust.error_flags.thresholds import RULES, FlagRule, otsu_threshold, recall_threshold

__all__ = [
    "FAILURES",
    "PROBABILITY_SCORES",
    "RULES",
    "SAMPLE_SCORES",
    "FlagRule",
    "failure_map",
    "otsu_threshold",
    "probability_scores",
    "recall_threshold",
    "sample_scores",
]
