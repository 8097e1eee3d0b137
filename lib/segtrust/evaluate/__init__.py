"""Cases in, totals out, figures at the end: what a model's card says."""

from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import CaseRecord, evaluate_case

__all__ = ["CaseRecord", "evaluate_case", "make_card"]
