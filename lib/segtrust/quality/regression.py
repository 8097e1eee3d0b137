"""A number of a scan from its scores, and an interval around it: what is fitted without each subject."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from segtrust.errors import ModelError
from segtrust.quality.conformal import Width, conformal_bound, miss_chance
from segtrust.quality.line import Line, Rows, Scores, fit_line
from segtrust.quality.ridge import Ridge

__all__ = ["LEAST_SUBJECTS", "Regression", "fit_regression"]

LEAST_SUBJECTS = 10
"""With fewer subjects nothing is fitted."""


@dataclass(frozen=True)
class Regression:
    """A line with what it does on subjects it was not fitted to.

    ``without[i]`` was fitted without subject ``i``; ``held_out[i]`` has predicted and true value of each of
    that subject's ordinary scans. ``ridge``: intervals from two scores, which are narrower; absent where a
    subject has several scans, and in versions made before there were any.
    """

    line: Line
    without: tuple[Line, ...]
    held_out: tuple[tuple[tuple[float, float], ...], ...]
    ridge: Ridge | None = None

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

    def narrow_interval(self, scores: Scores, coverage: float) -> tuple[float, float] | None:
        """The same promise from two scores, where the version has them; else :meth:`interval`.

        The ridge knows scans as they are alone, the line has also seen worsened ones: see
        :meth:`segtrust.quality.Ridge.beside`.

        Args:
            scores: of the scan.
            coverage: in (0, 1).

        Returns:
            Lower and upper end on the scale of the target, with the predicted value between them; ``None`` as
            in :meth:`interval`.
        """
        wide, predicted = self.interval(scores, coverage), self.predict(scores)
        if self.ridge is None or wide is None or predicted is None:
            return wide
        return self.ridge.beside(wide, predicted, scores, coverage)

    def spread(self, scores: Scores) -> tuple[float, float] | None:
        """Smallest and largest value of the lines that were fitted without one subject."""
        values = [line.at(scores) for line in self.without]
        numbers = [v for v in values if v is not None]
        return (min(numbers), max(numbers)) if numbers and len(numbers) == len(values) else None

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same regression on scores by other names; those not in ``names`` stay."""
        return replace(
            self, line=self.line.renamed(names), without=tuple(line.renamed(names) for line in self.without)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "line": self.line.to_json(),
            "without": [line.to_json() for line in self.without],
            "held_out": [[list(pair) for pair in pairs] for pairs in self.held_out],
            **({} if self.ridge is None else {"ridge": self.ridge.to_json()}),
        }

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
        ridge = document.get("ridge")
        return cls(line, tuple(without), held_out, None if ridge is None else Ridge.from_json(ridge))


def fit_regression(rows: Rows, names: Sequence[str]) -> Regression | None:
    """Fit a line, and one more without each subject.

    Args:
        rows: scans.
        names: scores to choose from.

    Returns:
        The regression; ``None`` with fewer than ten subjects.

    Source:
        Barber et al. 2021; all is chosen anew without each subject, so that choosing costs no coverage.
    """
    everyone = rows.everyone
    if len(everyone) < LEAST_SUBJECTS:
        return None
    without, held_out = [], []
    for subject in everyone:
        own = rows.of(subject)
        line, seen = fit_line(rows.pick(~own), names), rows.pick(own & rows.ordinary)
        without.append(line)
        held_out.append(tuple(zip(line.over(seen).tolist(), seen.target.tolist(), strict=True)))
    return Regression(fit_line(rows, names), tuple(without), tuple(held_out))
