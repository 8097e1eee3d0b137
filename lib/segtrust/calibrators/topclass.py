"""One temperature per predicted class: errors of one structure need not be those of another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust.calibrators.identity import Identity
from segtrust.calibrators.temperature import likeliest_temperature, scale_logits
from segtrust.calibrators.voxels import (
    MIN_SUBJECTS,
    CalibrationVoxels,
    StackedVoxels,
    count_subjects,
    stack_voxels,
)
from segtrust.errors import ModelError, ShapeError
from segtrust.uncertainty import HeadKind, Threshold

__all__ = ["TopClassTemperature", "fit_top_class_temperature"]


@dataclass(frozen=True)
class TopClassTemperature:
    r"""A positive temperature for the margins of each predicted class; keeps the full order of the classes.

    .. math:: \ln q_j - \ln q_k = (\ln \bar p_j - \ln \bar p_k) / T_{\hat y},\quad
              \hat y = \arg\max_k \bar p_k

    Every margin between two classes of a voxel is divided by the temperature of that voxel's predicted class.

    Args:
        temperatures: one per class, background first, above 0.

    Raises:
        ModelError: if a temperature is not above 0.

    Source:
        the special case of class-conditional, order-preserving margin scaling (Kirscher et al. 2026, known to
        us from its summary) in which an expert has one parameter; with K of them, not K (K - 1), it can be
        fitted from few subjects.

    Example:
        >>> TopClassTemperature((1.0, 2.0)).apply(torch.tensor([[0.8, 0.2], [0.2, 0.8]]), torch.zeros(2))
        tensor([[0.8000, 0.3333],
                [0.2000, 0.6667]])
    """

    temperatures: tuple[float, ...]
    name: ClassVar[str] = "top_class_temperature"

    def __post_init__(self) -> None:
        if not self.temperatures or not all(t > 0 for t in self.temperatures):
            raise ModelError(f"`temperatures` must be above 0, got {self.temperatures}.")

    def apply(  # what other calibrators need
        self,
        probs: Tensor,
        distance: Tensor,  # noqa: ARG002
        *,
        head: HeadKind = "softmax",
        threshold: Threshold = 0.5,  # noqa: ARG002
    ) -> Tensor:
        """Scale each voxel by the temperature of its predicted class.

        Raises:
            ShapeError: for a sigmoid head, or another number of classes.
        """
        if head != "softmax" or len(probs) != len(self.temperatures):
            raise ShapeError(
                f"{self.name} was fitted for a softmax over {len(self.temperatures)} classes, "
                f"got {head} over {len(probs)}. Fit it again for this model."
            )
        beta = 1 / torch.tensor(self.temperatures)
        return scale_logits(probs, beta[probs.max(dim=0).indices], head)

    def to_json(self) -> dict[str, Any]:
        """Name and temperatures."""
        return {"name": self.name, "temperatures": list(self.temperatures)}


def fit_top_class_temperature(
    scans: Sequence[CalibrationVoxels], *, least: int = MIN_SUBJECTS
) -> TopClassTemperature | Identity:
    """Fit one temperature per predicted class by weighted NLL, every subject counting alike.

    Args:
        scans: voxels of calibration scans of a softmax model.
        least: with fewer subjects nothing is fitted.

    Returns:
        The calibrator; identity with fewer than ``least`` subjects, and where no temperature makes these
        voxels more likely. A class that was never predicted gets 1.

    Raises:
        ShapeError: for voxels of a sigmoid head.

    Note:
        The classes' problems are independent.
    """
    if count_subjects(scans) < least:
        return Identity()
    data = stack_voxels(scans)
    if data.labels.ndim == 2:
        raise ShapeError("a temperature per predicted class needs a softmax head, got sigmoid voxels.")
    winner = data.logits.argmax(axis=1)
    temperatures = tuple(
        _fit_one(data, winner == k) if (winner == k).any() else 1.0 for k in range(data.logits.shape[1])
    )
    return Identity() if set(temperatures) == {1.0} else TopClassTemperature(temperatures)


def _fit_one(data: StackedVoxels, rows: NDArray[np.bool_]) -> float:
    part = data.take(rows)
    temperature, loss = likeliest_temperature(part)
    return temperature if loss < part.nll(np.ones(part.n)) else 1.0
