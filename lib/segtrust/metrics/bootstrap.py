"""Intervals over subjects: scans of one subject are drawn together, and too few subjects get no interval."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "LEAST_SUBJECTS",
    "Interval",
    "Resamples",
    "bootstrap_of",
    "cluster_bootstrap",
    "finite_or_none",
]

LEAST_SUBJECTS = 30
"""With fewer subjects a figure gets no interval: if one in ten fails, none covers what it promises."""

STUDENTISED, PERCENTILE = "studentised", "percentile"
TOO_FEW, UNDEFINED = "n too small", "not defined"

Kind = Literal["number", "share", "amount", "correlation"]
"""What a figure can be: any number, from 0 to 1, at least 0, or a correlation."""

_LIMITS = {"number": (-math.inf, math.inf), "share": (0.0, 1.0), "amount": (0.0, math.inf)}
_LEAST_SPREAD = 0.2  # of a draw, relative to that of all: a draw of equal subjects has none at all
_EDGE = 1 - 1e-9  # of a correlation, whose z is infinite at 1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with the limits of its interval, and the number of subjects behind it.

    ``method`` says what the limits are, or why there are none: ``n too small`` or ``not defined``.
    """

    value: float
    low: float
    high: float
    subjects: int
    method: str = STUDENTISED

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, ``None`` where there is none, and the method as ``interval``."""
        numbers = {name: finite_or_none(getattr(self, name)) for name in ("value", "low", "high")}
        return {**numbers, "subjects": self.subjects, "interval": self.method}


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


def bootstrap_of(result: Any) -> str:  # noqa: ANN401  # any JSON
    """Which bootstrap the intervals of a result come from, in words.

    Args:
        result: JSON with figures of :meth:`Interval.to_json` anywhere in it. Figures that do not say where
            their interval comes from were made when all were percentiles.

    Returns:
        Like ``studentised bootstrap``.

    Example:
        >>> bootstrap_of({"dice": {"value": 0.8, "low": 0.7, "high": 0.9, "subjects": 40}})
        'percentile bootstrap'
    """
    methods = {method for method in _methods(result) if method not in (TOO_FEW, UNDEFINED)}
    return f"{' or '.join(sorted(methods, reverse=True)) or STUDENTISED} bootstrap"


def _methods(result: Any) -> Iterator[str]:  # noqa: ANN401  # any JSON
    if isinstance(result, Mapping):
        if {"value", "low", "high", "subjects"} <= result.keys():
            yield result.get("interval", UNDEFINED if result["low"] is None else PERCENTILE)
        for part in result.values():
            yield from _methods(part)
    elif isinstance(result, list | tuple):
        for part in result:
            yield from _methods(part)


def cluster_bootstrap(
    subjects: Sequence[str],
    statistic: Callable[[Sequence[int]], float],
    *,
    where: Sequence[bool] | NDArray[np.bool_] | None = None,
    kind: Kind = "number",
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Studentised interval of a figure; subjects are drawn with replacement.

    Args:
        subjects: subject of each scan.
        statistic: takes indices of scans (repeated ones included) and returns a figure.
        where: scans that the figure is about, such as those that have a structure; all unless given. Subjects
            without any do not count.
        kind: ``share`` lies in [0, 1], ``amount`` is at least 0, ``correlation`` lies in [-1, 1].
        level: share of the intervals that hold the true figure, where :data:`LEAST_SUBJECTS` are enough.
        draws: number of draws.
        seed: of the draws.

    Returns:
        The figure over all scans with its interval; see :meth:`Resamples.interval`.

    Source:
        See :meth:`Resamples.interval`.

    Example:
        >>> cluster_bootstrap(["a", "b"], lambda rows: float(len(rows))).to_json()
        {'value': 2.0, 'low': None, 'high': None, 'subjects': 2, 'interval': 'n too small'}
    """
    resamples = Resamples.of(subjects, where=where, draws=draws, seed=seed)
    if not resamples.times.any():
        return Interval(math.nan, math.nan, math.nan, 0, UNDEFINED)
    return resamples.interval([statistic(rows) for rows in resamples.rows()], kind=kind, level=level)


