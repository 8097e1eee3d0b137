"""A number of a scan from several of its scores: shrunken weights, so that few subjects carry many scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError
from segtrust.quality.line import Rows, Scores

__all__ = ["Plane", "fit_plane"]

Floats = NDArray[np.float64]

PENALTY = 1.0
"""Of a ridge on standardised scores, in units of the number of scans."""


@dataclass(frozen=True)
class Plane:
    """``level`` plus the sum of ``weight * score`` over several scores."""

    weights: Mapping[str, float]
    level: float

    @property
    def score(self) -> str:
        """What it looks at, for a table."""
        return f"{len(self.weights)} scores"

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
    r"""The plane of least squares with shrunken weights.

    .. math:: \min_w \frac{1}{n} \sum_i (y_i - \bar y - z_i w)^2 + \lambda |w|^2

    over the scans with z the standardised scores; the level is then the median of what is left on ordinary
    scans.

    Args:
        rows: scans.
        names: scores to look at; one that any row lacks, or that is the same in all, takes no part.

    Returns:
        The plane, on the scores as they are.

    Source:
        Hoerl & Kennard 1970, ridge regression.
    """
    used = [name for name in names if np.isfinite(rows.scores[name]).all() and np.ptp(rows.scores[name]) > 0]
    x = np.stack([rows.scores[name] for name in used], axis=1) if used else np.zeros((len(rows.target), 0))
    mean, spread = x.mean(axis=0), x.std(axis=0)
    z, y = (x - mean) / spread, rows.target - rows.target.mean()
    n, k = z.shape
    weights = np.linalg.solve(z.T @ z / n + PENALTY * np.eye(k), z.T @ y / n) / spread
    level = float(np.median((rows.target - x @ weights)[rows.ordinary]))
    return Plane(dict(zip(used, weights.tolist(), strict=True)), level)
