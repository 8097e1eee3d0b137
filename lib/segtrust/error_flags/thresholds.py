"""Rules that set the threshold above which a voxel is flagged; a score equal to it is not flagged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import SettingError

__all__ = ["RULES", "FlagRule", "otsu_threshold", "recall_threshold"]

Values = NDArray[np.floating[Any]]
Counts = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]

_BINS = 256


def otsu_threshold(values: Values) -> float:
    """The threshold that parts a histogram of 256 bins into the two classes farthest apart.

    Args:
        values: at least one, any shape.

    Returns:
        Upper edge of the last bin of the lower class; the value itself if all are equal.

    Source:
        Otsu 1979; the libraries that have it are not part of the core.

    Example:
        >>> 0.1 < otsu_threshold(np.array([0.1, 0.1, 0.1, 0.9])) < 0.9
        True
    """
    counts, edges = np.histogram(values, bins=_BINS)
    middle = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    mass = counts * middle
    if values.min() == values.max():
        return float(values.max())
    low, high = np.cumsum(mass)[:-1] / below, np.cumsum(mass[::-1])[::-1][1:] / above
    return float(edges[1 + np.argmax(below.astype(np.float64) * above * (low - high) ** 2)])


def recall_threshold(wrong: Counts, recall: float) -> float:
    """The highest threshold above which at least this share of the wrong voxels lies.

    Args:
        wrong: wrong voxels of labelled scans per cell of equal width of their score on [0, 1], in rising
            order, such as ``ErrorHistogram.wrong``.
        recall: share of the wrong voxels to be found, in (0, 1].

    Returns:
        An edge of a cell; -1, which flags every voxel, if the lowest cell is needed.

    Raises:
        SettingError: if there are no wrong voxels to learn from.

    Note:
        What is promised holds for voxels of scans like these, pooled, and not for each scan.

    Example:
        >>> recall_threshold(np.array([1, 0, 1, 8]), 0.9)
        0.5
    """
    above = np.cumsum(wrong[::-1])[::-1]
    if not above[0]:
        raise SettingError("a threshold for a recall needs labelled scans with wrong voxels, got none.")
    cell = int(np.flatnonzero(above >= recall * above[0])[-1])
    return cell / len(wrong) if cell else -1.0


def _budget_threshold(values: Values, share: float) -> float:
    """At most this share of the voxels lies above; ties at the border are left out together."""
    flat = np.sort(values, axis=None)
    return float(flat[max(flat.size - 1 - int(share * flat.size), 0)])


_FROM_VALUES: Mapping[str, Callable[[Values, float], float]] = {
    "fixed": lambda _values, limit: limit,
    "mean": lambda values, _: float(values.mean(dtype=np.float64)),
    "mean_sd": lambda values, c: float(values.mean(dtype=np.float64) + c * values.std(dtype=np.float64)),
    "quantile": lambda values, q: float(np.quantile(values, q)),
    "otsu": lambda values, _: otsu_threshold(values),
    "budget": _budget_threshold,
}
RULES: Mapping[str, tuple[str, float]] = {
    "fixed": ("the number itself", 0.5),
    "mean": ("mean of the scan", 0.0),
    "mean_sd": ("mean of the scan and so many standard deviations", 1.0),
    "quantile": ("quantile of the scan", 0.95),
    "otsu": ("Otsu's threshold of the scan", 0.0),
    "budget": ("at most this share of the scan's voxels is flagged", 0.05),
    "calibrated": ("this share of the wrong voxels of labelled scans is found", 0.9),
}
"""Rules with what their number means and what it is unless given; all but the first and the last are dynamic:
computed from the scan itself."""
_PLAIN = ("mean", "otsu")


@dataclass(frozen=True)
class FlagRule:
    """A rule of :data:`RULES` with its number.

    Raises:
        SettingError: if the rule is unknown or its number outside its range.
    """

    name: str
    number: float

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise SettingError(f"a flag rule must be one of {', '.join(RULES)}, got {self.name!r}.")
        if not np.isfinite(self.number):
            raise SettingError(f"the number of a flag rule must be a finite number, got {self.number:g}.")
        if not (0 < self.number <= 1 or self.name in (*_PLAIN, "mean_sd", "fixed")):
            raise SettingError(
                f"the number of the flag rule {self.name!r} must lie above 0 and not above 1, "
                f"got {self.number:g}."
            )

    def __str__(self) -> str:
        return self.name if self.name in _PLAIN else f"{self.name}:{self.number:g}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``rule`` or ``rule:number``.

        Args:
            text: such as ``otsu``, ``budget:0.05``, ``calibrated:0.9``.

        Returns:
            The rule; its number is that of :data:`RULES` unless given.

        Raises:
            SettingError: if the rule is unknown, or its number none or outside its range.

        Example:
            >>> str(FlagRule.parse("budget")), FlagRule.parse("mean_sd:2").number
            ('budget:0.05', 2.0)
        """
        name, _, number = text.strip().partition(":")
        try:
            return cls(name, float(number) if number else RULES.get(name, ("", 0.0))[1])
        except ValueError as error:
            if isinstance(error, SettingError):
                raise
            raise SettingError(
                f"a flag rule must be NAME or NAME:NUMBER, got {text!r}. Example: budget:0.05"
            ) from error

    def threshold(self, values: Values, *, wrong: Counts | None = None) -> float:
        """The threshold for one scan; voxels with a score above it are flagged.

        Args:
            values: scores of the scan's voxels that count, such as those of the band.
            wrong: for ``calibrated`` alone: wrong voxels of labelled scans, see :func:`recall_threshold`.

        Returns:
            In the unit of the score; infinity if no voxel counts.

        Raises:
            SettingError: if ``calibrated`` has nothing to learn from.

        Source:
            Some & Namboodiri, arXiv:2406.14201, use thresholds computed from the image; their exact rule was
            not at hand.

        Example:
            >>> FlagRule("mean", 0).threshold(np.array([0.0, 0.5, 1.0]))
            0.5
        """
        if self.name == "calibrated":
            if wrong is None:
                raise SettingError(
                    "the flag rule 'calibrated' needs counts of wrong voxels of labelled scans, got none. "
                    "Use a rule that is computed from the scan, such as otsu."
                )
            return recall_threshold(wrong, self.number)
        return _FROM_VALUES[self.name](values, self.number) if values.size else float("inf")
