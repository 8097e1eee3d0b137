"""Figures of a replay: area under the budget curve, penalties, efficiency, intervals, when to stop."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from segtrust.errors import ShapeError
from segtrust.metrics.bootstrap import LEAST_SUBJECTS, TOO_FEW, UNDEFINED, Interval

__all__ = [
    "LEAST_GAIN",
    "area_under_budget",
    "crossed_bootstrap",
    "foreground_efficiency",
    "penalty_matrix",
    "scans_to_reach",
    "stop_after",
]

LEAST_GAIN = 0.005
"""Gain of mean Dice per round below which labelling more is said not to pay."""

_STEEPEST = 1e4


def area_under_budget(counts: Sequence[float], values: ArrayLike) -> NDArray[np.float64]:
    """Area under the budget curve: the mean height of a learning curve; high is good.

    Args:
        counts: rising budgets, at least two.
        values: figure at each budget, ``(..., rounds)``.

    Returns:
        ``(...)``, in the unit of ``values``: trapezoids over the budget scaled to [0, 1].

    Raises:
        ShapeError: if there is no value for each of at least two rising budgets.

    Source:
        Zhan et al. 2021, AUBC.

    Example:
        >>> float(area_under_budget([10, 20, 40], [0.0, 0.6, 0.6]))
        0.5
    """
    budget, heights = np.asarray(counts, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(budget) < 2 or heights.shape[-1:] != budget.shape or (np.diff(budget) <= 0).any():
        raise ShapeError(
            "the area needs a value at each of at least two rising budgets, got budgets "
            f"{budget.tolist()} and values of shape {heights.shape}."
        )
    share = (budget - budget[0]) / (budget[-1] - budget[0])
    area: NDArray[np.float64] = ((heights[..., 1:] + heights[..., :-1]) / 2 * np.diff(share)).sum(axis=-1)
    return area


def crossed_bootstrap(table: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Percentile interval of a mean over seeds and subjects, both drawn anew with replacement.

    Args:
        table: one figure per seed and subject, ``(seeds, subjects)``; NaN where it is not defined.
        level: share of the draws inside the interval.
        draws: number of draws.
        seed: of the draws.

    Returns:
        The mean with its interval; without limits below 30 subjects.

    Raises:
        ShapeError: if the table is empty or has other than two axes.

    Source:
        Owen 2007, pigeonhole bootstrap of crossed factors. A few seeds cannot show how far other seeds might
        lie, whatever method is used.

    Example:
        >>> crossed_bootstrap([[0.5, 0.5], [0.5, 0.5]]).to_json()
        {'value': 0.5, 'low': None, 'high': None, 'subjects': 2, 'interval': 'n too small'}
    """
    figures = np.asarray(table, dtype=np.float64)
    if figures.ndim != 2 or not figures.size:
        raise ShapeError(f"the table must be (seeds, subjects), got shape {figures.shape}.")
    defined = np.isfinite(figures)
    filled = np.where(defined, figures, 0.0)
    seeds, subjects = figures.shape
    if not defined.any():
        return Interval(math.nan, math.nan, math.nan, subjects, UNDEFINED)
    value = float(filled.sum() / defined.sum())
    if subjects < LEAST_SUBJECTS:
        return Interval(value, math.nan, math.nan, subjects, TOO_FEW)
    rng = np.random.default_rng(seed)
    a = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws).astype(np.float64)
    b = rng.multinomial(subjects, np.full(subjects, 1 / subjects), draws).astype(np.float64)
    total, weight = (np.einsum("dj,js,ds->d", a, part, b) for part in (filled, defined.astype(np.float64)))
    drawn = total[weight > 0] / weight[weight > 0]
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high), subjects, "pigeonhole")


