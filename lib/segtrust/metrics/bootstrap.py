"""Intervals over subjects: scans of one subject are drawn together."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "cluster_bootstrap", "cluster_draws", "finite_or_none", "interval_of"]


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
    drawn = [statistic(rows) for rows in cluster_draws(subjects, draws=draws, seed=seed)]
    return interval_of(statistic(range(len(subjects))), drawn, subjects, level=level)


def cluster_draws(subjects: Sequence[str], *, draws: int = 1000, seed: int = 0) -> Iterator[list[int]]:
    """Draw subjects with replacement.

    Args:
        subjects: subject of each scan.
        draws: number of draws.
        seed: of the draws.

    Yields:
        Indices of the scans of one draw, repeated ones included.

    Source:
        Efron & Tibshirani 1993; clusters as in Field & Welsh 2007.

    Example:
        >>> [len(rows) for rows in cluster_draws(["a", "b"], draws=3)]
        [2, 2, 2]
    """
    rows: dict[str, list[int]] = {}
    for index, subject in enumerate(subjects):
        rows.setdefault(subject, []).append(index)
    groups = list(rows.values())
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        picks = rng.integers(0, len(groups), len(groups))
        yield [i for pick in picks for i in groups[pick]]


def interval_of(
    value: float, drawn: Sequence[float], subjects: Sequence[str], *, level: float = 0.95
) -> Interval:
    """The interval that the figures of many draws give.

    Args:
        value: the figure over all scans.
        drawn: the figure over each draw; NaN where it is not defined, which is left out.
        subjects: subject of each scan.
        level: share of the draws inside the interval.

    Returns:
        The figure with its interval.

    Source:
        Efron & Tibshirani 1993, percentile interval.

    Example:
        >>> interval_of(0.5, [0.0, 0.5, 1.0], ["a", "b"], level=1.0).low
        0.0
    """
    tail = (1 - level) / 2
    defined = [figure for figure in drawn if math.isfinite(figure)] or [math.nan]
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(value, float(low), float(high), len(set(subjects)))
