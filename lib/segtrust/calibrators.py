"""Calibrators: fit, apply, save, load. They change probabilities, never the mask.

The mask is the argmax of the uncalibrated mean. Every calibrator here scales ``ln p`` by one positive number
per voxel, so the order of the classes is kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from segtrust.errors import ModelError, ShapeError
from segtrust.uncertainty import HeadKind

__all__ = [
    "MIN_SUBJECTS",
    "CalibrationVoxels",
    "Calibrator",
    "DistanceTemperature",
    "Identity",
    "PooledTemperature",
    "calibrator_from_json",
    "draw_voxels",
    "fit_distance_temperature",
    "fit_pooled_temperature",
]

MIN_SUBJECTS = 5
_CLAMP = 1e-12
_NEAR_MM, _FAR_SHARE = 8.0, 0.3
_T_RANGE = (0.05, 20.0)


class Calibrator(Protocol):
    """What every calibrator can do."""

    name: ClassVar[str]

    def apply(self, probs: Tensor, distance: Tensor, *, head: HeadKind = "softmax") -> Tensor:
        """Calibrate ``(C, *spatial)`` given the distance to the prediction in mm, ``(*spatial)``."""

    def to_json(self) -> dict[str, Any]:
        """Numbers that :func:`calibrator_from_json` reads back."""


@dataclass(frozen=True)
class Identity:
    """Leaves probabilities as they are."""

    name: ClassVar[str] = "identity"

    def apply(self, probs: Tensor, distance: Tensor, *, head: HeadKind = "softmax") -> Tensor:
        """Return ``probs`` unchanged."""
        return probs

    def to_json(self) -> dict[str, Any]:
        """``{"name": "identity"}``."""
        return {"name": self.name}


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

    def apply(self, probs: Tensor, distance: Tensor, *, head: HeadKind = "softmax") -> Tensor:
        """Scale all voxels alike."""
        return _scaled(probs, torch.full_like(distance, 1 / self.temperature), head)

    def to_json(self) -> dict[str, Any]:
        """Name and temperature."""
        return {"name": self.name, "temperature": self.temperature}


@dataclass(frozen=True)
class DistanceTemperature:
    r"""A temperature that depends on the distance to the predicted foreground.

    .. math:: q(x) = \mathrm{softmax}(\ln \bar p(x) / T(d(x))),\quad
              \ln T(d) = a + (b - a)\,\sigma((d - d_0)/s),\quad 1 \le T_{out} = e^b \le T_{in} = e^a

    Args:
        a: log temperature inside.
        b: log temperature far away.
        d0: distance at which the change is half done, mm.
        s: width of the change, mm.

    Source:
        ours: local temperature scaling (Ding et al., ICCV 2021) with one covariate that can be read.

    Example:
        >>> round(DistanceTemperature(math.log(2), 0.0, 4.0, 1.0).temperature_at(torch.tensor(4.0)).item(), 3)
        1.414
    """

    a: float
    b: float
    d0: float
    s: float
    name: ClassVar[str] = "distance_temperature"

    def temperature_at(self, distance: Tensor) -> Tensor:
        """T at each distance; an empty prediction (infinite distance everywhere) is scaled as inside."""
        if distance.numel() and bool(torch.isinf(distance).all()):
            return torch.full_like(distance, math.exp(self.a))
        return torch.exp(self.a + (self.b - self.a) * torch.sigmoid((distance - self.d0) / self.s))

    def apply(self, probs: Tensor, distance: Tensor, *, head: HeadKind = "softmax") -> Tensor:
        """Scale each voxel by its own temperature."""
        return _scaled(probs, 1 / self.temperature_at(distance), head)

    def to_json(self) -> dict[str, Any]:
        """Name and the four numbers."""
        return {"name": self.name, "a": self.a, "b": self.b, "d0": self.d0, "s": self.s}


def calibrator_from_json(document: Mapping[str, Any]) -> Calibrator:
    """Read a calibrator.

    Args:
        document: what ``to_json`` wrote.

    Returns:
        The calibrator.

    Raises:
        ModelError: for an unknown name or missing numbers.

    Source:
        ours.

    Example:
        >>> calibrator_from_json({"name": "identity"})
        Identity()
    """
    kinds = {kind.name: kind for kind in (Identity, PooledTemperature, DistanceTemperature)}
    numbers = {key: value for key, value in document.items() if key != "name"}
    try:
        return kinds[document["name"]](**numbers)
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"a calibrator must be one of {', '.join(kinds)} with its numbers, got {dict(document)}."
        ) from error


def _scaled(probs: Tensor, beta: Tensor, head: HeadKind) -> Tensor:
    p = probs.float()
    if head == "softmax":
        return torch.softmax(p.clamp_min(_CLAMP).log() * beta, dim=0)
    return torch.sigmoid((p.clamp_min(_CLAMP).log() - (1 - p).clamp_min(_CLAMP).log()) * beta)


@dataclass(frozen=True)
class CalibrationVoxels:
    """Voxels drawn from calibration scans: all that fitting needs to keep.

    ``logits``: ``ln p_mean`` ``(n, C)``, or log odds for a sigmoid head; ``labels`` ``(n,)``, or ``(n, C)``
    0/1 for sigmoid; ``distance`` ``(n,)`` mm; ``weight`` ``(n,)`` importance weights; ``subject`` whose scan.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    distance: NDArray[np.float32]
    weight: NDArray[np.float64]
    subject: str


