"""Scores in, an ordered list of scans out; pure functions, the same under any order of the input."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Ranked", "rank_scans", "uniform_order"]


@dataclass(frozen=True)
class Ranked:
    """A scan's place: ``rank`` 1 is looked at first, of ``of`` scans."""

    scan_id: str
    score: float | None
    rank: int
    of: int


def rank_scans(scores: Mapping[str, float | None]) -> list[Ranked]:
    """Order scans by score, the least sure first.

    Args:
        scores: scan -> score, high means unsure; ``None`` or NaN where the score is not defined.

    Returns:
        All scans; equal scores in order of their ids, scans without a score last.

    Example:
        >>> [r.scan_id for r in rank_scans({"a": 0.1, "b": None, "c": 0.3})]
        ['c', 'a', 'b']
    """
    numbers = {scan: None if s is None or math.isnan(s) else s for scan, s in scores.items()}
    order = sorted(numbers.items(), key=lambda item: (item[1] is None, -(item[1] or 0.0), item[0]))
    return [Ranked(scan, score, rank, len(order)) for rank, (scan, score) in enumerate(order, start=1)]


def uniform_order(scan_ids: Iterable[str], seed: int) -> list[str]:
    """Order scans at random, every order equally likely.

    Args:
        scan_ids: scans in any order.
        seed: the same seed and the same scans give the same order.

    Returns:
        The shuffled ids.

    Source:
        the baseline that every strategy must beat.
    """
    ids = sorted(scan_ids)
    order = np.random.default_rng(seed).permutation(len(ids))
    return [ids[i] for i in order]
