"""Conformal contours: an inner one inside the true structure, and an outer one that holds it.

Their margins are a rank among those that calibration scans needed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from segtrust.errors import ModelError
from segtrust.quality.conformal import conformal_bound
from segtrust.quality.contour_rule import CONTOUR_SHARES, CONTOUR_WORDS, ContourRule, ContourWords
from segtrust.quality.margins import SIDES, Margins, NeededMargins, Side, rounded_up

__all__ = ["ContourMargins", "Contours", "fit_contours"]

_LEAST_SCALE_MM = 0.1


@dataclass(frozen=True)
class ContourMargins:
    """What is served: margins that hold for ``each`` contour by itself, or for all at once (``joint``).

    A structure is absent, or ``joint`` empty, where too few subjects allow it.
    """

    rule: ContourRule
    each: Mapping[int, Margins]
    joint: Mapping[int, Margins]

    def of(self, words: ContourWords) -> Mapping[int, Margins]:
        """Margins by structure for one of the two words."""
        return self.joint if words == "joint" else self.each

    def hold_at_once(self, needed: Mapping[int, NeededMargins | None]) -> bool:
        """Whether all contours of a labelled scan are right with the joint margins; of what was found."""
        return all(
            all(margins.hold(own, self.rule.share))
            for value, margins in self.joint.items()
            if (own := needed.get(value)) is not None
        )

    def to_json(self, names: Mapping[int, str]) -> dict[str, Any]:
        """What a reader is told: margins by name of the structure, and what they mean in words."""
        share, wrong = f"{100 * self.rule.share:g} %", 100 * (1 - self.rule.coverage)
        return {
            **vars(self.rule),
            **{w: {names[v]: vars(m) for v, m in self.of(w).items()} for w in CONTOUR_WORDS},
            "statement": (
                f"An outer contour is wrong if less than {share} of the true structure lies in it, an inner "
                f"one if less than {share} of it belongs to the structure. At most {wrong:.3g} % of scans "
                "like the calibration scans have a wrong contour: with `each` this holds for each contour by "
                "itself, with `joint` for all contours of a scan together. It holds on average over "
                "calibration sets."
            ),
        }


@dataclass(frozen=True)
class Contours:
    """Needed margins of calibration subjects: ``needed[structure][subject]``, ``None`` where not found."""

    needed: Mapping[int, tuple[NeededMargins | None, ...]]

    def margins(self, rule: ContourRule) -> ContourMargins:
        r"""Margins that hold for the next subject.

        Each: the :math:`\lceil (n + 1)(1 - \alpha) \rceil`-th smallest needed margin. Joint: the same rank of
        each subject's largest needed margin over all contours, each divided by the mean one of the other
        subjects.

        Args:
            rule: wanted coverage and share.

        Returns:
            The margins. They miss for at most :math:`\alpha` of scans like the calibration scans in which the
            structure is found.

        Source:
            Mossina & Friedrich 2025 (each); the joint rank takes the construction of the jackknife-minmax
            (Barber et al. 2021), so that the scales cost no coverage (ours).
        """
        at, alpha = CONTOUR_SHARES.index(rule.share), 1 - rule.coverage
        each = {}
        for value, rows in self.needed.items():
            measured = [row for row in rows if row is not None]
            outer, inner = (conformal_bound([getattr(row, s)[at] for row in measured], alpha) for s in SIDES)
            if math.isfinite(outer) and math.isfinite(inner):
                each[value] = Margins(outer, inner, len(measured))
        return ContourMargins(rule, each, self._joint(at, alpha))

    def _joint(self, at: int, alpha: float) -> dict[int, Margins]:
        scales: dict[tuple[int, Side], list[float]] = {}
        worst = [0.0] * len(next(iter(self.needed.values()), ()))
        seen = [False] * len(worst)
        for value, rows in self.needed.items():
            for side in SIDES:
                mm = [math.nan if row is None else getattr(row, side)[at] for row in rows]
                scales[value, side] = _means_without(mm)
                for i, (needed, scale) in enumerate(zip(mm, scales[value, side], strict=True)):
                    if not math.isnan(needed):
                        worst[i], seen[i] = max(worst[i], needed / scale), True
        ratios = [ratio for ratio, has in zip(worst, seen, strict=True) if has]
        factor = conformal_bound(ratios, alpha)
        if not math.isfinite(factor):
            return {}
        return {
            value: Margins(
                rounded_up(factor * max(scales[value, "outer"])),
                rounded_up(factor * max(scales[value, "inner"])),
                len(ratios),
            )
            for value, rows in self.needed.items()
            if any(row is not None for row in rows)
        }

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, without names of subjects."""
        return {
            "shares": list(CONTOUR_SHARES),
            "structures": {
                str(value): [None if row is None else row.to_json() for row in rows]
                for value, rows in self.needed.items()
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: its numbers.

        Returns:
            The margins.

        Raises:
            ModelError: if it keeps other shares than this release reads, or the rows differ in number.
        """
        if tuple(document.get("shares", ())) != CONTOUR_SHARES:
            raise ModelError(
                f"contours must be kept for the shares {CONTOUR_SHARES}, got {document.get('shares')}. "
                "Was the version made by another release of segtrust?"
            )
        needed = {
            int(value): tuple(None if row is None else NeededMargins.from_json(row) for row in rows)
            for value, rows in document["structures"].items()
        }
        if len({len(rows) for rows in needed.values()}) > 1:
            raise ModelError("contours must have one row per subject for each structure.")
        return cls(needed)


def fit_contours(
    scans: Iterable[tuple[str, Mapping[int, NeededMargins | None]]], structures: Sequence[int]
) -> Contours | None:
    """Keep the needed margins of calibration subjects, a subject by its worst scan.

    Args:
        scans: subject, and needed margins of each structure.
        structures: label values.

    Returns:
        The margins; ``None`` if no structure was found in any scan.
    """
    subjects: dict[str, dict[int, NeededMargins]] = {}
    for subject, margins in scans:
        own = subjects.setdefault(subject, {})
        for value, needed in margins.items():
            if needed is not None:
                own[value] = needed.worse(own[value]) if value in own else needed
    rows = [subjects[subject] for subject in sorted(subjects)]
    if not any(rows):
        return None
    return Contours({value: tuple(row.get(value) for row in rows) for value in structures})


def _means_without(mm: Sequence[float]) -> list[float]:
    """Mean of the finite margins of all other subjects, for each subject; at least 0.1 mm."""
    values = np.asarray(mm, np.float64)
    finite = np.isfinite(values)
    total, count = values[finite].sum(), finite.sum()
    others = count - finite
    sums = total - np.where(finite, values, 0.0)
    means = np.divide(sums, others, out=np.zeros_like(values), where=others > 0)
    return [float(mean) for mean in np.maximum(means, _LEAST_SCALE_MM)]