def penalty_matrix(curves: Mapping[str, ArrayLike], *, alpha: float = 0.05) -> dict[str, dict[str, float]]:
    """How often one strategy beats another: share of the budgets at which a paired t-test over seeds says so.

    Args:
        curves: strategy -> mean figure per seed and round, ``(seeds, rounds)``, high is good; all alike.
        alpha: level of each two-sided test; the tests are not corrected for their number.

    Returns:
        ``[winner][loser]`` in [0, 1]; 0 with one seed. A strategy that loses often has a high column.

    Raises:
        ShapeError: if the tables differ in shape.

    Source:
        Ash et al. 2020 (BADGE), pairwise penalty matrix; Holm's correction is not applied.
    """
    tables = {name: np.asarray(table, dtype=np.float64) for name, table in curves.items()}
    shapes = {table.shape for table in tables.values()}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise ShapeError(f"all curves must be (seeds, rounds) of one shape, got {sorted(map(str, shapes))}.")
    return {
        winner: {loser: _share_won(a - b, alpha) for loser, b in tables.items() if loser != winner}
        for winner, a in tables.items()
    }


def _share_won(difference: NDArray[np.float64], alpha: float) -> float:
    seeds = len(difference)
    if seeds < 2:
        return 0.0
    mean, spread = difference.mean(axis=0), difference.std(axis=0, ddof=1)
    limit = float(stats.t.ppf(1 - alpha / 2, seeds - 1))
    return float((mean > limit * spread / math.sqrt(seeds)).mean())


def foreground_efficiency(shares: ArrayLike, values: ArrayLike, *, full: float) -> float | None:
    r"""How fast a strategy turns labelled foreground into quality; high is good.

    .. math:: y = c - a \exp(-\gamma (x - x_0))

    Args:
        shares: labelled share of the pool's foreground voxels, in [0, 1]; the smallest is x0.
        values: figure reached with them, same shape.
        full: c, the figure reached with the whole pool; a is c less the mean figure at x0.

    Returns:
        gamma of the best fit (least squares), at least 0; ``None`` if the start is as good as the whole pool.

    Source:
        nnActive (Luth et al. 2025), foreground efficiency.
    """
    x, y = np.asarray(shares, dtype=np.float64).ravel(), np.asarray(values, dtype=np.float64).ravel()
    start = np.isclose(x, x.min())
    gain = full - float(y[start].mean())
    if gain <= 0 or start.all():
        return None

    def error(log_rate: float) -> float:
        return float(((full - gain * np.exp(-math.exp(log_rate) * (x - x.min())) - y) ** 2).sum())

    grid = np.linspace(math.log(1 / _STEEPEST), math.log(_STEEPEST), 400)
    best = int(np.argmin([error(log_rate) for log_rate in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    minimum = optimize.minimize_scalar(error, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return math.exp(float(minimum.x))


def scans_to_reach(counts: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """Budget at which a learning curve first reaches a figure.

    Args:
        counts: rising budgets.
        values: figure at each budget.
        target: figure to reach.

    Returns:
        The budget, between two rounds on the straight line; ``None`` if no round reaches it.

    Example:
        >>> scans_to_reach([10, 20, 40], [0.5, 0.7, 0.8], 0.6)
        15.0
    """
    for index, value in enumerate(values):
        if value < target:
            continue
        if index == 0:
            return float(counts[0])
        before, step = values[index - 1], counts[index] - counts[index - 1]
        return float(round(counts[index - 1] + step * (target - before) / (value - before), 9))
    return None


def stop_after(gains: Sequence[Interval], *, least: float = LEAST_GAIN) -> int | None:
    """Advice when to stop: the first round that surely gained less than is worth another round.

    Args:
        gains: gain of each round over the round before, from the second round on.
        least: what a round must gain.

    Returns:
        Number of the round, counted from 1 (the initial set is round 1); ``None``: go on labelling.

    Note:
        The upper limit of the interval must be below ``least``.

    Example:
        >>> stop_after([Interval(0.05, 0.04, 0.06, 9), Interval(0.0, -0.001, 0.001, 9)])
        3
    """
    for number, gain in enumerate(gains, start=2):
        if gain.high < least:
            return number
    return None
