"""Intervals from two scores at once: ridge regression by full conformal prediction, exact for any number."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError
from segtrust.quality.line import Rows, Scores

__all__ = ["RIDGE_SCORES", "Ridge", "fit_ridge"]

RIDGE_SCORES = ("between_member", "soft_dice_confidence")
"""Scores that it looks at; one that a calibration scan lacks takes no part."""
PENALTY = 0.1
"""Of standardised scores, per scan; the same for every model, so that nothing is chosen by the scans."""

Floats = NDArray[np.float64]
_ROUNDING = 1e-9
_LEVERAGE = 1e-6
_TINY = 1e-9


@dataclass(frozen=True)
class Ridge:
    """Scores and target of one scan of each calibration subject.

    ``scores``: name -> one number per subject; ``target``: in the same order.
    """

    scores: Mapping[str, tuple[float, ...]]
    target: tuple[float, ...]

    def interval(self, scores: Scores, coverage: float) -> tuple[float, float] | None:
        r"""All values with which the scan would not be stranger than the calibration scans.

        For each possible value y of the scan, a ridge regression is fitted to the calibration scans and to
        it. Its error, left out, is compared with theirs; y belongs to the interval if

        .. math:: \#\{i : |e_i(y)| \ge |e(y)|\} + 1 > (1 - coverage)(n + 1)

        Args:
            scores: of the scan.
            coverage: in (0, 1).

        Returns:
            Lower and upper end on the scale of the target; ``None`` where a score is not defined or not
            finite, or with too few subjects for ``coverage``. An end is infinite where no value is strange.

        Source:
            Nouretdinov et al. 2001, ridge regression confidence machine; Vovk, Gammerman & Shafer 2005: the
            bound is exact for exchangeable scans, since all are treated alike. Errors left out: ours.
        """
        fresh = [scores.get(name) for name in self.scores]
        numbers = [value for value in fresh if value is not None and math.isfinite(value)]
        least = math.floor((1 - coverage) * (len(self.target) + 1) + _ROUNDING)
        if len(numbers) < len(fresh) or least < 1:
            return None
        fixed, moving = self._left_out(np.array(numbers, np.float64))
        low, high = _crossings(fixed, moving)
        return float(np.sort(low)[least - 1]), float(np.sort(high)[-least])

    def knows(self, scores: Scores) -> bool:
        """Whether each score lies among those of the calibration scans."""
        pairs = [(scores.get(name), values) for name, values in self.scores.items()]
        return all(value is not None and min(values) <= value <= max(values) for value, values in pairs)

    def beside(
        self, wide: tuple[float, float], predicted: float, scores: Scores, coverage: float
    ) -> tuple[float, float]:
        """The interval, beside that of a line which has also seen worsened scans.

        Args:
            wide: interval of the line.
            predicted: by the line.
            scores: of the scan.
            coverage: in (0, 1).

        Returns:
            That of the ridge; both as one where a score lies beyond those of the calibration scans, or the
            predicted value beyond the interval, which costs width and no coverage; that of the line where the
            ridge has none.
        """
        narrow = self.interval(scores, coverage)
        if narrow is None:
            return wide
        if self.knows(scores) and narrow[0] <= predicted <= narrow[1]:
            return narrow
        return min(narrow[0], wide[0]), max(narrow[1], wide[1])

    def of(self, row: int) -> dict[str, float | None]:
        """Scores of one calibration scan."""
        return {name: values[row] for name, values in self.scores.items()}

    def without(self, row: int) -> "Ridge":
        """The same ridge that never saw one calibration scan."""
        rest = {name: values[:row] + values[row + 1 :] for name, values in self.scores.items()}
        return Ridge(rest, self.target[:row] + self.target[row + 1 :])

    def _left_out(self, fresh: Floats) -> tuple[Floats, Floats]:
        """Errors left out, ``fixed + moving * y`` of the unknown target; the last one is that of the scan."""
        columns = np.array(list(self.scores.values()), np.float64).reshape(len(self.scores), -1).T
        x = np.vstack([columns.reshape(len(self.target), -1), fresh[None]])
        spread = x.std(axis=0)
        varies = spread > _TINY * np.abs(x).max(axis=0)  # rounding makes a spread of equal numbers too
        z = (x - x.mean(axis=0)) / np.where(varies, spread, np.inf)
        n, k = z.shape
        hat = z @ np.linalg.solve(z.T @ z + PENALTY * n * np.eye(k), z.T) + 1 / n
        errors = (np.eye(n) - hat) / np.maximum(1 - np.diag(hat), _LEVERAGE)[:, None]
        return errors[:, :-1] @ np.array(self.target), errors[:, -1]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, without names of subjects."""
        return {
            "scores": {name: list(values) for name, values in self.scores.items()},
            "target": list(self.target),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: its numbers.

        Returns:
            The ridge.

        Raises:
            ModelError: if a part is missing, not finite, or not one number per subject.
        """
        try:
            scores = {str(name): tuple(map(float, row)) for name, row in document["scores"].items()}
            target = tuple(map(float, document["target"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"a ridge must have scores and target, but {error!r}.") from error
        rows = (*scores.values(), target)
        if not all(len(row) == len(target) and all(map(math.isfinite, row)) for row in rows):
            raise ModelError("a ridge must have one finite number per subject for target and every score.")
        return cls(scores, target)


def fit_ridge(rows: Rows) -> Ridge | None:
    """Keep what intervals from several scores need.

    Args:
        rows: scans; worsened copies take no part.

    Returns:
        The ridge; ``None`` where a subject has several scans, whose worst then counts
        (:class:`segtrust.quality.Regression`), or where no score is defined for all scans.
    """
    own = rows.pick(rows.ordinary)
    used = [name for name in RIDGE_SCORES if name in own.scores and np.isfinite(own.scores[name]).all()]
    if not used or len(set(own.subjects)) < len(own.subjects):
        return None
    order = np.argsort(np.array(own.subjects))
    return Ridge(
        {name: tuple(own.scores[name][order].tolist()) for name in used}, tuple(own.target[order].tolist())
    )


def _crossings(fixed: Floats, moving: Floats) -> tuple[Floats, Floats]:
    """Per calibration scan the values of the target between which its error is at least that of the new scan.

    They hold the value at which the new scan has no error, so that the more scans hold a value the nearer it
    lies to that one.
    """
    new, slope = fixed[-1], moving[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        one = -(new - fixed[:-1]) / (slope - moving[:-1])
        two = -(new + fixed[:-1]) / (slope + moving[:-1])
    bounded = np.abs(moving[:-1]) < abs(slope)
    return (
        np.where(bounded, np.minimum(one, two), -np.inf),
        np.where(bounded, np.maximum(one, two), np.inf),
    )
