"""Cases in, totals out, figures at the end: what a model's card says."""

from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import CaseRecord, evaluate_case
from segtrust.evaluate.methods import ScanView, scan_score, voxel_map
from segtrust.evaluate.protocol import Protocol, protocol_hash
from segtrust.evaluate.shifts import SHIFT_SUITE, corrupt
from segtrust.evaluate.summary import summarise
from segtrust.evaluate.volumes import measure_case

__all__ = [
    "SHIFT_SUITE",
    "CaseRecord",
    "Protocol",
    "ScanView",
    "corrupt",
    "evaluate_case",
    "make_card",
    "measure_case",
    "protocol_hash",
    "scan_score",
    "summarise",
    "voxel_map",
]
