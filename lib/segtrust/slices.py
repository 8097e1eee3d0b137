"""Which slices of a scan to open first: those with most of the expected error, and some drawn by lot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SliceHint", "expected_errors", "review_axis", "slices_to_review"]

FloatMap = NDArray[np.floating[Any]]

_COARSER = 1.5
_AUDIT_REASON = "drawn by lot, to check slices that look fine"


@dataclass(frozen=True)
class SliceHint:
    """A slice to look at first: ``index`` counts from 0 along ``axis`` of the file's voxels.

    ``share`` is the share of the scan's expected error that lies in the slice, ``structure`` the one that it
    concerns most. ``audit``: the slice was drawn by lot, whatever its share.
    """

    axis: int
    index: int
    share: float
    structure: str
    reason: str
    audit: bool = False


def review_axis(spacing: Sequence[float] | None) -> int:
    """Axis along which people page through a scan: that of its thick slices, else the file's third.

    Args:
        spacing: millimetres per voxel and axis; ``None`` if unknown.

    Returns:
        The axis whose voxels are at least 1.5 times longer than those of each other axis, else 2.

    Note:
        A series of slices is read with the slices along the third axis.

    Example:
        >>> review_axis((5.0, 0.5, 0.5)), review_axis((1.0, 1.0, 1.0))
        (0, 2)
    """
    if spacing is None:
        return 2
    second, longest = sorted(spacing)[-2:]
    return list(spacing).index(longest) if longest >= _COARSER * second else 2


def expected_errors(
    probs: FloatMap,
    mask: NDArray[np.uint8],
    near: NDArray[np.bool_],
    n_structures: int,
    *,
    axis: int = 2,
    sets: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    r"""Expected number of voxels of each slice that are wrong about a structure.

    .. math:: e_{kz} = \sum_{i \in z} \lvert [\hat y_i = k] - p_{ik} \rvert

    Args:
        probs: calibrated probabilities, ``(C, X, Y, Z)``; the last ``n_structures`` channels are structures.
        mask: predicted labels, ``(X, Y, Z)``.
        near: voxels that count, same shape.
        n_structures: N.
        axis: along which the slices are counted.
        sets: voxels of each structure, ``(N, X, Y, Z)``, where structures overlap; those of ``mask`` unless
            given.

    Returns:
        Voxels, ``(N, slices)`` float64; a voxel between two structures counts for both.

    Note:
        The expectation of a sum is the sum of the chances, whatever the dependence of the voxels.

    Example:
        >>> probs = np.array([0.75, 0.5, 0.25, 0.5]).reshape(2, 1, 1, 2)
        >>> expected_errors(probs, np.array([[[0, 1]]], np.uint8), np.ones((1, 1, 2), bool), 1)
        array([[0.25, 0.5 ]])
    """
    others = tuple(a for a in range(mask.ndim) if a != axis)
    return np.stack([
        np.where(near, np.abs(segment - probs[value - n_structures - 1]), 0).sum(
            axis=others, dtype=np.float64
        )
        for value in range(1, n_structures + 1)
        for segment in [mask == value if sets is None else sets[value - 1]]
    ])  # fmt: skip


def slices_to_review(  # noqa: PLR0913  # what one prediction knows, and how much of it is wanted
    wrong: FloatMap,
    probs: FloatMap,
    mask: NDArray[np.uint8],
    near: NDArray[np.bool_],
    names: Sequence[str],
    *,
    axis: int = 2,
    budget: int = 3,
    audit: float = 0.1,
    seed: int = 0,
    sets: NDArray[np.bool_] | None = None,
) -> list[SliceHint]:
    """Choose the slices to open first.

    Args:
        wrong: calibrated chance of a wrong label, ``(X, Y, Z)``.
        probs: calibrated probabilities, see :func:`expected_errors`.
        mask: predicted labels, ``(X, Y, Z)``.
        near: voxels near the prediction; the expected error is summed there.
        names: of the structures, in order of their values 1..N.
        axis: along which the slices are counted, see :func:`review_axis`.
        budget: how many slices.
        audit: share of the slices that is drawn by lot among all others of the scan, on average over scans;
            the first slice is never one of them.
        seed: of the lot; the same scan should have the same one.
        sets: see :func:`expected_errors`.

    Returns:
        Most expected error first, then those drawn by lot. Slices without expected error are only ever
        drawn; empty if nothing is expected to be wrong, as for an empty prediction.

    Note:
        Checking cases that look safe, drawn at random, is how auditors estimate what a ranking hides.

    Example:
        >>> probs = np.array([0.9, 0.6, 0.1, 0.4]).reshape(2, 1, 1, 2)
        >>> mask, near = np.zeros((1, 1, 2), np.uint8), np.ones((1, 1, 2), bool)
        >>> [(h.index, round(h.share, 2)) for h in slices_to_review(probs[1], probs, mask, near, ["a"])]
        [(1, 0.8), (0, 0.2)]
    """
    others = tuple(a for a in range(mask.ndim) if a != axis)
    expected = np.where(near, wrong, 0).sum(axis=others, dtype=np.float64)
    total = float(expected.sum())
    if total <= 0:
        return []
    concerned = expected_errors(probs, mask, near, len(names), axis=axis, sets=sets).argmax(axis=0)
    rng = np.random.default_rng(seed)
    drawn = min(int(audit * budget + rng.random()), budget - 1)
    ranked = [int(z) for z in np.argsort(-expected, kind="stable")[: budget - drawn] if expected[z] > 0]
    audited = [int(z) for z in rng.permutation(len(expected)) if z not in ranked][:drawn]
    return [
        SliceHint(
            axis=axis,
            index=z,
            share=float(expected[z] / total),
            structure=names[int(concerned[z])],
            reason=_AUDIT_REASON if z in audited else _reason(float(expected[z]), total),
            audit=z in audited,
        )
        for z in (*ranked, *audited)
    ]


def _reason(expected: float, total: float) -> str:
    count = "1 voxel is" if round(expected) == 1 else f"{expected:.0f} voxels are"
    return f"about {count} expected to be wrong here, {expected / total:.0%} of all near the structures"