def draw_voxels(
    probs: Tensor,
    labels: Tensor,
    distance: Tensor,
    *,
    subject: str,
    seed: int,
    head: HeadKind = "softmax",
    valid: Tensor | None = None,
) -> CalibrationVoxels:
    """Draw the voxels that a fit sees: all within 8 mm of the prediction, a weighted 30 % of the rest.

    Args:
        probs: uncalibrated mean, ``(C, *spatial)``.
        labels: reference, ``(*spatial)`` integers; for sigmoid ``(C, *spatial)`` 0/1.
        distance: mm to the predicted foreground, ``(*spatial)``.
        subject: whose scan it is.
        seed: of the draw.
        head: ``softmax`` or ``sigmoid``.
        valid: voxels that are no padding.

    Returns:
        The drawn voxels; their weights sum to the number of valid voxels on average.

    Raises:
        ShapeError: if the shapes differ.

    Source:
        ours; Horvitz-Thompson weights.
    """
    if probs.shape[1:] != distance.shape or labels.shape[-distance.ndim :] != distance.shape:
        raise ShapeError(
            f"`probs`, `labels` and `distance` must cover the same voxels, got {tuple(probs.shape)}, "
            f"{tuple(labels.shape)}, {tuple(distance.shape)}."
        )
    flat = distance.reshape(-1).numpy()
    near = flat <= _NEAR_MM
    drawn = near | (np.random.default_rng(seed).random(flat.size) < _FAR_SHARE)
    if valid is not None:
        drawn &= valid.reshape(-1).numpy()
    p = probs.reshape(probs.shape[0], -1).T.double().numpy()[drawn]
    logits = np.log(np.maximum(p, _CLAMP))
    if head == "sigmoid":
        logits -= np.log(np.maximum(1 - p, _CLAMP))
        truth = labels.reshape(labels.shape[0], -1).T.numpy()[drawn]
    else:
        truth = labels.reshape(-1).numpy()[drawn]
    weight = np.where(near[drawn], 1.0, 1 / _FAR_SHARE)
    return CalibrationVoxels(
        logits.astype(np.float32), truth.astype(np.int64), flat[drawn].astype(np.float32), weight, subject
    )


