"""Temperatures: one for all voxels, or one that depends on the distance to the prediction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from segtrust.calibrators.guard import LEAST_WRONG, unless_worse, wrong_voxels
from segtrust.calibrators.identity import Identity
from segtrust.calibrators.voxels import (
    CLAMP,
    MIN_SUBJECTS,
    CalibrationVoxels,
    StackedVoxels,
    count_subjects,
    stack_voxels,
)
from segtrust.calibrators.winner import keep_decisions, keep_winner
from segtrust.errors import ModelError
from segtrust.uncertainty import HeadKind, Threshold, thresholds_like

__all__ = [
    "TEMPERATURE_RANGE",
    "DistanceTemperature",
    "PooledTemperature",
    "fit_pooled_temperature",
    "likeliest_temperature",
    "scale_logits",
]

TEMPERATURE_RANGE = (0.05, 20.0)
"""Where a fit looks for a temperature."""


@dataclass(frozen=True)
class PooledTemperature:
    r"""One temperature for the pooled ensemble: :math:`q = \mathrm{softmax}(\ln \bar p / T)`.

    Source:
        Guo et al. 2017, applied to the mean of the members.

    Example:
        >>> PooledTemperature(2.0).apply(torch.tensor([[0.8], [0.2]]), torch.zeros(1))
        tensor([[0.6667],
                [0.3333]])
    """

    temperature: float
    name: ClassVar[str] = "pooled_temperature"

    def apply(
        self, probs: Tensor, distance: Tensor, *, head: HeadKind = "softmax", threshold: Threshold = 0.5
    ) -> Tensor:
        """Scale all voxels alike."""
        return scale_logits(probs, torch.full_like(distance, 1 / self.temperature), head, threshold)

    def to_json(self) -> dict[str, Any]:
        """Name and temperature."""
        return {"name": self.name, "temperature": self.temperature}


@dataclass(frozen=True)
class DistanceTemperature:
    r"""A temperature that depends on the distance to the predicted foreground.

    .. math:: q(x) = \mathrm{softmax}(\ln \bar p(x) / T(d(x))),\quad
              \ln T(d) = a + (b - a)\,\sigma((d - d_0)/s),\quad T_{in} = e^a,\quad T_{out} = e^b

    What is fitted has T_out of at least 1; T_in may be below 1.

    Args:
        a: log temperature inside.
        b: log temperature far away.
        d0: distance at which the change is half done.
        s: width of the change.
        unit: of d0 and s: ``mm``, or ``voxel`` where no calibration scan said how large its voxels are.
        parts: the distance is to the main parts of the foreground (:func:`segtrust.regions.main_parts` with
            this share); ``None``: to all of it, specks too.

    Raises:
        ModelError: for another unit, or a share outside of (0, 1].

    Source:
        Local temperature scaling (Ding et al., ICCV 2021) with one covariate that can be read.

    Example:
        >>> round(DistanceTemperature(math.log(2), 0.0, 4.0, 1.0).temperature_at(torch.tensor(4.0)).item(), 3)
        1.414
    """

    a: float
    b: float
    d0: float
    s: float
    unit: str = "mm"
    parts: float | None = None
    name: ClassVar[str] = "distance_temperature"

    def __post_init__(self) -> None:
        if self.unit not in ("mm", "voxel") or not (self.parts is None or 0 < self.parts <= 1):
            raise ModelError(
                f"{self.name} needs `unit` mm or voxel and `parts` in (0, 1] or none, got {self.unit!r} and "
                f"{self.parts!r}. Was the version made by a newer release of segtrust?"
            )

    def temperature_at(self, distance: Tensor) -> Tensor:
        """T at each distance; an empty prediction (infinite distance everywhere) is scaled as inside."""
        if distance.numel() and bool(torch.isinf(distance).all()):
            return torch.full_like(distance, math.exp(self.a))
        return torch.exp(self.a + (self.b - self.a) * torch.sigmoid((distance - self.d0) / self.s))

    def apply(
        self, probs: Tensor, distance: Tensor, *, head: HeadKind = "softmax", threshold: Threshold = 0.5
    ) -> Tensor:
        """Scale each voxel by its own temperature."""
        return scale_logits(probs, 1 / self.temperature_at(distance), head, threshold)

    def to_json(self) -> dict[str, Any]:
        """Name and the four numbers; unit and parts unless they are those that older versions had."""
        more = {"unit": self.unit} if self.unit != "mm" else {}
        parts = {"parts": self.parts} if self.parts is not None else {}
        return {"name": self.name, "a": self.a, "b": self.b, "d0": self.d0, "s": self.s, **more, **parts}


def scale_logits(probs: Tensor, beta: Tensor, head: HeadKind, threshold: Threshold = 0.5) -> Tensor:
    r"""Multiply ``ln p``, or the log odds of a sigmoid head above its threshold, by one number per voxel.

    .. math:: q_k = \sigma\big(\ell(t_k) + \beta\,(\ell(p_k) - \ell(t_k))\big),\quad
              \ell(p) = \ln\frac{p}{1 - p}\quad\text{(sigmoid)}

    Args:
        probs: ``(C, *spatial)``.
        beta: inverse temperature, ``(*spatial)``, above 0.
        head: ``softmax`` or ``sigmoid``.
        threshold: of a sigmoid head, one number or one per structure.

    Returns:
        ``(C, *spatial)`` float32, float64 if ``probs`` are; the class ahead stays ahead, and a structure is
        above its threshold where it was: the mask and the probabilities never contradict each other.

    Source:
        Guo et al. 2017; thresholds other than 1/2 are ours.

    Example:
        >>> odds = torch.tensor([4.0])  # of the threshold 1/5 it is 16 times the odds; T = 2 leaves 4 times
        >>> scale_logits(odds[None] / (1 + odds), torch.tensor([0.5]), "sigmoid", 0.2)
        tensor([[0.5000]])
    """
    p = probs if probs.dtype == torch.float64 else probs.float()
    if head == "softmax":
        return keep_winner(torch.softmax(p.clamp_min(CLAMP).log() * beta, dim=0), probs)
    pivot = thresholds_like(threshold, p, class_axis=0).logit()
    odds = p.clamp_min(CLAMP).log() - (1 - p).clamp_min(CLAMP).log()
    return keep_decisions(torch.sigmoid(pivot + (odds - pivot) * beta), p, threshold)


def fit_pooled_temperature(
    scans: Sequence[CalibrationVoxels], *, least: int = MIN_SUBJECTS
) -> PooledTemperature | Identity:
    """Fit one temperature by weighted NLL, every subject counting alike.

    Args:
        scans: voxels of calibration scans.
        least: with fewer subjects nothing is fitted.

    Returns:
        The calibrator; identity with fewer than ``least`` subjects, and where no temperature makes these
        voxels more likely.

    Source:
        Guo et al. 2017.
    """
    if count_subjects(scans) < least:
        return Identity()
    data = stack_voxels(scans)
    temperature, loss = likeliest_temperature(data)
    return unless_worse(PooledTemperature(temperature), loss, data.nll(np.ones(data.n)))


def likeliest_temperature(data: StackedVoxels) -> tuple[float, float]:
    """The temperature with the lowest NLL, and that NLL.

    Args:
        data: at least one voxel.

    Returns:
        T in :data:`TEMPERATURE_RANGE`, at least 1 with fewer than ten wrong voxels; nats, weighted.

    Note:
        Bounded scalar minimisation over ln T; the NLL is convex in 1 / T.
    """
    low, high = (math.log(t) for t in TEMPERATURE_RANGE)
    if np.count_nonzero(wrong_voxels(data)) < LEAST_WRONG:
        low = 0.0
    best = optimize.minimize_scalar(
        lambda ln_t: data.nll(np.full(data.n, math.exp(-ln_t))), bounds=(low, high), method="bounded"
    )
    return float(math.exp(best.x)), float(best.fun)
