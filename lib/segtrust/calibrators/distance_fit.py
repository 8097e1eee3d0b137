"""The fit of the distance temperature: the best end of several starts, if it is better than nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit

from segtrust.calibrators.guard import LEAST_WRONG, unless_worse, wrong_voxels
from segtrust.calibrators.identity import Identity
from segtrust.calibrators.temperature import TEMPERATURE_RANGE, DistanceTemperature
from segtrust.calibrators.voxels import (
    MIN_SUBJECTS,
    NEAR_MM,
    CalibrationVoxels,
    StackedVoxels,
    count_subjects,
    stack_voxels,
)
from segtrust.regions import within

__all__ = ["DistanceObjective", "fit_distance_temperature"]

Vector = NDArray[np.float64]

_TOP = math.log(TEMPERATURE_RANGE[1])
_SEARCHED = 10_000
_STARTS_A_SIDE = 2
_ROUGHLY, _EXACTLY = {"ftol": 1e-6, "gtol": 1e-5}, {"ftol": 1e-12, "gtol": 1e-8}


def fit_distance_temperature(
    scans: Sequence[CalibrationVoxels], *, least: int = MIN_SUBJECTS
) -> DistanceTemperature | Identity:
    """Fit the distance-conditioned temperature by weighted NLL, every subject counting alike.

    Args:
        scans: voxels of calibration scans; scans with an empty prediction take no part.
        least: with fewer subjects nothing is fitted.

    Returns:
        The calibrator; identity with fewer than ``least`` subjects, with distances of several kinds (some
        scans in millimetres, some in voxels), and where these voxels do not become more likely, those near
        the prediction and all of them. T inside is below 1 only where at least ten
        wrong voxels limit how far to sharpen, T far away never.

    Note:
        What is minimised is the NLL within 8 mm of the prediction plus that of the whole volume, each
        relative to what it is under T = 1: however small the share of the volume that is near, both are
        heard. Weights that depend on the distance alone leave the optimum of a right model where it is.
        L-BFGS-B with exact gradients from the best of many starts, as some lead to lesser optima.
    """
    seen = [scan for scan in scans if np.isfinite(scan.distance).any()]
    distances = {(scan.unit, scan.parts) for scan in seen}
    if count_subjects(seen) < least or len(distances) > 1:
        return Identity()
    ((unit, parts),) = distances
    data = stack_voxels(seen)
    raw = data.losses(np.ones(data.n))[0]
    shares = [weight / (weight @ raw) for weight in (data.weight, _near_weight(seen)) if weight @ raw > 0]
    if not shares:
        return Identity()  # every voxel is right and certain
    objective = DistanceObjective(replace(data, weight=np.sum(shares, axis=0)))
    theta = _best(objective, lowest=-_TOP)
    if theta[0] < 0 and _wrong_where_it_sharpens(data, theta) < LEAST_WRONG:
        theta = _best(objective, lowest=0.0)
    worst = max(DistanceObjective(replace(data, weight=weight))(theta)[0] for weight in shares)
    a, b, d0, s = (float(v) for v in theta)
    return unless_worse(DistanceTemperature(a, b, d0, s, unit, parts), worst, 0.0)


class DistanceObjective:
    r"""Change of the weighted NLL against T = 1, and its slope, at ``(a, b, d0, s)``.

    .. math:: \ln T(d) = a + (b - a)\,\sigma((d - d_0)/s)

    It is summed over changes, so that voxels with T = 1 add exactly nothing.
    """

    def __init__(self, data: StackedVoxels) -> None:
        self.data = data
        self._raw, _ = data.losses(np.ones(data.n))

    def __call__(self, theta: Vector) -> tuple[float, Vector]:
        a, b, d0, s = theta
        u = (self.data.distance - d0) / s
        gate = expit(u)
        beta = np.exp(-a - (b - a) * gate)
        loss, slope = self.data.losses(beta)
        slope = -self.data.weight * slope * beta  # by ln T, per voxel
        bend = slope * (a - b) * gate * (1 - gate) / s
        gradient = [slope @ (1 - gate), slope @ gate, bend.sum(), bend @ u]
        return float(self.data.weight @ (loss - self._raw)), np.array(gradient)


def _near_weight(scans: Sequence[CalibrationVoxels]) -> Vector:
    """Weights of the voxels within 8 mm, in the order of the scans, every subject that has any alike."""
    each = [np.where(within(scan.distance, NEAR_MM), scan.weight, 0.0) for scan in scans]
    totals: dict[str, float] = {}
    for scan, weight in zip(scans, each, strict=True):
        totals[scan.subject] = totals.get(scan.subject, 0.0) + float(weight.sum())
    return np.concatenate(
        [weight / (totals[scan.subject] or 1.0) for scan, weight in zip(scans, each, strict=True)]
    )


def _best(objective: DistanceObjective, *, lowest: float) -> Vector:
    """Where the most promising starts lead to; searched on a part of the voxels, ended on all."""
    few = DistanceObjective(objective.data.sample(_SEARCHED))
    starts = sorted(_starts(), key=lambda theta: few(theta)[0])
    softer = [theta for theta in starts if theta[0] > 0][:_STARTS_A_SIDE]
    sharper = [theta for theta in starts if lowest < theta[0] < 0][:_STARTS_A_SIDE]
    ends = [_descend(few, theta, lowest, _ROUGHLY) for theta in softer + sharper]
    return _descend(objective, min(ends, key=lambda theta: few(theta)[0]), lowest, _EXACTLY)


def _starts() -> Iterator[Vector]:
    for a, b, d0, s in product((0.6, 1.5, -0.5), (0.02, 0.4), (1.0, 4.0, 10.0), (0.5, 2.0)):
        yield np.array([a, b, d0, s])


def _descend(
    objective: DistanceObjective, start: Vector, lowest: float, tolerance: Mapping[str, float]
) -> Vector:
    end: Vector = optimize.minimize(
        objective,
        x0=start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(lowest, _TOP), (0.0, _TOP), (0.0, 15.0), (0.2, 5.0)],
        options=dict(tolerance),
    ).x
    return end


def _wrong_where_it_sharpens(data: StackedVoxels, theta: Vector) -> float:
    """Wrong voxels, each counted by its share of the full sharpening."""
    a, b, d0, s = theta
    ln_t = a + (b - a) * expit((data.distance - d0) / s)
    return float((ln_t / a).clip(0, 1)[wrong_voxels(data)].sum())
