"""A number of a scan from one of its scores: a robust line, chosen by leaving out one subject."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONSTANT", "LEAST_GAIN", "Line", "Rows", "Scores", "fit_line", "slope_and_level"]

CONSTANT = "constant"
"""Name of the line that no score moves."""
LEAST_GAIN = 0.1
"""Share of the constant's error that a score must save to be chosen."""

Scores = Mapping[str, float | None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """What a line is fitted to: one row per scan.

    ``scores`` name -> ``(n,)``, NaN where not defined; ``target`` ``(n,)``. ``ordinary`` says which rows are
    scans as they are met; the others, worsened copies of them, show how the target follows the scores where
    a model does badly, and no bound rests on them.
    """

    subjects: Sequence[str]
    scores: Mapping[str, Floats]
    target: Floats
    ordinary: NDArray[np.bool_]

    @property
    def everyone(self) -> list[str]:
        """Subjects with at least one ordinary row, in order of their names."""
        return sorted({s for s, plain in zip(self.subjects, self.ordinary, strict=True) if plain})

    def of(self, subject: str) -> NDArray[np.bool_]:
        """Which rows belong to a subject."""
        own: NDArray[np.bool_] = np.asarray(self.subjects) == subject
        return own

    def pick(self, rows: NDArray[np.bool_]) -> "Rows":
        """Some of the rows."""
        return Rows(
            [s for s, is_picked in zip(self.subjects, rows, strict=True) if is_picked],
            {name: values[rows] for name, values in self.scores.items()},
            self.target[rows],
            self.ordinary[rows],
        )


@dataclass(frozen=True)
class Line:
    """``level + slope * score``."""

    score: str
    slope: float
    level: float

    def at(self, scores: Scores) -> float | None:
        """Value for a scan's scores; ``None`` if the line's score is not defined for it."""
        x = 0.0 if self.score == CONSTANT else scores.get(self.score)
        return None if x is None or not math.isfinite(x) else self.level + self.slope * x

    def over(self, rows: Rows) -> Floats:
        """Values for many scans, ``(n,)``; NaN where not defined."""
        values: Floats = self.level + self.slope * _score(rows, self.score)
        return values

    def renamed(self, names: Mapping[str, str]) -> "Line":
        """The same line on a score by another name; one that is not in ``names`` stays."""
        return replace(self, score=names.get(self.score, self.score))

    def to_json(self) -> list[str | float]:
        """Score, slope and level."""
        return [self.score, self.slope, self.level]


def fit_line(rows: Rows, names: Sequence[str]) -> Line:
    """The line whose score predicts left-out subjects best, by mean absolute error.

    Args:
        rows: scans of at least two subjects.
        names: scores to choose from; one that any row lacks takes no part.

    Returns:
        A line; of the constant if no score saves a tenth of its error. Its slope is that of all rows, its
        level that of the ordinary ones.

    Source:
        Theil 1950, Sen 1968: median of the slopes of all pairs; leave-one-group-out (Stone 1974).
    """
    defined = [name for name in names if np.isfinite(rows.scores[name]).all()]
    groups = [rows.of(subject) for subject in rows.everyone]
    y = rows.target
    one, two = _pairs(len(y))
    apart = [~(own[one] | own[two]) for own in groups]

    def error(name: str) -> float:
        x, errors = _score(rows, name), []
        run, rise = x[two] - x[one], y[two] - y[one]
        differ = run != 0
        slopes = np.divide(rise, run, out=np.zeros(len(run)), where=differ)
        for own, others in zip(groups, apart, strict=True):
            usable = others & differ
            slope = float(np.median(slopes[usable])) if usable.any() else 0.0
            level = float(np.median((y - slope * x)[~own & rows.ordinary]))
            errors.append(np.abs(level + slope * x[own] - y[own]).mean())
        return float(np.mean(errors))

    errors = {name: error(name) for name in (CONSTANT, *defined)}
    best = min(errors, key=lambda name: errors[name])
    if errors[best] > (1 - LEAST_GAIN) * errors[CONSTANT]:
        best = CONSTANT
    return Line(best, *slope_and_level(_score(rows, best), y, rows.ordinary))


def slope_and_level(x: Floats, y: Floats, ordinary: NDArray[np.bool_]) -> tuple[float, float]:
    """Theil-Sen slope over all rows, and the median of what it leaves on the ordinary ones.

    Args:
        x: score, ``(n,)``.
        y: target, ``(n,)``.
        ordinary: rows that give the level, ``(n,)``.

    Returns:
        Slope, 0 where the score never changes, and level.

    Example:
        >>> slope_and_level(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), np.ones(3, bool))
        (2.0, 1.0)
    """
    slope = 0.0
    if np.ptp(x) > 0:
        one, two = _pairs(len(x))
        run, rise = x[two] - x[one], y[two] - y[one]
        differ = run != 0
        slope = float(np.median(rise[differ] / run[differ]))
    return slope, float(np.median((y - slope * x)[ordinary]))


@lru_cache(maxsize=64)
def _pairs(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of all pairs of ``n`` rows; one fit asks for them thousands of times."""
    one, two = np.triu_indices(n, 1)
    return one, two


def _score(rows: Rows, name: str) -> Floats:
    return np.zeros(len(rows.target)) if name == CONSTANT else rows.scores[name]