def fit_pooled_temperature(scans: Sequence[CalibrationVoxels]) -> PooledTemperature | Identity:
    """Fit one temperature by weighted NLL, every subject counting alike.

    Args:
        scans: voxels of calibration scans.

    Returns:
        The calibrator; identity with fewer than five subjects.

    Source:
        Guo et al. 2017; bounded scalar minimisation over ln T.
    """
    if len({s.subject for s in scans}) < MIN_SUBJECTS:
        return Identity()
    data = _stack(scans)
    low, high = (math.log(t) for t in _T_RANGE)
    found = optimize.minimize_scalar(
        lambda ln_t: data.nll(np.full(data.n, math.exp(-ln_t)))[0], bounds=(low, high), method="bounded"
    )
    return PooledTemperature(float(math.exp(found.x)))


def fit_distance_temperature(scans: Sequence[CalibrationVoxels]) -> DistanceTemperature | Identity:
    """Fit the distance-conditioned temperature by weighted NLL, every subject counting alike.

    Args:
        scans: voxels of calibration scans; scans with an empty prediction take no part.

    Returns:
        The calibrator; identity with fewer than five subjects.

    Source:
        ours; L-BFGS-B with exact gradients, ``0 <= b <= a`` kept by writing ``a = b + delta``.
    """
    seen = [s for s in scans if np.isfinite(s.distance).any()]
    if len({s.subject for s in seen}) < MIN_SUBJECTS:
        return Identity()
    data = _stack(seen)

    def objective(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        b, delta, d0, s = theta
        u = (data.distance - d0) / s
        gate = 1 / (1 + np.exp(-u))
        ln_t = b + delta * (1 - gate)
        beta = np.exp(-ln_t)
        loss, slope = data.nll(beta)
        slope = -slope * beta  # d loss / d ln T, per voxel
        bend = slope * delta * gate * (1 - gate)
        return loss, np.array(
            [slope.sum(), (slope * (1 - gate)).sum(), (bend / s).sum(), (bend * u / s).sum()]
        )

    top = math.log(_T_RANGE[1])
    found = optimize.minimize(
        objective,
        x0=np.array([0.02, 0.6, 4.0, 1.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, top), (0.0, top), (0.0, 15.0), (0.2, 5.0)],
    )
    b, delta, d0, s = (float(v) for v in found.x)
    return DistanceTemperature(b + delta, b, d0, s)


@dataclass(frozen=True)
class _Stacked:
    """All voxels of all scans, weights scaled so that every subject counts alike and all sum to one."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    distance: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def n(self) -> int:
        return len(self.distance)

    def nll(self, beta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Weighted NLL of ``logits * beta`` and its derivative by each voxel's beta (weight included)."""
        z = self.logits * beta[:, None]
        if self.labels.ndim == 2:
            q = 1 / (1 + np.exp(-z))
            loss = np.logaddexp(0, z).sum(axis=1) - (z * self.labels).sum(axis=1)
            slope = (self.logits * (q - self.labels)).sum(axis=1)
        else:
            z -= z.max(axis=1, keepdims=True)
            e = np.exp(z)
            total = e.sum(axis=1)
            rows = np.arange(self.n)
            loss = np.log(total) - z[rows, self.labels]
            slope = (self.logits * e).sum(axis=1) / total - self.logits[rows, self.labels]
        return float(self.weight @ loss), self.weight * slope


def _stack(scans: Sequence[CalibrationVoxels]) -> _Stacked:
    totals: dict[str, float] = {}
    for scan in scans:
        totals[scan.subject] = totals.get(scan.subject, 0.0) + float(scan.weight.sum())
    weight = np.concatenate([s.weight / (totals[s.subject] * len(totals)) for s in scans])
    distance = np.concatenate([s.distance for s in scans]).astype(np.float64)
    return _Stacked(
        np.concatenate([s.logits for s in scans]).astype(np.float64),
        np.concatenate([s.labels for s in scans]),
        np.where(np.isfinite(distance), distance, 0.0),
        weight,
    )
