"""Cases in, totals out, figures at the end: what a model's card says."""

from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import CaseRecord, evaluate_case
from segtrust.evaluate.protocol import Protocol, protocol_hash
from segtrust.evaluate.shifts import SHIFT_SUITE, corrupt

__all__ = ["SHIFT_SUITE", "CaseRecord", "Protocol", "corrupt", "evaluate_case", "make_card", "protocol_hash"]
