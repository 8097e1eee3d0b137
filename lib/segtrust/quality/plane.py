"""A number of a scan from several of its scores: shrunken weights, so that few subjects carry many scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError
from segtrust.quality.line import CONSTANT, Rows, Scores, slope_and_level

__all__ = ["Plane", "fit_plane"]

Floats = NDArray[np.float64]

PENALTY = 1.0
"""Of a ridge on standardised scores, per scan."""
_TINY = 1e-9


@dataclass(frozen=True)
class Plane:
    """``level`` plus the sum of ``weight * score`` over several scores."""

    weights: Mapping[str, float]
    level: float

    @property
    def score(self) -> str:
        """What it looks at, for a table."""
        return f"{len(self.weights)} scores" if self.weights else CONSTANT

    def at(self, scores: Scores) -> float | None:
        """Value for a scan's scores; ``None`` unless each of its scores is defined and finite."""
        total = self.level
        for name, weight in self.weights.items():
            value = scores.get(name)
            if value is None or not math.isfinite(value):
                return None
            total += weight * value
        return total

    def over(self, rows: Rows) -> Floats:
        """Values for many scans, ``(n,)``; NaN where not defined."""
        total = np.full(len(rows.target), self.level)
        for name, weight in self.weights.items():
            total += weight * rows.scores[name]
        return total

    def renamed(self, names: Mapping[str, str]) -> "Plane":
        """The same plane on scores by other names; those not in ``names`` stay."""
        return Plane({names.get(name, name): weight for name, weight in self.weights.items()}, self.level)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"weights": dict(self.weights), "level": self.level}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: its numbers.

        Returns:
            The plane.

        Raises:
            ModelError: if a part is missing or not a finite number.
        """
        try:
            weights = {str(name): float(weight) for name, weight in document["weights"].items()}
            level = float(document["level"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"a plane must have weights and level, but {error!r}.") from error
        if not all(map(math.isfinite, (level, *weights.values()))):
            raise ModelError("a plane must have finite weights and a finite level.")
        return cls(weights, level)


def fit_plane(rows: Rows, names: Sequence[str]) -> Plane:
    r"""A robust line through one sum of many scores, whose weights are shrunken.

    .. math:: w = (Z^T Z / n + \lambda I)^{-1} Z^T (y - \bar y) / n

    with Z the standardised scores of all rows; slope and level of the line through Z w are those of
    :func:`segtrust.quality.line.slope_and_level`.

    Args:
        rows: scans.
        names: scores to look at; one that any row lacks, or that is the same in all, takes no part.

    Returns:
        The plane, on the scores as they are.

    Source:
        Hoerl & Kennard 1970, ridge regression; Theil 1950, Sen 1968.
    """
    used = [name for name in names if _varies(rows.scores[name])]
    if not used:
        return Plane({}, float(np.median(rows.target[rows.ordinary])))
    x = np.stack([rows.scores[name] for name in used], axis=1)
    spread = x.std(axis=0)
    z, y = (x - x.mean(axis=0)) / spread, rows.target - rows.target.mean()
    n, k = z.shape
    ridge = np.linalg.solve(z.T @ z / n + PENALTY * np.eye(k), z.T @ y / n) / spread
    slope, level = slope_and_level(x @ ridge, rows.target, rows.ordinary)
    return Plane(dict(zip(used, (slope * ridge).tolist(), strict=True)), level)


def _varies(values: Floats) -> bool:
    """Whether a score is finite in all rows and tells any apart."""
    return bool(np.isfinite(values).all()) and float(values.std()) > _TINY * (1 + float(np.abs(values).max()))
