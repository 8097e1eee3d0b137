"""Ways to make an interval of Dice from the scores of a structure, compared on drawn calibration sets."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from segtrust.quality import COVERAGE, Rows, conformal_bound
from segtrust.quality.line import fit_line, slope_and_level
from segtrust.quality.line_scores import LINE_SCORES, line_scores
from segtrust.quality.log_odds import dice_range
from segtrust.quality.ridge import RIDGE_SCORES, Ridge
from segtrust.scores import StructureScores

__all__ = ["Pool", "Way", "judge_full", "judge_ways", "scaled", "scores_of", "summary", "ways"]

Floats = NDArray[np.float64]

_PARTS = 5
_LOG_ERROR = 1.11
"""Standard deviation of the log of an absolute normal error."""


def scores_of(details: StructureScores) -> Floats:
    """All scores of a structure, shares as log odds, sizes as logarithms; NaN where not defined.

    Args:
        details: of the structure.

    Returns:
        ``(13,)``: those of today's lines, then :data:`_MORE`.
    """
    values = line_scores(details)
    first = [values[name] for name in LINE_SCORES]
    more = [(getattr(details, name), change) for name, change in _MORE.items()]
    numbers = [*first, *(None if v is None else change(v) for v, change in more)]
    return np.array([np.nan if v is None else v for v in numbers], np.float64)


_MORE: Mapping[str, Callable[[float], float]] = {
    **dict.fromkeys(("class_score", "volume_spread", "mixing"), float),
    "size": math.log,
    "surface": math.log,
    "largest_part": float,
    "expected_volume": lambda ratio: abs(math.log(ratio)),
    "entropy_share": float,
}
"""Scores beyond those of lines, and the scale on which they are looked at."""


@dataclass(frozen=True)
class Pool:
    """Scans of one structure.

    ``subject`` ``(n,)`` by number, ``x`` ``(n, 13)`` scores, ``y`` log odds of Dice, ``ordinary``: scans as
    they are, the others are worsened copies.
    """

    subject: NDArray[np.int64]
    x: Floats
    y: Floats
    ordinary: NDArray[np.bool_]

    def pick(self, rows: NDArray[np.bool_]) -> "Pool":
        """Some of the rows."""
        return Pool(self.subject[rows], self.x[rows], self.y[rows], self.ordinary[rows])

    def of(self, subjects: Sequence[int]) -> "Pool":
        """The rows of some subjects."""
        return self.pick(np.isin(self.subject, subjects))


@dataclass(frozen=True)
class Fitted:
    """What a way says of scans: scores -> centre, half width before an error is added, scale of the error."""

    at: Callable[[Floats], tuple[Floats, Floats, Floats]]


Fit = Callable[[Mapping[int, Pool]], Mapping[int, Fitted]]
"""Pools of all structures -> what is said of each."""


@dataclass(frozen=True)
class Way:
    """One candidate; ``cost`` orders them from simple to not."""

    name: str
    cost: tuple[int, ...]
    fit: Fit


def _plain(centre: Callable[[Floats], Floats]) -> Fitted:
    def at(x: Floats) -> tuple[Floats, Floats, Floats]:
        middle = centre(x)
        return middle, np.zeros(len(middle)), np.ones(len(middle))

    return Fitted(at)


def _each(fit: Callable[[Pool], Fitted]) -> Fit:
    return lambda pools: {value: fit(pool) for value, pool in pools.items()}


def _constant(pool: Pool) -> Fitted:
    level = float(np.median(pool.y[pool.ordinary]))
    return _plain(lambda x: np.full(len(x), level))


def _one_score(pool: Pool) -> Fitted:
    key = (pool.subject.tobytes(), pool.y.tobytes())
    if key not in _LINES:
        _LINES[key] = _fit_one_score(pool)
    return _LINES[key]


_LINES: dict[tuple[bytes, bytes], Fitted] = {}


def _fit_one_score(pool: Pool) -> Fitted:
    names = LINE_SCORES
    rows = Rows(
        [f"{s:04d}" for s in pool.subject],
        {name: pool.x[:, i] for i, name in enumerate(names)},
        pool.y,
        pool.ordinary,
    )
    line = fit_line(rows, names)
    if line.score not in names:
        return _plain(lambda x: np.full(len(x), line.level))
    column = names.index(line.score)
    return _plain(lambda x: line.level + line.slope * x[:, column])


@dataclass(frozen=True)
class _Scaled:
    """Scores of some rows, centred and divided by their spread; a score without any is 0."""

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, x: Floats) -> "_Scaled":
        spread = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(spread > 1e-12, spread, np.inf))

    def __call__(self, x: Floats) -> Floats:
        z: Floats = (x - self.mean) / self.spread
        return z


def _ridge_weights(z: Floats, y: Floats, penalty: float) -> Floats:
    n, k = z.shape
    weights: Floats = np.linalg.solve(z.T @ z / n + penalty * np.eye(k), z.T @ y / n)
    return weights


def _component_weights(z: Floats, y: Floats, _penalty: float) -> Floats:
    along = z.T @ y
    t = z @ along
    spread = float(t @ t)
    return along * (float(t @ y) / spread) if spread > 0 else np.zeros(z.shape[1])


def _rescaled_weights(z: Floats, y: Floats, penalty: float) -> Floats:
    weights = _ridge_weights(z, y, penalty)
    slope, _ = slope_and_level(z @ weights, y, np.ones(len(y), bool))
    return weights * slope


Weights = Callable[[Floats, Floats, float], Floats]


def _planes(weigh: Weights, penalty: float, scores: int, copies: bool, pooled: bool) -> Fit:
    """Weights of scores; the level is the median over the scans themselves."""

    def fit(pools: Mapping[int, Pool]) -> Mapping[int, Fitted]:
        used = {v: pool if copies else pool.pick(pool.ordinary) for v, pool in pools.items()}
        scale = {v: _Scaled.of(pool.x[:, :scores]) for v, pool in used.items()}
        z = {v: scale[v](pool.x[:, :scores]) for v, pool in used.items()}
        y = {v: pool.y - pool.y.mean() for v, pool in used.items()}
        if pooled:
            common = weigh(np.concatenate(list(z.values())), np.concatenate(list(y.values())), penalty)
            weights = dict.fromkeys(pools, common)
        else:
            weights = {v: weigh(z[v], y[v], penalty) for v in pools}
        return {v: _plane(pools[v], scale[v], weights[v], scores) for v in pools}

    return fit


def _plane(pool: Pool, scale: _Scaled, weights: Floats, scores: int) -> Fitted:
    own = pool.pick(pool.ordinary)
    level = float(np.median(own.y - scale(own.x[:, :scores]) @ weights))
    return _plain(lambda x: level + scale(x[:, :scores]) @ weights)


def _two_stages(first: Fit, penalty: float, scores: int) -> Fit:
    """What the first leaves on the scans themselves, by scores that are clipped to their range there."""

    def fit(pools: Mapping[int, Pool]) -> Mapping[int, Fitted]:
        return {v: second(pools[v], fitted) for v, fitted in first(pools).items()}

    def second(pool: Pool, fitted: Fitted) -> Fitted:
        own = pool.pick(pool.ordinary)
        x = own.x[:, :scores]
        low, high, scale = x.min(axis=0), x.max(axis=0), _Scaled.of(x)
        left = own.y - fitted.at(own.x)[0]
        weights = _ridge_weights(scale(x), left - left.mean(), penalty)
        level = float(np.median(left - scale(x) @ weights))

        def centre(rows: Floats) -> Floats:
            return fitted.at(rows)[0] + level + scale(np.clip(rows[:, :scores], low, high)) @ weights

        return _plain(centre)

    return fit


def _scaled(fit: Fit) -> Fit:
    """Errors in proportion to a power of 1 - Dice, which follows errors of subjects left out in fifths."""

    def both(pools: Mapping[int, Pool]) -> Mapping[int, Fitted]:
        everyone = np.unique(np.concatenate([pool.subject for pool in pools.values()]))
        where: dict[int, list[Floats]] = {v: [] for v in pools}
        errors: dict[int, list[Floats]] = {v: [] for v in pools}
        for part in range(_PARTS):
            out = everyone[part::_PARTS]
            inside = {v: pool.pick(~np.isin(pool.subject, out)) for v, pool in pools.items()}
            for v, fitted in fit(inside).items():
                own = pools[v].pick(np.isin(pools[v].subject, out) & pools[v].ordinary)
                centre = fitted.at(own.x)[0]
                where[v].append(_log_miss(centre))
                errors[v].append(np.log(np.abs(own.y - centre) + 1e-3))
        powers = {v: _power(np.concatenate(where[v]), np.concatenate(errors[v])) for v in pools}
        return {v: wider(fitted, *powers[v]) for v, fitted in fit(pools).items()}

    def wider(fitted: Fitted, power: float, usual: float) -> Fitted:
        def at(x: Floats) -> tuple[Floats, Floats, Floats]:
            centre, half, _ = fitted.at(x)
            return centre, half, np.exp(power * (_log_miss(centre) - usual))

        return Fitted(at)

    return both


def _log_miss(centre: Floats) -> Floats:
    miss: Floats = -np.logaddexp(0.0, np.clip(centre, -5.3, 5.3))
    return miss


def _power(where: Floats, errors: Floats) -> tuple[float, float]:
    usual = float(np.median(where))
    a, b = where - where.mean(), errors - errors.mean()
    return float(a @ b / (a @ a + _LOG_ERROR**2)), usual


def _chosen(fits: Sequence[Fit]) -> Fit:
    """Of several fits, for each structure, the one with the lowest error on subjects left out in fifths."""

    def fit(pools: Mapping[int, Pool]) -> Mapping[int, Fitted]:
        everyone = np.unique(np.concatenate([pool.subject for pool in pools.values()]))
        error = {v: np.zeros(len(fits)) for v in pools}
        for part in range(_PARTS):
            out = everyone[part::_PARTS]
            inside = {v: pool.pick(~np.isin(pool.subject, out)) for v, pool in pools.items()}
            for i, one in enumerate(fits):
                for v, fitted in one(inside).items():
                    own = pools[v].pick(np.isin(pools[v].subject, out) & pools[v].ordinary)
                    error[v][i] += float(np.abs(own.y - fitted.at(own.x)[0]).sum())
        return {v: fits[int(error[v].argmin())](pools)[v] for v in pools}

    return fit


def _quantiles(scores: int, copies: bool) -> Fit:
    """Lines of the 5 % and the 95 % quantile along the first component of the scores."""

    def one(pool: Pool) -> Fitted:
        used = pool if copies else pool.pick(pool.ordinary)
        scale = _Scaled.of(used.x[:, :scores])
        z = scale(used.x[:, :scores])
        weights = _component_weights(z, used.y - used.y.mean(), 0.0)
        own = pool.pick(pool.ordinary)
        t = scale(own.x[:, :scores]) @ weights
        low, high = (_quantile_line(t, own.y, q) for q in (0.05, 0.95))

        def at(x: Floats) -> tuple[Floats, Floats, Floats]:
            rows = scale(x[:, :scores]) @ weights
            ends = [level + slope * rows for level, slope in (low, high)]
            return (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2, np.ones(len(rows))

        return Fitted(at)

    return _each(one)


def _quantile_line(t: Floats, y: Floats, q: float) -> tuple[float, float]:
    """Level and slope of the line with the least pinball loss: one goes through two of the points."""
    one, two = np.triu_indices(len(t), 1)
    run = t[two] - t[one]
    slope = np.divide(y[two] - y[one], run, out=np.zeros(len(run)), where=run != 0)
    level = y[one] - slope * t[one]
    left = y - level[:, None] - slope[:, None] * t
    best = int(np.where(left > 0, q * left, (q - 1) * left).sum(axis=1).argmin())
    return float(level[best]), float(slope[best])


def ways() -> tuple[Way, ...]:
    """Every candidate of the rule but for the scaled ones."""
    five, all_ = len(LINE_SCORES), len(LINE_SCORES) + len(_MORE)
    found = [
        Way("constant", (0, 0, 0, 0), _each(_constant)),
        Way("one score", (1, 0, 0, 0), _each(_one_score)),
    ]
    for scores in (five, all_):
        for copies in (False, True):
            with_copies = ", copies" if copies else ""
            for pooled in (False, True):
                common = ", pooled" if pooled else ""
                for penalty in (0.1, 1.0, 10.0):
                    name = f"ridge {penalty:g} of {scores}{with_copies}{common}"
                    found.append(Way(name, (scores, 0, int(pooled), int(copies)),
                                     _planes(_ridge_weights, penalty, scores, copies, pooled)))  # fmt: skip
                name = f"component of {scores}{with_copies}{common}"
                found.append(Way(name, (scores, 0, int(pooled), int(copies)),
                                 _planes(_component_weights, 0.0, scores, copies, pooled)))  # fmt: skip
            found.append(Way(f"quantiles of {scores}{with_copies}", (scores, 1, 0, int(copies)),
                             _quantiles(scores, copies)))  # fmt: skip
    rescaled = {
        (penalty, scores): _planes(_rescaled_weights, penalty, scores, True, False)
        for scores in (five, all_)
        for penalty in (0.1, 1.0, 10.0)
    }
    found.extend(
        Way(f"ridge {penalty:g} of {scores}, copies, rescaled", (scores, 0, 0, 2), fit)
        for (penalty, scores), fit in rescaled.items()
    )
    found.append(Way("chosen", (all_, 0, 0, 3), _chosen([_each(_one_score), *rescaled.values()])))
    firsts = (("one score", 1, _each(_one_score)),
              ("ridge 0.1 of 5", five, _planes(_ridge_weights, 0.1, five, True, False)),
              ("ridge 0.1 of 13", all_, _planes(_ridge_weights, 0.1, all_, True, False)))  # fmt: skip
    for first, own, fit in firsts:
        found.extend(
            Way(
                f"{first}, then ridge {penalty:g} of {scores}",
                (max(own, scores), 0, 0, 2),
                _two_stages(fit, penalty, scores),
            )
            for scores in (five, all_)
            for penalty in (0.1, 1.0, 10.0)
        )
    return tuple(found)


def scaled(way: Way) -> Way:
    """The same way with errors in proportion to a power of 1 - Dice."""
    return Way(f"{way.name}, scaled", (way.cost[0], 1, *way.cost[2:]), _scaled(way.fit))


@dataclass(frozen=True)
class Said:
    """What one calibration set says by one way of one structure of one scan."""

    subject: int
    ordinary: bool
    centre: float
    true: float
    ends: tuple[float, float]


def judge_ways(
    pools: Mapping[int, Pool],
    sets: Sequence[tuple[Sequence[int], Sequence[int]]],
    chosen: Sequence[Way],
    say: Callable[[str], None] = lambda _line: None,
) -> dict[str, dict[int, list[Said]]]:
    """Fit every way on every calibration set, and judge the scans of the others.

    Args:
        pools: structure -> its scans.
        sets: calibration subjects, and those who are judged.
        chosen: the ways.
        say: called with one plain line per way.

    Returns:
        Way -> structure -> what was said.
    """
    result: dict[str, dict[int, list[Said]]] = {}
    for way in chosen:
        by: dict[int, list[Said]] = {value: [] for value in pools}
        for calibration, judged in sets:
            for value, said in _judge(way, pools, calibration, judged):
                by[value].extend(said)
        result[way.name] = by
        say(way.name)
    return result


def _judge(
    way: Way, pools: Mapping[int, Pool], calibration: Sequence[int], judged: Sequence[int]
) -> Iterator[tuple[int, list[Said]]]:
    known = {value: pool.of(calibration) for value, pool in pools.items()}
    fresh = {value: pool.of(judged) for value, pool in pools.items()}
    centres = {v: fitted.at(fresh[v].x)[0] for v, fitted in way.fit(known).items()}
    errors: dict[int, list[float]] = {v: [] for v in pools}
    said: dict[int, list[tuple[Floats, Floats, Floats]]] = {v: [] for v in pools}
    for subject in calibration:
        fitted = way.fit({v: pool.pick(pool.subject != subject) for v, pool in known.items()})
        for v, pool in known.items():
            own = pool.pick((pool.subject == subject) & pool.ordinary)
            said[v].append(fitted[v].at(fresh[v].x))
            if len(own.y):
                centre, half, scale = fitted[v].at(own.x)
                errors[v].append(float(np.max((np.abs(own.y - centre) - half) / scale)))
    for v, pool in fresh.items():
        far = conformal_bound(errors[v], 1 - COVERAGE)
        low = np.min([c - h - far * s for c, h, s in said[v]], axis=0)
        high = np.max([c + h + far * s for c, h, s in said[v]], axis=0)
        rows = zip(pool.subject, pool.ordinary, centres[v], pool.y, low, high, strict=True)
        yield (
            v,
            [
                Said(int(i), bool(o), float(c), float(y), dice_range(float(a), float(b)))
                for i, o, c, y, a, b in rows
            ],
        )


def judge_full(
    pools: Mapping[int, Pool],
    sets: Sequence[tuple[Sequence[int], Sequence[int]]],
    today: Mapping[int, Sequence[Said]],
) -> dict[int, list[Said]]:
    """The same for the ridge of two scores by full conformal prediction, as a version has it.

    Args:
        pools: structure -> its scans, one ordinary scan per subject.
        sets: calibration subjects, and those who are judged.
        today: what the line through one score said, which gives the predicted Dice.

    Returns:
        Structure -> what was said.
    """
    return {v: list(_full(pool, sets, today[v])) for v, pool in pools.items()}


def _full(
    pool: Pool, sets: Sequence[tuple[Sequence[int], Sequence[int]]], today: Sequence[Said]
) -> Iterator[Said]:
    columns = {name: LINE_SCORES.index(name) for name in RIDGE_SCORES}
    said = iter(today)
    for calibration, judged in sets:
        known, fresh = pool.of(calibration), pool.of(judged)
        own = known.pick(known.ordinary)
        ridge = Ridge({n: tuple(own.x[:, c].tolist()) for n, c in columns.items()}, tuple(own.y.tolist()))
        for row in fresh.x:
            line = next(said)
            wide = (float(logit(line.ends[0])), float(logit(line.ends[1])))
            scores: dict[str, float | None] = {n: float(row[c]) for n, c in columns.items()}
            yield replace(line, ends=dice_range(*ridge.beside(wide, line.centre, scores, COVERAGE)))


def marginal_width(pool: Pool) -> float:
    """Range that holds 90 % of the true Dice of the scans themselves."""
    low, high = np.quantile(expit(pool.y[pool.ordinary]), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(high - low)


def summary(
    said: Mapping[int, Sequence[Said]], pools: Mapping[int, Pool], times: Mapping[int, float] | None = None
) -> dict[str, float]:
    """Figures of one way, mean over structures.

    Args:
        said: structure -> what was said.
        pools: gives the marginal widths.
        times: subject -> how often it counts; once unless given.

    Returns:
        ``ratio``: mean width over the marginal one; ``median``: the median width over it; ``coverage``;
        ``r``: Pearson correlation of predicted and true log odds on scans; ``r_copies`` and
        ``coverage_copies``: on worsened ones, for which nothing is promised.
    """
    return {
        key: float(np.mean([_figures(said[v], marginal_width(pools[v]), times)[key] for v in said]))
        for key in ("ratio", "median", "coverage", "r", "r_copies", "coverage_copies")
    }


def _figures(said: Sequence[Said], marginal: float, times: Mapping[int, float] | None) -> dict[str, float]:
    table = np.array([(s.subject, s.ordinary, s.centre, s.true, *s.ends) for s in said], np.float64)
    weight = np.ones(len(table)) if times is None else np.array([times.get(s.subject, 0.0) for s in said])
    own = table[:, 1] > 0
    width = (table[:, 5] - table[:, 4])[own]
    inside = _holds(table[own])
    share = weight[own] / weight[own].sum()
    return {
        "ratio": float(share @ width / marginal),
        "median": float(np.median(width) / marginal),
        "coverage": float(share @ inside),
        "r": _pearson(table[own, 2], table[own, 3]),
        "r_copies": _pearson(table[~own, 2], table[~own, 3]),
        "coverage_copies": float(np.mean(_holds(table[~own]))),
    }


def _holds(table: Floats) -> NDArray[np.bool_]:
    true = expit(table[:, 3])
    inside: NDArray[np.bool_] = (table[:, 4] <= true) & (true <= table[:, 5])
    return inside


def _pearson(one: Floats, two: Floats) -> float:
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])
