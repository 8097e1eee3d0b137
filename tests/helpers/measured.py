"""Made-up records of scans whose figures can be worked out by hand."""

import numpy as np
import torch

from segtrust.evaluate.cases import evaluate_case
from segtrust.evaluate.records import RecordSet
from segtrust.scores import ScanScores

__all__ = ["made_record", "made_set"]


def made_record(index, p, *, subject=None, reference=(2, 3), spacing=(1.0, 1.0, 1.0)):
    """A line of 20 voxels: 2 and 3 are predicted with probability p, ``reference`` are labelled."""
    probs = torch.zeros(2, 20, 1, 1)
    probs[0] = 1
    probs[0, 2:4], probs[1, 2:4] = 1 - p, p
    truth = torch.zeros(20, 1, 1, dtype=torch.long)
    truth[list(reference)] = 1
    return evaluate_case(
        f"scan{index}", subject or f"subject{index}", {"ensemble": (probs, None)}, truth, spacing,
        np.ones((20, 1, 1), dtype=bool), main="ensemble",
        scores=ScanScores(1 - p, None, 0.5, 0.1 * index, None, p, 1 - p, {1: 1 - p}),
    )  # fmt: skip


def made_set(records, **changes):
    fields = {
        "records": tuple(records),
        "structures": ("front",),
        "main": "ensemble",
        "protocol": "a" * 64,
        "role": "val",
        "condition": "clean",
        "model": {"name": "toy", "version": "0001", "digest": "d"},
        "software": {"python": "3"},
        "command": "made up",
    }
    return RecordSet(**{**fields, **changes})
