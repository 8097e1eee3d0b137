"""Margins around a mask: an inner contour inside the true structure, an outer one that holds it.

Needed margins of calibration scans are measured in millimetres; a rank among them is what is served.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError
from segtrust.quality.conformal import conformal_bound
from segtrust.regions import distance_to
from segtrust.settings import CONTOUR_SHARES, ContourRule, ContourWords

__all__ = [
    "ContourMargins",
    "Contours",
    "Margins",
    "NeededMargins",
    "contour_masks",
    "fit_contours",
    "needed_margins",
]

_LEAST_SCALE_MM = 0.1
_PER_MM = 1e4

Mask = NDArray[np.bool_]
Side = Literal["outer", "inner"]
_SIDES: tuple[Side, Side] = ("outer", "inner")


@dataclass(frozen=True)
class NeededMargins:
    """Smallest margins in mm with which the contours of a scan are right for each of ``CONTOUR_SHARES``."""

    outer: tuple[float, ...]
    inner: tuple[float, ...]

    def worse(self, other: "NeededMargins") -> "NeededMargins":
        """The larger of each: a subject counts by its worst scan."""
        return NeededMargins(
            tuple(map(max, self.outer, other.outer)), tuple(map(max, self.inner, other.inner))
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; a margin that does not exist is null."""
        return {side: [mm if math.isfinite(mm) else None for mm in getattr(self, side)] for side in _SIDES}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(*(tuple(math.inf if mm is None else float(mm) for mm in document[s]) for s in _SIDES))


def needed_margins(found: Mask, reference: Mask, spacing: Sequence[float]) -> NeededMargins | None:
    """Measure how far the contours must lie from the mask to be right on a labelled scan.

    Outer: the smallest dilation that holds a share of the reference's voxels. Inner: the smallest erosion
    from which on a share of the voxels that are left belongs to the reference.

    Args:
        found: predicted voxels of one structure, ``(X, Y, Z)``.
        reference: its true voxels.
        spacing: millimetres per voxel.

    Returns:
        The margins, rounded up to 0.1 micrometre; ``None`` if nothing was predicted, since then there is no
        contour. Where no voxel is true, the outer margin is 0 and the inner one leaves nothing.

    Source:
        Mossina & Friedrich 2025, "Conformal prediction for image segmentation using morphological prediction
        sets"; distances instead of repeated dilations, the share and the inner contour by precision are ours.

    Example:
        >>> row = np.arange(6)
        >>> needed_margins((row > 1) & (row < 5), row > 2, (2.0,)).outer
        (2.0, 2.0, 2.0)
    """
    if not found.any():
        return None
    outside = np.sort(distance_to(found, spacing)[reference])
    depth, wrong = distance_to(~found, spacing)[found], ~reference[found]
    levels, group = np.unique(depth, return_inverse=True)
    left = np.bincount(group)[::-1].cumsum()  # voxels at least so deep, deepest first
    false = np.bincount(group, weights=wrong)[::-1].cumsum()
    outer, inner = [], []
    for share in CONTOUR_SHARES:
        outer.append(_up(outside[math.ceil(share * len(outside) - 1e-9) - 1]) if len(outside) else 0.0)
        bad = false > (1 - share) * left + 1e-9
        inner.append(_up(levels[::-1][np.argmax(bad)]) if bad.any() else 0.0)
    return NeededMargins(tuple(outer), tuple(inner))


@dataclass(frozen=True)
class Margins:
    """How far the contours of a structure lie from its mask; from so many subjects."""

    outer_mm: float
    inner_mm: float
    subjects: int

    def hold(self, needed: NeededMargins, share: float) -> tuple[bool, bool]:
        """Whether the outer and the inner contour of a labelled scan are right for a share."""
        at = CONTOUR_SHARES.index(share)
        return needed.outer[at] <= self.outer_mm, needed.inner[at] <= self.inner_mm


def contour_masks(found: Mask, margins: Margins, spacing: Sequence[float]) -> tuple[Mask, Mask]:
    """Voxels inside the inner and inside the outer contour of one structure.

    Args:
        found: predicted voxels, ``(X, Y, Z)``.
        margins: how far the contours lie from the mask.
        spacing: millimetres per voxel.

    Returns:
        Eroded and dilated mask, boolean; the first may be empty where a structure is thin.

    Source:
        Mossina & Friedrich 2025; a voxel lies in the erosion if it is farther from every other voxel than the
        margin.

    Example:
        >>> inner, outer = contour_masks(np.arange(6) > 2, Margins(1.0, 1.0, 26), (1.0,))
        >>> inner.sum(), outer.sum()
        (2, 4)
    """
    return distance_to(~found, spacing) > margins.inner_mm, distance_to(found, spacing) <= margins.outer_mm


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
            known = [row for row in rows if row is not None]
            outer, inner = (conformal_bound([getattr(row, s)[at] for row in known], alpha) for s in _SIDES)
            if math.isfinite(outer) and math.isfinite(inner):
                each[value] = Margins(outer, inner, len(known))
        return ContourMargins(rule, each, self._joint(at, alpha))

    def _joint(self, at: int, alpha: float) -> dict[int, Margins]:
        scales: dict[tuple[int, Side], list[float]] = {}
        worst = [0.0] * len(next(iter(self.needed.values()), ()))
        seen = [False] * len(worst)
        for value, rows in self.needed.items():
            for side in _SIDES:
                mm = [math.nan if row is None else getattr(row, side)[at] for row in rows]
                scales[value, side] = _means_without(mm)
                for i, (needed, scale) in enumerate(zip(mm, scales[value, side], strict=True)):
                    if not math.isnan(needed):
                        worst[i], seen[i] = max(worst[i], needed / scale), True
        known = [ratio for ratio, has in zip(worst, seen, strict=True) if has]
        factor = conformal_bound(known, alpha)
        if not math.isfinite(factor):
            return {}
        return {
            value: Margins(*(_up(factor * max(scales[value, side])) for side in _SIDES), subjects=len(known))
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

    Source:
        ours.
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


def _up(mm: float) -> float:
    """Rounded up, so that a margin never loses a voxel to rounding."""
    return math.ceil(float(mm) * _PER_MM) / _PER_MM if math.isfinite(mm) else math.inf
