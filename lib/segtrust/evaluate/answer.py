"""What a model or a reference says of every voxel: one label, or the set of structures that hold it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._checks import check_labels
from segtrust.decisions import LabelRule
from segtrust.evaluate.surfaces import SURFACE_FIGURES, surface_figures
from segtrust.metrics.overlap import dice_of_sets, dice_per_structure

__all__ = ["Answer"]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model or a reference says: labels ``(X, Y, Z)``, or the sets of a sigmoid head.

    ``values`` of sets are ``(N, X, Y, Z)`` booleans: a voxel may belong to several structures.
    """

    values: NDArray[Any]

    @classmethod
    def of_probs(cls, probs: Tensor, rule: LabelRule) -> Self:
        """What probabilities ``(C, X, Y, Z)`` say."""
        return cls((rule.labels(probs) if rule.head == "softmax" else rule.sets(probs)).numpy())

    @classmethod
    def of_reference(
        cls,
        reference: Tensor,
        rule: LabelRule,
        n_structures: int,
        valid: NDArray[np.bool_] | None = None,
    ) -> Self:
        """What a label says.

        Args:
            reference: ``(X, Y, Z)`` integers; of structures that overlap also ``(N, X, Y, Z)`` booleans.
            rule: of the model's head.
            n_structures: N.
            valid: voxels that somebody labelled; elsewhere a label that is no structure is background.

        Raises:
            ProbabilityError: for labels of a sigmoid head that are no structures.
        """
        labels = reference.numpy()
        if reference.dtype != torch.bool and valid is not None and not valid.all():
            labels = np.where(valid | ((labels >= 0) & (labels <= n_structures)), labels, 0)
        if rule.head == "softmax":
            return cls(labels)
        if reference.dtype != torch.bool:
            check_labels(torch.from_numpy(labels), n_structures + 1)
        return cls(rule.sets_of(torch.from_numpy(labels), n_structures).numpy())

    @property
    def overlaps(self) -> bool:
        """Whether structures may share voxels."""
        return self.values.dtype == np.bool_

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """Voxels of any structure, ``(X, Y, Z)``."""
        held: NDArray[np.bool_] = self.values.any(axis=0) if self.overlaps else self.values > 0
        return held

    def segment(self, value: int) -> NDArray[np.bool_]:
        """Voxels of one structure, ``(X, Y, Z)``."""
        held: NDArray[np.bool_] = self.values[value - 1] if self.overlaps else self.values == value
        return held

    def tensor(self) -> Tensor:
        """Labels, or 0 and 1 for every structure, as measures take them."""
        values = torch.from_numpy(self.values)
        return values.long() if self.overlaps else values

    def differs(self, other: "Answer") -> NDArray[np.bool_]:
        """Where label or set are another than those of another answer, ``(X, Y, Z)``."""
        different: NDArray[np.bool_] = self.values != other.values
        return different.any(axis=0) if self.overlaps else different

    def only(self, valid: NDArray[np.bool_]) -> Self:
        """The same without structures outside of some voxels."""
        return (
            self
            if valid.all()
            else replace(self, values=np.where(valid, self.values, 0).astype(self.values.dtype))
        )

    def dice(self, truth: "Answer", n_structures: int) -> NDArray[np.float64]:
        """Dice of each structure, ``(N,)``; NaN where neither has it."""
        if self.overlaps:
            return dice_of_sets(self.values, truth.values)
        return dice_per_structure(self.values, truth.values, n_structures)

    def surfaces(
        self, truth: "Answer", n_structures: int, spacing: Sequence[float]
    ) -> dict[str, NDArray[np.float64]]:
        """Figures of :data:`segtrust.evaluate.surfaces.SURFACE_FIGURES` of each structure."""
        if not self.overlaps:
            return surface_figures(self.values, truth.values, n_structures, spacing)
        each = [
            surface_figures(mine.astype(np.uint8), theirs.astype(np.uint8), 1, spacing)
            for mine, theirs in zip(self.values, truth.values, strict=True)
        ]
        return {name: np.concatenate([figures[name] for figures in each]) for name in SURFACE_FIGURES}
