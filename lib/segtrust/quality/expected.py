"""Structures that a model usually finds, and how large: what is missing counts as doubt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from segtrust.errors import ModelError
from segtrust.quality.regression import LEAST_SUBJECTS
from segtrust.scores import StructureScores, scan_entropy, structure_doubt

__all__ = ["ExpectedStructures", "SizeUnit", "fit_expected"]

SizeUnit = Literal["mm3", "voxels"]

_USUAL = 0.9
"""A structure is expected if it was predicted in at least this share of the calibration scans."""


@dataclass(frozen=True)
class ExpectedStructures:
    """Predicted size of every structure in one scan of each calibration subject.

    ``sizes``: label value -> sizes, ``None`` where the structure was not predicted. ``unit``: cubic
    millimetres, or voxels where the spacing of the calibration scans is unknown.
    """

    sizes: Mapping[int, tuple[float | None, ...]]
    unit: SizeUnit

    def is_expected(self, value: int) -> bool:
        """Whether the model finds a structure in at least 9 of 10 calibration scans."""
        sizes = self.sizes.get(value, ())
        return bool(sizes) and sum(size is not None for size in sizes) >= _USUAL * len(sizes)

    def doubt(self, details: Mapping[int, StructureScores]) -> float | None:
        """Mean doubt over the structures that are predicted or expected; high means unsure.

        Args:
            details: scores of every structure.

        Returns:
            Unitless, in [0, 1]: a predicted structure counts :func:`segtrust.scores.structure_doubt`, a
            missing expected one 1. ``None`` if nothing is predicted and nothing expected.
        """
        doubts = {value: structure_doubt(scores) for value, scores in details.items()}
        missing = {value: 1.0 for value, own in doubts.items() if own is None and self.is_expected(value)}
        return scan_entropy({**doubts, **missing})

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, without names of subjects."""
        return {"unit": self.unit, "sizes": {str(value): list(sizes) for value, sizes in self.sizes.items()}}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: its numbers.

        Returns:
            The expected structures.

        Raises:
            ModelError: if a part is missing or a size is not positive.
        """
        try:
            unit = document["unit"]
            sizes = {
                int(value): tuple(None if size is None else float(size) for size in row)
                for value, row in document["sizes"].items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"expected structures must have unit and sizes, but {error!r}.") from error
        if unit not in ("mm3", "voxels") or any(
            size is not None and not (size > 0 and math.isfinite(size))
            for row in sizes.values()
            for size in row
        ):
            raise ModelError("expected structures must have sizes above 0 in mm3 or voxels.")
        return cls(sizes, unit)


def fit_expected(scans: Sequence[Mapping[int, StructureScores]], unit: SizeUnit) -> ExpectedStructures | None:
    """Keep how large every structure was predicted.

    Args:
        scans: scores of the structures of one scan of each subject.
        unit: of their sizes.

    Returns:
        The sizes; ``None`` with fewer than ten subjects.
    """
    if len(scans) < LEAST_SUBJECTS:
        return None
    return ExpectedStructures(
        {value: tuple(_rounded(scan[value].size) for scan in scans) for value in scans[0]}, unit
    )


def _rounded(size: float | None) -> float | None:
    return None if size is None else float(f"{size:.6g}")
