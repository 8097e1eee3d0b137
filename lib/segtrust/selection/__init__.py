"""Which scans come next: what is known about them in, an ordered list with a reason for each out.

Pure functions: the same candidates, seed and round give the same order, in whatever order they come in.
"""

from segtrust.selection.candidate import Candidate, Pick, Plan, ScoringRow, make_candidate
from segtrust.selection.ordering import STRATEGIES, check_queue, order
from segtrust.selection.ranking import Ranked, rank_scans, uniform_order

__all__ = [
    "STRATEGIES",
    "Candidate",
    "Pick",
    "Plan",
    "Ranked",
    "ScoringRow",
    "check_queue",
    "make_candidate",
    "order",
    "rank_scans",
    "uniform_order",
]
