"""Candidates for the doubt of a scan, compared by the rule of docs/decisions/0014-doubt.md."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from segtrust.evaluate.ranking import correlation
from segtrust.experiments.fold_ranking import ScoredScan
from segtrust.metrics.bootstrap import finite_or_none
from segtrust.metrics.risk import aurc
from segtrust.quality import ExpectedStructures
from segtrust.scores import StructureScores

__all__ = ["CANDIDATES", "Candidate", "compare", "excess_aurc", "mixed", "presence_of"]

Expected = Mapping[int, ExpectedStructures | None]
Conditions = Mapping[str, Mapping[str, Sequence[ScoredScan]]]
Floats = NDArray[np.float64]

_DRAWS = 200
_TINY_BELOW = 0.05
"""Sizes with a lower tail probability are tiny."""
_LEAST_SPREAD = 0.05
_NORMAL = 1.4826  # of a normal distribution: standard deviation over median absolute deviation
_MEASURES: Mapping[str, Callable[[StructureScores], float | None]] = {
    "entropy": lambda scores: scores.entropy,
    "entropy share": lambda scores: scores.entropy_share,
    "soft Dice": lambda scores: (
        None if scores.soft_dice_confidence is None else 1 - scores.soft_dice_confidence
    ),
}


@dataclass(frozen=True)
class Candidate:
    """Mean over structures of one measure; what is missing, or tiny too, may count."""

    measure: str
    missing: bool = False
    tiny: bool = False

    def __str__(self) -> str:
        return self.measure + " + missing" * self.missing + " + tiny" * self.tiny

    def of(self, scan: ScoredScan, expected: ExpectedStructures | None) -> float | None:
        """Doubt of a scan, high means unsure; ``None`` if nothing is predicted and nothing counts."""
        doubts = []
        for value, scores in scan.scores.details.items():
            own = _MEASURES[self.measure](scores)
            if own is None:
                if self.missing and expected is not None and expected.is_expected(value):
                    doubts.append(1.0)
                continue
            presence = 1.0
            if self.tiny and expected is not None:
                presence = presence_of(expected, value, scores.size)
            doubts.append(1 - presence * (1 - own))
        return sum(doubts) / len(doubts) if doubts else None


CANDIDATES = (
    Candidate("entropy"),
    Candidate("entropy", missing=True),
    *(Candidate(measure, True, tiny) for measure in _MEASURES for tiny in (False, True)),
)
CANDIDATES = tuple(dict.fromkeys(CANDIDATES))


def presence_of(expected: ExpectedStructures, value: int, size: float | None) -> float:
    r"""How far an expected structure is as large as it usually is; low for a tiny one.

    .. math:: \min(1, \Phi((\ln v - m) / s) / 0.05)

    with the median m and the scaled median absolute deviation s of ln v over the calibration scans.

    Args:
        expected: sizes in the calibration scans.
        value: label of the structure.
        size: its predicted size, in the same unit; ``None`` if it was not predicted.

    Returns:
        Unitless, in [0, 1]; 1 for a structure that is not expected, 0 for one that is missing.
    """
    if not expected.is_expected(value):
        return 1.0
    if size is None:
        return 0.0
    logs = np.log([usual for usual in expected.sizes[value] if usual is not None])
    median = float(np.median(logs))
    spread = max(_NORMAL * float(np.median(np.abs(logs - median))), _LEAST_SPREAD)
    return min(1.0, float(ndtr((np.log(size) - median) / spread)) / _TINY_BELOW)


def mixed(clean: Sequence[ScoredScan], hard: Sequence[ScoredScan]) -> list[ScoredScan]:
    """Clean scans, those in ``hard`` in their hard form."""
    changed = {(scan.fold, scan.scan_id): scan for scan in hard}
    return [changed.get((scan.fold, scan.scan_id), scan) for scan in clean]


def excess_aurc(doubts: Sequence[float | None], risks: Sequence[float]) -> float:
    """Area under the risk-coverage curve, of the way from the best order to chance; low is good.

    Args:
        doubts: one per scan, high means unsure; a scan without one is trusted last.
        risks: one per scan, such as 1 - Dice.

    Returns:
        0 for the best order, 1 for chance, above 1 for worse; NaN where all orders are alike.

    Example:
        >>> excess_aurc([0.1, 0.2, 0.3], [0.0, 0.1, 0.5]), excess_aurc([0.1, 0.1, None], [0.0, 0.0, 1.0])
        (0.0, 0.0)
    """
    last = 1 + max((d for d in doubts if d is not None), default=0.0)
    risk = np.asarray(risks, np.float64)
    best, chance = aurc(risk.tolist(), risk.tolist()), float(risk.mean())
    own = aurc([last if d is None else d for d in doubts], risk.tolist())
    return (own - best) / (chance - best) if chance - best > 1e-12 else float("nan")


def compare(conditions: Conditions, expected: Expected) -> dict[str, Any]:
    """Every candidate under every condition of one organ.

    Args:
        conditions: group (``clean``, ``shifts``, ...) -> condition -> the same scans in the same order.
        expected: fold -> expected structures.

    Returns:
        ``{candidate: {"spearman": {group: value}, "excess_aurc": {group: value}, "mean": value,
        "less": {value, low, high}}}``: inside each fold, mean over folds and over the conditions of a group;
        ``mean`` of the excess AURC over groups; ``less`` how much that is below the mean of `entropy`, 95 %
        over 200 draws of subjects inside each fold.
    """
    tables = {
        group: [_Table.of(scans, expected) for scans in part.values()] for group, part in conditions.items()
    }
    folds = next(iter(next(iter(tables.values()))))
    rng = np.random.default_rng(0)
    rows = [folds.rows()] + [folds.rows(rng) for _ in range(_DRAWS)]
    means = {str(c): np.array([_mean_excess(tables, str(c), drawn) for drawn in rows]) for c in CANDIDATES}
    result: dict[str, Any] = {}
    for name, values in means.items():
        less = means["entropy"] - values
        drawn = less[1:][np.isfinite(less[1:])]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        result[name] = {
            "spearman": {
                g: finite_or_none(_mean([t.spearman(name) for t in ts])) for g, ts in tables.items()
            },
            "excess_aurc": {
                g: finite_or_none(_mean([t.excess(name, rows[0]) for t in ts])) for g, ts in tables.items()
            },
            "mean": finite_or_none(float(values[0])),
            "less": {"value": float(less[0]), "low": float(low), "high": float(high)},
        }
    return result


@dataclass(frozen=True)
class _Table:
    """Doubts of every candidate and Dice of the scans of one condition."""

    fold: NDArray[np.int64]
    dice: Floats
    doubts: Mapping[str, list[float | None]]

    @classmethod
    def of(cls, scans: Sequence[ScoredScan], expected: Expected) -> "_Table":
        return cls(
            np.array([scan.fold for scan in scans]),
            np.array([np.nanmean(scan.dice) for scan in scans]),
            {str(c): [c.of(scan, expected.get(scan.fold)) for scan in scans] for c in CANDIDATES},
        )

    def rows(self, rng: np.random.Generator | None = None) -> list[NDArray[np.int64]]:
        """Rows of each fold: all, or drawn with replacement."""
        inside = [np.flatnonzero(self.fold == fold) for fold in np.unique(self.fold)]
        return inside if rng is None else [rng.choice(part, len(part)) for part in inside]

    def excess(self, name: str, rows: Sequence[NDArray[np.int64]]) -> float:
        doubts = self.doubts[name]
        return _mean(
            [excess_aurc([doubts[i] for i in part], (1 - self.dice[part]).tolist()) for part in rows]
        )

    def spearman(self, name: str) -> float:
        doubts = self.doubts[name]
        last = 1 + max((d for d in doubts if d is not None), default=0.0)
        return _mean(
            [
                correlation(
                    [last if doubts[i] is None else doubts[i] for i in part],
                    [self.dice[i : i + 1] for i in part],
                    kind="spearman",
                    of="dice",
                )
                for part in self.rows()
            ]
        )


def _mean_excess(tables: Mapping[str, Sequence[_Table]], name: str, rows: list[NDArray[np.int64]]) -> float:
    return _mean([_mean([table.excess(name, rows) for table in part]) for part in tables.values()])


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")
