"""Intervals over subjects: scans of one subject are drawn together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "cluster_bootstrap", "finite_or_none"]


@dataclass(frozen=True)
class Interval:
    """A figure with the limits of its interval, and the number of subjects behind it."""

    value: float
    low: float
    high: float
    subjects: int

    def to_json(self) -> dict[str, float | int | None]:
        """Plain numbers; ``None`` where a figure is not defined."""
        return {name: finite_or_none(value) for name, value in vars(self).items()}


def finite_or_none(value: float) -> float | None:
    """A number as JSON can hold it: ``None`` for NaN and infinity.

    Args:
        value: any number.

    Returns:
        The number, or ``None``.

    Source:
        ours.

    Example:
        >>> finite_or_none(math.nan) is None
        True
    """
    return value if math.isfinite(value) else None


def cluster_bootstrap(
    subjects: Sequence[str],
    statistic: Callable[[Sequence[int]], float],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap that draws subjects with replacement.

    Args:
        subjects: subject of each scan.
        statistic: takes indices of scans (repeated ones included) and returns a figure.
        level: share of the draws inside the interval.
        draws: number of draws.
        seed: of the draws.

    Returns:
        The figure over all scans with its interval; draws whose figure is NaN are left out.

    Source:
        Efron & Tibshirani 1993; clusters as in Field & Welsh 2007.

    Example:
        >>> cluster_bootstrap(["a", "b"], lambda rows: float(len(rows)), draws=10).value
        2.0
    """
    rows: dict[str, list[int]] = {}
    for index, subject in enumerate(subjects):
        rows.setdefault(subject, []).append(index)
    groups = list(rows.values())
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        picks = rng.integers(0, len(groups), len(groups))
        drawn.append(statistic([i for pick in picks for i in groups[pick]]))
    tail = (1 - level) / 2
    known = [figure for figure in drawn if math.isfinite(figure)] or [math.nan]
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(statistic(range(len(subjects))), float(low), float(high), len(groups))
