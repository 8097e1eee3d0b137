"""Calibration by distance to the predicted boundary: easy voxels far away cannot hide the hard ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from segtrust._binning import Bins, bin_voxels
from segtrust._checks import check_same_space
from segtrust.metrics.calibration import expected_calibration_error

__all__ = ["BOUNDARY_BANDS_MM", "BoundaryBins"]

BOUNDARY_BANDS_MM = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Outer limits of the bands around the predicted boundary; the first one begins at 0."""
_CELLS = 150


@dataclass(frozen=True, eq=False)
class BoundaryBins:
    """Bins of confidence in five bands around the predicted boundary; can be added.

    Args:
        bands: one table per band of :data:`BOUNDARY_BANDS_MM`, innermost first.
    """

    bands: tuple[Bins, ...]

    @classmethod
    def of(cls, confidence: Tensor, correct: Tensor, distance: Tensor) -> Self:
        """Sort the voxels of one scan into bands and bins.

        Args:
            confidence: chance of the label shown, any shape, in [0, 1].
            correct: whether it was right, boolean, same shape.
            distance: to the *predicted* boundary in millimetres, same shape, see
                :func:`segtrust.regions.distance_to_boundary`; voxels beyond 16 mm take no part.

        Returns:
            Totals of the scan.

        Raises:
            ShapeError: if the shapes differ.
        """
        check_same_space("confidence", confidence, "distance", distance)
        check_same_space("confidence", confidence, "correct", correct)
        limits = torch.tensor(BOUNDARY_BANDS_MM, dtype=distance.dtype, device=distance.device)
        band = torch.bucketize(distance, limits)
        return cls(
            tuple(
                bin_voxels(confidence[band == number], correct[band == number], cells=_CELLS)
                for number in range(len(BOUNDARY_BANDS_MM))
            )
        )

    def __add__(self, other: "BoundaryBins") -> "BoundaryBins":
        return BoundaryBins(tuple(a + b for a, b in zip(self.bands, other.bands, strict=True)))

    def errors(self) -> tuple[float, ...]:
        """ECE of 15 bins in every band, innermost first; NaN in a band without voxels."""
        return tuple(expected_calibration_error(bins.coarsen(15)) for bins in self.bands)

    @property
    def mean_error(self) -> float:
        r"""Plain mean of the errors of the bands that hold voxels; low is good.

        Every band counts alike, although the outer ones hold most voxels.

        Source:
            After the boundary-aware ECE of Zeevi et al. 2025, whose weights are not published; no library has
            it.
        """
        known = [error for error in self.errors() if not np.isnan(error)]
        return float(np.mean(known)) if known else float("nan")

    def to_json(self) -> dict[str, list[Any]]:
        """Plain lists; :meth:`from_json` reads them back exactly."""
        return {"bands": [bins.to_json() for bins in self.bands]}

    @classmethod
    def from_json(cls, document: Mapping[str, Sequence[Any]]) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(tuple(map(Bins.from_json, document["bands"])))
