"""Margins around a mask in millimetres: how far contours must lie to be right, and what lies inside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import SettingError
from segtrust.quality.contour_rule import CONTOUR_SHARES
from segtrust.regions import TOLERANCE_MM, distance_to, within

__all__ = [
    "SIDES",
    "Margins",
    "NeededMargins",
    "Side",
    "contour_map",
    "contour_masks",
    "least_inner",
    "least_outer",
    "needed_margins",
    "rounded_up",
]

Mask = NDArray[np.bool_]
Side = Literal["outer", "inner"]
SIDES: tuple[Side, Side] = ("outer", "inner")

_ROUNDING = 1e-9
_TINY_MM = 1e-6
_PER_MM = 1e4
_MOST_STRUCTURES = 85


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
        return {side: [mm if math.isfinite(mm) else None for mm in getattr(self, side)] for side in SIDES}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(*(tuple(math.inf if mm is None else float(mm) for mm in document[s]) for s in SIDES))


def needed_margins(predicted: Mask, reference: Mask, spacing: Sequence[float]) -> NeededMargins | None:
    """Measure how far the contours must lie from the mask to be right on a labelled scan.

    Outer: the smallest dilation that holds a share of the reference's voxels. Inner: the smallest erosion
    from which on a share of the voxels that are left belongs to the reference.

    Args:
        predicted: predicted voxels of one structure, ``(X, Y, Z)``.
        reference: its true voxels.
        spacing: millimetres per voxel.

    Returns:
        The margins, rounded up to 0.1 micrometre; ``None`` if nothing was predicted, since then there is no
        contour. Where no voxel is true, the outer margin is 0 and the inner one leaves nothing.

    Source:
        Mossina & Friedrich 2025, "Conformal prediction for image segmentation using morphological prediction
        sets"; distances instead of repeated dilations, and the inner contour by precision, are ours.

    Example:
        >>> row = np.arange(6)
        >>> needed_margins((row > 1) & (row < 5), row > 2, (2.0,)).outer
        (2.0, 2.0, 2.0)
    """
    if not predicted.any():
        return None
    far, deep = distance_to(predicted, spacing)[reference], distance_to(~predicted, spacing)[predicted]
    true = reference[predicted]
    return NeededMargins(
        tuple(rounded_up(least_outer(far, share)) for share in CONTOUR_SHARES),
        tuple(rounded_up(least_inner(deep, true, share)) for share in CONTOUR_SHARES),
    )


def least_outer(far: NDArray[np.floating[Any]], share: float) -> float:
    """Smallest reach within which a share of the true voxels lies.

    Args:
        far: of each true voxel how far outside it lies, in any unit.
        share: of them, in (0, 1].

    Returns:
        In the same unit; 0 without true voxels.

    Source:
        :func:`needed_margins`.

    Example:
        >>> least_outer(np.arange(10.0), 0.9)
        8.0
    """
    return float(np.sort(far)[math.ceil(share * len(far) - _ROUNDING) - 1]) if len(far) else 0.0


def least_inner(deep: NDArray[np.floating[Any]], true: Mask, share: float) -> float:
    """Smallest depth beyond which, and beyond any larger one, a share of the voxels is true.

    Args:
        deep: of each voxel how deep inside it lies, in any unit, at least 0.
        true: whether it is true.
        share: of those that are left, in (0, 1].

    Returns:
        In the same unit; 0 if all voxels are true enough.

    Source:
        :func:`needed_margins`.

    Example:
        >>> least_inner(np.array([1.0, 2.0, 3.0]), np.array([False, False, True]), 1.0)
        2.0
    """
    levels, group = np.unique(deep, return_inverse=True)
    left = np.bincount(group)[::-1].cumsum()  # voxels at least so deep, deepest first
    bad = np.bincount(group, weights=~true)[::-1].cumsum() > (1 - share) * left + _ROUNDING
    return float(levels[::-1][np.argmax(bad)]) if bad.any() else 0.0


@dataclass(frozen=True)
class Margins:
    """How far the contours of a structure lie from its mask; from so many subjects."""

    outer_mm: float
    inner_mm: float
    subjects: int

    def hold(self, needed: NeededMargins, share: float) -> tuple[bool, bool]:
        """Whether the outer and the inner contour of a labelled scan are right for a share."""
        at = CONTOUR_SHARES.index(share)
        return (
            needed.outer[at] <= self.outer_mm + TOLERANCE_MM,
            needed.inner[at] <= self.inner_mm + TOLERANCE_MM,
        )


def contour_masks(predicted: Mask, margins: Margins, spacing: Sequence[float]) -> tuple[Mask, Mask]:
    """Voxels inside the inner and inside the outer contour of one structure.

    Args:
        predicted: predicted voxels, ``(X, Y, Z)``.
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
    return (
        ~within(distance_to(~predicted, spacing), margins.inner_mm),
        within(distance_to(predicted, spacing), margins.outer_mm),
    )


def contour_map(
    labels: NDArray[np.integer[Any]],
    margins: Mapping[int, Margins],
    spacing: Sequence[float],
    *,
    segments: Mapping[int, Mask] | None = None,
) -> NDArray[np.uint8]:
    """Contours of several structures as one label map.

    Args:
        labels: predicted labels, ``(X, Y, Z)``.
        margins: of the structures to show.
        spacing: millimetres per voxel.
        segments: voxels of each structure, where they may overlap, in the order in which they are painted;
            those of ``labels`` unless given.

    Returns:
        ``(X, Y, Z)`` uint8, for structure ``k``: ``3 k - 2`` inside the inner contour, ``3 k - 1`` on to the
        edge of the mask, ``3 k`` on to the outer contour. A voxel belongs to the mask that holds it, the last
        painted if several do, outside all shown masks to the structure that is nearer as a share of its
        margin.

    Raises:
        SettingError: for a structure above 85, whose values do not fit into one byte.

    Example:
        >>> contour_map(np.array([0, 0, 1, 1, 1, 1]), {1: Margins(1.0, 1.0, 26)}, (1.0,))
        array([0, 3, 2, 1, 1, 1], dtype=uint8)
    """
    if max(margins) > _MOST_STRUCTURES:
        raise SettingError(
            f"a map of contours holds structures 1 to {_MOST_STRUCTURES}, got {max(margins)}. "
            "Ask for one of those, or for the contours of one structure in Python."
        )
    masks = {value: labels == value for value in margins} if segments is None else segments
    shown = {value: masks[value] for value in masks if value in margins}
    volume = np.zeros(labels.shape, np.uint8)
    nearest = np.full(labels.shape, np.inf, np.float32)
    for value, mask in shown.items():
        own = margins[value]
        far = distance_to(mask, spacing)
        share = far / max(own.outer_mm, _TINY_MM)
        reached = within(far, own.outer_mm)
        volume[reached & (share < nearest)] = 3 * value
        nearest = np.where(reached, np.minimum(nearest, share), nearest)
    for value, mask in shown.items():
        inner, _ = contour_masks(mask, margins[value], spacing)
        volume[mask] = 3 * value - 1
        volume[inner] = 3 * value - 2
    return volume


def rounded_up(mm: float) -> float:
    """Round millimetres up to 0.1 micrometre, so that a margin never loses a voxel to rounding."""
    return math.ceil(float(mm) * _PER_MM) / _PER_MM if math.isfinite(mm) else math.inf
