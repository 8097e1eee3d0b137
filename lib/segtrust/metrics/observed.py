"""How often voxels with a stated chance of error were wrong: counts that answer for any band of chances."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._binning import bin_index
from segtrust.errors import ShapeError

__all__ = ["ObservedErrors"]

_CELLS = 300


@dataclass(frozen=True, eq=False)
class ObservedErrors:
    """Voxels and wrong voxels per cell of the stated chance of error; counts of scans can be added.

    Cells have the width 1/300 and include their lower edge, as the bands do; 1 in 20, 1 in 5 and 1 in 3 are
    edges of cells.

    Args:
        voxels: ``(300,)`` float64 sums of weights, in rising order of the chance.
        errors: the same of the wrong ones, ``(300,)`` float64.
        scans: number of scans behind the counts.
    """

    voxels: NDArray[np.float64]
    errors: NDArray[np.float64]
    scans: int

    @classmethod
    def of(cls, chance: Tensor, wrong: Tensor, weight: Tensor | None = None) -> "ObservedErrors":
        """Count the voxels of one scan.

        Args:
            chance: stated chance of a wrong label, in [0, 1], any shape.
            wrong: whether the label was wrong, same shape.
            weight: voxels that each one stands for, same shape; one unless given.

        Returns:
            Counts of one scan.

        Raises:
            ShapeError: if the shapes differ.

        Source:
            The counts of a reliability diagram (DeGroot & Fienberg 1983).

        Example:
            >>> one = ObservedErrors.of(torch.tensor([0.25, 0.3, 0.9]), torch.tensor([True, False, True]))
            >>> one.rate(0.2, 1 / 3), one.rate(1 / 3, 1.0), one.rate(0.05, 0.2)
            (0.5, 1.0, None)
        """
        each = torch.ones_like(chance) if weight is None else weight
        if not chance.shape == wrong.shape == each.shape:
            raise ShapeError(
                f"`chance`, `wrong` and `weight` must have the same shape, got {tuple(chance.shape)}, "
                f"{tuple(wrong.shape)} and {tuple(each.shape)}."
            )
        # bins include their upper edge: seen from the chance of being right, that is the lower one
        cell = _CELLS - 1 - bin_index(1 - chance.reshape(-1).double(), _CELLS)
        flat, bad = each.reshape(-1).double(), wrong.reshape(-1).bool()
        return cls(
            torch.bincount(cell, flat, minlength=_CELLS).numpy(),
            torch.bincount(cell[bad], flat[bad], minlength=_CELLS).numpy(),
            1,
        )

    def __add__(self, other: "ObservedErrors") -> "ObservedErrors":
        return ObservedErrors(
            self.voxels + other.voxels, self.errors + other.errors, self.scans + other.scans
        )

    def rate(self, low: float, high: float) -> float | None:
        """Share of the voxels of a band that were wrong.

        Args:
            low: lower edge of the chance, taken to the nearest multiple of 1/300.
            high: upper edge, likewise.

        Returns:
            Unitless, in [0, 1]; ``None`` if no voxel was in the band.
        """
        cells = slice(round(low * _CELLS), round(high * _CELLS))
        voxels = float(self.voxels[cells].sum())
        return float(self.errors[cells].sum()) / voxels if voxels else None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, voxels to the tenth; :meth:`from_json` reads them back."""
        counts = {"voxels": self.voxels, "errors": self.errors}
        return {"scans": self.scans, **{name: part.round(1).tolist() for name, part in counts.items()}}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ObservedErrors":
        """Read what :meth:`to_json` wrote.

        Args:
            document: counts under ``voxels`` and ``errors``, and ``scans``.

        Returns:
            The counts.

        Raises:
            ShapeError: if there are not 300 cells.
        """
        voxels, errors = (np.asarray(document[name], np.float64) for name in ("voxels", "errors"))
        if voxels.shape != (_CELLS,) or errors.shape != (_CELLS,):
            raise ShapeError(
                f"observed errors must have {_CELLS} cells, got {voxels.shape} and {errors.shape}. "
                "Was the version made by another release of segtrust?"
            )
        return cls(voxels, errors, int(document["scans"]))
