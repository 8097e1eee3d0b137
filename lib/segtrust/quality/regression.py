"""A number of a scan from its scores: a robust line, chosen and checked by leaving out one subject."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError
from segtrust.quality.conformal import Width, conformal_bound, miss_chance

__all__ = [
    "CONSTANT",
    "LEAST_GAIN",
    "LEAST_SUBJECTS",
    "Line",
    "Regression",
    "Rows",
    "fit_line",
    "fit_regression",
]

CONSTANT = "constant"
"""Name of the line that no score moves."""
LEAST_SUBJECTS = 10
"""With fewer subjects nothing is fitted."""

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


@dataclass(frozen=True)
class Regression:
    """A line with what it does on subjects it was not fitted to.

    ``without[i]`` was fitted without subject ``i``; ``held_out[i]`` has predicted and true value of each of
    that subject's ordinary scans.
    """

    line: Line
    without: tuple[Line, ...]
    held_out: tuple[tuple[tuple[float, float], ...], ...]

    @property
    def residuals(self) -> tuple[float, ...]:
        """Largest absolute error of each subject."""
        return tuple(max(abs(p - t) for p, t in pairs) for pairs in self.held_out)

    def predict(self, scores: Scores) -> float | None:
        """Value for a scan's scores; ``None`` where not defined."""
        return self.line.at(scores)

    def interval(self, scores: Scores, coverage: float, width: Width = "usual") -> tuple[float, float] | None:
        """Interval that holds the value of an exchangeable scan with a chance of at least ``coverage``.

        Args:
            scores: of the scan.
            coverage: in (0, 1).
            width: ``widest`` takes the largest residual, if there are enough subjects for ``coverage``.

        Returns:
            Lower and upper end on the scale of the target; ``None`` where not defined, where it is not
            finite, or with too few subjects for ``coverage``.

        Source:
            Barber et al. 2021, "Predictive inference with the jackknife+", jackknife-minmax: the bound holds
            in full for every way to fit and choose that treats subjects alike.
        """
        centres = self.spread(scores)
        chance = miss_chance(len(self.held_out), 1 - coverage, width)
        far = conformal_bound(self.residuals, chance)
        if centres is None or not all(map(math.isfinite, (*centres, far))):
            return None
        return centres[0] - far, centres[1] + far

    def spread(self, scores: Scores) -> tuple[float, float] | None:
        """Smallest and largest value of the lines that were fitted without one subject."""
        values = [line.at(scores) for line in self.without]
        numbers = [v for v in values if v is not None]
        return (min(numbers), max(numbers)) if numbers and len(numbers) == len(values) else None

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same regression on scores by other names; those not in ``names`` stay."""

        def line(old: Line) -> Line:
            return replace(old, score=names.get(old.score, old.score))

        return replace(self, line=line(self.line), without=tuple(map(line, self.without)))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        lines = [[line.score, line.slope, line.level] for line in (self.line, *self.without)]
        held_out = [[list(pair) for pair in pairs] for pairs in self.held_out]
        return {"line": lines[0], "without": lines[1:], "held_out": held_out}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: its numbers.

        Returns:
            The regression.

        Raises:
            ModelError: if a number is missing.
        """
        try:
            line, *without = (Line(*numbers) for numbers in (document["line"], *document["without"]))
            held_out = tuple(tuple((p, t) for p, t in pairs) for pairs in document["held_out"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"a regression must have line, without and held_out, but {error!r}.") from error
        return cls(line, tuple(without), held_out)


def fit_regression(rows: Rows, names: Sequence[str]) -> Regression | None:
    """Fit a line, and one more without each subject.

    Args:
        rows: scans.
        names: scores to choose from.

    Returns:
        The regression; ``None`` with fewer than ten subjects.

    Source:
        Barber et al. 2021; the score is chosen anew without each subject, so that choosing costs no coverage.
    """
    everyone = rows.everyone
    if len(everyone) < LEAST_SUBJECTS:
        return None
    without, held_out = [], []
    for subject in everyone:
        own = rows.of(subject)
        line, seen = fit_line(rows.pick(~own), names), rows.pick(own & rows.ordinary)
        without.append(line)
        predicted = line.level + line.slope * _score(seen, line.score)
        held_out.append(tuple(zip(predicted.tolist(), seen.target.tolist(), strict=True)))
    return Regression(fit_line(rows, names), tuple(without), tuple(held_out))


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

    def error(name: str) -> float:
        x, apart = _score(rows, name), []
        for own in groups:
            slope, level = _slope_and_level(x[~own], y[~own], rows.ordinary[~own])
            apart.append(np.abs(level + slope * x[own] - y[own]).mean())
        return float(np.mean(apart))

    errors = {name: error(name) for name in (CONSTANT, *defined)}
    best = min(errors, key=lambda name: errors[name])
    if errors[best] > (1 - LEAST_GAIN) * errors[CONSTANT]:
        best = CONSTANT
    return Line(best, *_slope_and_level(_score(rows, best), y, rows.ordinary))


def _slope_and_level(x: Floats, y: Floats, ordinary: NDArray[np.bool_]) -> tuple[float, float]:
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
