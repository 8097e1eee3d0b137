"""Which scans come next: what is known about them in, an ordered list with a reason for each out.

Pure functions: the same candidates, seed and round give the same order, in whatever order they come in.
"""

from segtrust.selection.candidate import Candidate, Pick, Plan, Ranking, Strategy
from segtrust.selection.diversity import cold_start, diverse, farthest_points, typicality
from segtrust.selection.ordering import STRATEGIES, check_queue, interleave, order
from segtrust.selection.ranking import Ranked, rank_scans, uniform_order
from segtrust.selection.uncertain import clasp, entropy, foreground_random, noise_exponent, power, uniform

__all__ = [
    "STRATEGIES",
    "Candidate",
    "Pick",
    "Plan",
    "Ranked",
    "Ranking",
    "Strategy",
    "check_queue",
    "clasp",
    "cold_start",
    "diverse",
    "entropy",
    "farthest_points",
    "foreground_random",
    "interleave",
    "noise_exponent",
    "order",
    "power",
    "rank_scans",
    "typicality",
    "uniform",
    "uniform_order",
]