@dataclass(frozen=True, eq=False)
class Resamples:
    """The scans over which a figure must be taken before it gets an interval.

    ``times`` ``(resamples, scans)`` int64: how often each scan counts. The first row holds every scan once;
    then each subject is left out once, then come the draws. With too few subjects there is the first
    row alone.
    """

    times: NDArray[np.int64]
    _strata: NDArray[np.int64]
    _drawn: Floats

    @classmethod
    def of(
        cls,
        subjects: Sequence[str],
        *,
        where: Sequence[bool] | NDArray[np.bool_] | None = None,
        strata: Sequence[int] | None = None,
        least: int = LEAST_SUBJECTS,
        draws: int = 1000,
        seed: int = 0,
    ) -> Self:
        """Leave out and draw subjects, all scans of one together.

        Args:
            subjects: subject of each scan.
            where: scans that count; all unless given.
            strata: number of a group per scan, the same for all scans of a subject; subjects are drawn inside
                their group, as many as it has. One group unless given.
            least: subjects that an interval needs; fewer only to find out what it then covers.
            draws: number of draws.
            seed: of the draws.

        Example:
            >>> len(Resamples.of([f"s{i}" for i in range(30)], draws=5).times)
            36
        """
        chosen = np.flatnonzero(np.ones(len(subjects), bool) if where is None else np.asarray(where, bool))
        names, first, owner = np.unique(
            np.asarray(subjects, dtype=str)[chosen], return_index=True, return_inverse=True
        )
        group = np.zeros(len(names), np.int64)
        if strata is not None:
            group = np.asarray(strata, np.int64)[chosen][first]

        def of_scans(of_subjects: NDArray[np.int64]) -> NDArray[np.int64]:
            times = np.zeros((len(of_subjects), len(subjects)), np.int64)
            times[:, chosen] = of_subjects[:, owner]
            return times

        whole = np.ones((1, len(names)), np.int64)
        if len(names) < least:
            return cls(of_scans(whole), group, np.zeros((0, len(names))))
        drawn = np.zeros((draws, len(names)), np.int64)
        for number, h in enumerate(np.unique(group)):
            members = np.flatnonzero(group == h)
            drawn[:, members] = _picked(len(members), draws, seed + 7919 * number)
        times = np.concatenate([whole, 1 - np.eye(len(names), dtype=np.int64), drawn])
        return cls(of_scans(times), group, drawn.astype(np.float64))

    def rows(self) -> Iterator[list[int]]:
        """Indices of the scans of each resample, repeated ones included."""
        scans = np.arange(self.times.shape[1])
        for times in self.times:
            yield np.repeat(scans, times).tolist()

    def interval(self, figures: ArrayLike, *, kind: Kind = "number", level: float = 0.95) -> Interval:
        r"""The interval that the figures of all resamples give.

        .. math:: [\hat\theta - q_1 s, \hat\theta + q_2 s]

        s is the jackknife's standard error over subjects, and each q the largest of Student's quantile, the
        quantile of the studentised draws on that side, and that of their absolute values.

        Args:
            figures: one per row of :attr:`times`; NaN where it is not defined.
            kind: ``share`` lies in [0, 1], ``amount`` is at least 0, ``correlation`` lies in [-1, 1] and is
                studentised as Fisher's z.
            level: share of the intervals that shall hold the true figure.

        Returns:
            The figure over all scans with its interval. Without limits if there are too few subjects, or if
            the figure is not defined without some subject or in most draws.

        Source:
            Efron & Tibshirani 1993, ch. 11 and 12.5, subjects as in Field & Welsh 2007. The spread of a draw
            is that of the jackknife's influence values, and the largest of three quantiles is ours: each
            alone covers too little somewhere (docs/reference/statistics.md).
        """
        value, *rest = np.asarray(figures, np.float64)
        subjects = len(self._strata)
        if not math.isfinite(value):
            return Interval(math.nan, math.nan, math.nan, subjects, UNDEFINED)
        if len(self.times) == 1:
            return Interval(float(value), math.nan, math.nan, subjects, TOO_FEW)
        z = np.asarray([value, *rest])
        if kind == "correlation":
            z = np.arctanh(np.clip(z, -_EDGE, _EDGE))
        centre, left_out, drawn = float(z[0]), z[1 : 1 + subjects], z[1 + subjects :]
        if not np.isfinite(left_out).all() or np.isfinite(drawn).mean() <= 0.5:
            return Interval(float(value), math.nan, math.nan, subjects, UNDEFINED)
        low, high = centre - np.array([1, -1]) * self._reach(centre, left_out, drawn, (1 - level) / 2)
        if kind == "correlation":
            return Interval(float(value), math.tanh(low), math.tanh(high), subjects)
        least, most = _LIMITS[kind]
        return Interval(float(value), max(float(low), least), min(float(high), most), subjects)

    def _reach(self, centre: float, left_out: Floats, drawn: Floats, tail: float) -> Floats:
        """How far the interval reaches below and above the figure, ``(2,)``."""
        groups = [np.flatnonzero(self._strata == h) for h in np.unique(self._strata)]
        variance, of_draws = 0.0, np.zeros(len(drawn))
        for rows in groups:
            n = len(rows)
            if n < 2:
                continue
            influence = (n - 1) * (left_out[rows].mean() - left_out[rows])
            variance += float(influence @ influence) / (n * (n - 1))
            picked = self._drawn if len(groups) == 1 else self._drawn[:, rows]
            of_draws += (picked @ influence**2 / n - (picked @ influence / n) ** 2) / (n - 1)
        error = math.sqrt(variance)
        # where all subjects are alike only rounding is left
        if error <= 1e-12 * max(abs(centre), 1e-300):
            return np.zeros(2)
        spread = np.maximum(np.sqrt(np.maximum(of_draws, 0.0)), _LEAST_SPREAD * error)
        studentised = ((drawn - centre) / spread)[np.isfinite(drawn)]
        student = stats.t.ppf(1 - tail, len(self._strata) - len(groups))
        either = np.quantile(np.abs(studentised), 1 - 2 * tail)
        lower, upper = np.quantile(studentised, [1 - tail, tail])
        return error * np.array([max(student, either, lower), max(student, either, -upper)])


@lru_cache(maxsize=64)
def _picked(n: int, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each of ``n`` is in each draw of as many, ``(draws, n)``."""
    picks = np.random.default_rng(seed).integers(0, n, (draws, n)) + n * np.arange(draws)[:, None]
    counts = np.bincount(picks.ravel(), minlength=n * draws).reshape(draws, n)
    counts.flags.writeable = False
    return counts
