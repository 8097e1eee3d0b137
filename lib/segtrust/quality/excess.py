"""Chance of error above what is usual at that distance from the nearest border of the prediction.

On an ordinary rim it is quiet, where the chance of error itself is bright along every border.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrust.errors import ModelError, ShapeError

__all__ = ["RimTotals", "UsualError", "border_distance", "fit_usual_error"]

_STEP_MM, _CELLS = 0.5, 20
_LEAST_SUBJECTS = 5
_BLUR_MM = 1.5

Labels = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


def border_distance(labels: Labels, spacing: Sequence[float]) -> NDArray[np.float32]:
    """Distance of every voxel to the nearest voxel that is labelled otherwise.

    Args:
        labels: predicted labels, ``(X, Y, Z)``.
        spacing: millimetres per voxel.

    Returns:
        ``(X, Y, Z)`` float32, millimetres; infinity everywhere if there is one label only.

    Note:
        ``scipy.ndimage.distance_transform_edt``.

    Example:
        >>> border_distance(np.array([0, 0, 1, 2]), (2.0,))
        array([4., 2., 2., 2.], dtype=float32)
    """
    distance = np.full(labels.shape, np.inf, dtype=np.float32)
    values = np.unique(labels)
    for value in values if len(values) > 1 else ():
        own = labels == value
        distance[own] = ndimage.distance_transform_edt(own, sampling=spacing)[own]
    return distance


@dataclass(frozen=True, eq=False)
class RimTotals:
    """Voxels and summed chance of error by label and distance; scans of one subject can be added.

    ``voxels`` and ``chance`` ``(labels, 20)`` float64. Cells are 0.5 mm wide and include their upper edge;
    the last one holds everything beyond 9.5 mm.
    """

    voxels: Floats
    chance: Floats

    @classmethod
    def of(
        cls,
        chance: NDArray[np.floating[Any]],
        labels: Labels,
        spacing: Sequence[float],
        valid: NDArray[np.bool_],
        *,
        n_structures: int,
    ) -> Self:
        """Count one scan.

        Args:
            chance: calibrated chance of a wrong label, ``(X, Y, Z)``.
            labels: predicted labels, same shape.
            spacing: millimetres per voxel.
            valid: voxels that are no padding.
            n_structures: N; labels are 0..N.

        Returns:
            Totals of one scan.

        Raises:
            ShapeError: if the shapes differ.
        """
        if not chance.shape == labels.shape == valid.shape:
            raise ShapeError(
                f"`chance`, `labels` and `valid` must have the same shape, got {chance.shape}, "
                f"{labels.shape} and {valid.shape}."
            )
        cell = _cells(labels, spacing)[valid]
        size = (n_structures + 1) * _CELLS
        shape = (n_structures + 1, _CELLS)
        weight = chance[valid].astype(np.float64)
        return cls(
            np.bincount(cell, minlength=size).astype(np.float64).reshape(shape),
            np.bincount(cell, weights=weight, minlength=size).astype(np.float64).reshape(shape),
        )

    def __add__(self, other: "RimTotals") -> "RimTotals":
        return RimTotals(self.voxels + other.voxels, self.chance + other.chance)


@dataclass(frozen=True)
class UsualError:
    """Usual chance of error by label and distance: ``table[label][cell]``, learnt from ``subjects``."""

    table: tuple[tuple[float, ...], ...]
    subjects: int

    def at(self, labels: Labels, spacing: Sequence[float]) -> NDArray[np.float32]:
        """Usual chance of error of every voxel.

        Args:
            labels: predicted labels, ``(X, Y, Z)``.
            spacing: millimetres per voxel.

        Returns:
            ``(X, Y, Z)`` float32 in [0, 1].
        """
        return np.asarray(self.table, np.float32).reshape(-1)[_cells(labels, spacing)]

    def excess(
        self, chance: NDArray[np.float32], labels: Labels, spacing: Sequence[float]
    ) -> NDArray[np.float32]:
        r"""Chance of error above the usual: :math:`\max(0, G_{1.5\,mm} * (q - \bar q(k, d)))`.

        From voxel to voxel the chance of error of an ordinary rim varies around the usual; the average over
        1.5 mm (Gaussian) cancels that, and a patch of doubt stays.

        Args:
            chance: calibrated chance of a wrong label, ``(X, Y, Z)``.
            labels: predicted labels.
            spacing: millimetres per voxel.

        Returns:
            ``(X, Y, Z)`` float32 in [0, 1].
        """
        above = chance - self.at(labels, spacing)
        smooth = ndimage.gaussian_filter(above, [_BLUR_MM / mm for mm in spacing], mode="nearest")
        excess: NDArray[np.float32] = np.clip(smooth, 0, 1)
        return excess

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"step_mm": _STEP_MM, "table": [list(row) for row in self.table], "subjects": self.subjects}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: its numbers.

        Returns:
            The table.

        Raises:
            ModelError: if it has other cells than this release reads.
        """
        table = tuple(tuple(row) for row in document.get("table", ()))
        if document.get("step_mm") != _STEP_MM or any(len(row) != _CELLS for row in table) or not table:
            raise ModelError(
                f"usual errors must come in {_CELLS} cells of {_STEP_MM} mm per label. "
                "Was the version made by another release of segtrust?"
            )
        return cls(table, int(document["subjects"]))


def fit_usual_error(subjects: Sequence[RimTotals]) -> UsualError | None:
    """Mean chance of error by label and distance, every subject counting alike.

    Args:
        subjects: totals of each subject.

    Returns:
        The table; ``None`` with fewer than five subjects. A cell that fewer than five subjects have takes the
        value of the next cell towards the border that more have, else of the next one away from it, else 0.
    """
    if len(subjects) < _LEAST_SUBJECTS:
        return None
    voxels = np.stack([s.voxels for s in subjects])
    rates = np.divide(
        np.stack([s.chance for s in subjects]), voxels, out=np.zeros_like(voxels), where=voxels > 0
    )
    having = (voxels > 0).sum(axis=0)
    mean = rates.sum(axis=0) / np.maximum(having, 1)
    enough = having >= _LEAST_SUBJECTS
    table = tuple(_filled(row, seen) for row, seen in zip(mean, enough, strict=True))
    return UsualError(table, len(subjects))


def _filled(row: Floats, enough: NDArray[np.bool_]) -> tuple[float, ...]:
    if not enough.any():
        return (0.0,) * len(row)
    cells = np.arange(len(row))
    last = np.maximum.accumulate(np.where(enough, cells, -1))
    nearest = np.where(last >= 0, last, np.argmax(enough))
    return tuple(round(float(v), 6) for v in row[nearest])


def _cells(labels: Labels, spacing: Sequence[float]) -> NDArray[np.int64]:
    """Index into the flat table ``(labels, 20)``."""
    distance = border_distance(labels, spacing)
    cell = np.ceil(np.minimum(distance, _STEP_MM * _CELLS) / _STEP_MM - 1e-4).astype(np.int64) - 1
    index: NDArray[np.int64] = labels.astype(np.int64) * _CELLS + cell
    return index
