"""Shift suite v1: eight ways in which an MR scan goes wrong, three strengths each, the same on every machine.

Each is a pure function of the scan's values ``(C, X, Y, Z)`` float32, one number for the strength and a seed.
It keeps shape and geometry, so a label map of the scan stays valid. The seed decides everything random and is
the same for all strengths of a scan, so that a stronger shift is more of the same.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrust.errors import SettingError

__all__ = ["SHIFT_SUITE", "corrupt", "shift_seed"]

Volume = NDArray[np.float32]
Values = NDArray[np.float64]
_AXES = (1, 2, 3)


@dataclass(frozen=True)
class Corruption:
    """One kind of shift: what its number means, three rising strengths, and the function."""

    parameter: str
    strengths: tuple[float, float, float]
    apply: Callable[[Values, float, np.random.Generator], Values]


def corrupt(data: Volume, name: str, strength: int, seed: int) -> Volume:
    """Corrupt one scan.

    Args:
        data: values ``(C, X, Y, Z)``.
        name: one of :data:`SHIFT_SUITE`.
        strength: 1, 2 or 3.
        seed: of everything random; take :func:`shift_seed`.

    Returns:
        New values, same shape, float32. All channels are changed alike except for noise.

    Raises:
        SettingError: for an unknown name, another strength, or other than four axes.

    Source:
        see the single functions.
    """
    if name not in SHIFT_SUITE:
        raise SettingError(f"the shift must be one of {', '.join(SHIFT_SUITE)}, got {name!r}.")
    if strength not in (1, 2, 3):
        raise SettingError(f"the strength must be 1, 2 or 3, got {strength!r}.")
    if data.ndim != 4:
        raise SettingError(f"a scan must be (C, X, Y, Z), got shape {data.shape}.")
    corruption = SHIFT_SUITE[name]
    low = data.min(axis=_AXES, keepdims=True).astype(np.float64)
    span = np.maximum(data.max(axis=_AXES, keepdims=True) - low, np.finfo(np.float32).tiny)
    unit = (data - low) / span
    changed = corruption.apply(unit, corruption.strengths[strength - 1], np.random.default_rng(seed))
    back: Volume = (changed * span + low).astype(np.float32)
    return back


def shift_seed(seed: int, scan_id: str, name: str) -> int:
    """Seed of one scan's shift, the same for its three strengths.

    Args:
        seed: the protocol's.
        scan_id: the scan.
        name: the shift.

    Returns:
        A number below 2**63.

    Note:
        SHA-256 of the three.
    """
    digest = hashlib.sha256(f"{seed}|{scan_id}|{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _rician_noise(unit: Values, strength: float, rng: np.random.Generator) -> Values:
    """Magnitude of a complex signal with equal Gaussian noise in both parts (Gudbjartsson & Patz 1995)."""
    real, imaginary = rng.standard_normal((2, *unit.shape))
    noisy: Values = np.hypot(unit + strength * real, strength * imaginary)
    return noisy


def _blur(unit: Values, strength: float, _rng: np.random.Generator) -> Values:
    """Gaussian blur, equal along all axes, borders repeated."""
    blurred: Values = ndimage.gaussian_filter(unit, (0, strength, strength, strength), mode="nearest")
    return blurred


def _thick_slices(unit: Values, strength: float, rng: np.random.Generator) -> Values:
    """Means over slabs of so many slices along one axis, interpolated linearly back to all slices."""
    axis, thick = int(rng.integers(1, 4)), int(strength)
    n = unit.shape[axis]
    starts = np.arange(0, n, thick)
    ends = np.minimum(starts + thick, n)
    sizes = (ends - starts).reshape([-1 if a == axis else 1 for a in range(4)])
    slabs = np.add.reduceat(unit, starts, axis=axis) / sizes
    centres = (starts + ends - 1) / 2
    place = np.interp(np.arange(n), centres, np.arange(len(centres)))
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, len(centres) - 1)
    share = (place - below).reshape([-1 if a == axis else 1 for a in range(4)])
    mixed: Values = np.take(slabs, below, axis) * (1 - share) + np.take(slabs, above, axis) * share
    return mixed


def _bias_field(unit: Values, strength: float, rng: np.random.Generator) -> Values:
    """Multiplies by the exponential of a random cubic polynomial of the place (Van Leemput et al. 1999)."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in unit.shape[1:]), indexing="ij")
    field = np.zeros(unit.shape[1:])
    for i in range(4):
        for j in range(4 - i):
            for k in range(4 - i - j):
                field += rng.uniform(-1, 1) * grid[0] ** i * grid[1] ** j * grid[2] ** k
    field -= (field.max() + field.min()) / 2
    field /= max(float(np.abs(field).max()), 1e-12)
    biased: Values = unit * np.exp(strength * field)
    return biased


def _gamma(unit: Values, strength: float, _rng: np.random.Generator) -> Values:
    """A power of the value: tissues in the middle of the range darken."""
    powered: Values = unit**strength
    return powered


def _contrast(unit: Values, strength: float, _rng: np.random.Generator) -> Values:
    """Mixes with ``4 w (1 - w)``, w the value over its 99th percentile: the brightest tissue darkens."""
    top = np.maximum(np.percentile(unit, 99, axis=_AXES, keepdims=True), 1e-6)
    folded = np.minimum(unit / top, 1)
    mixed: Values = (1 - strength) * unit + strength * top * 4 * folded * (1 - folded)
    return mixed


def _ghosting(unit: Values, strength: float, rng: np.random.Generator) -> Values:
    """Weakens every fourth line of k-space but the centre along one axis: copies a quarter field away."""
    axis = int(rng.integers(1, 4))
    lines = _frequencies(unit.shape[axis])
    weights = np.where((lines % 4 == 2) & (np.abs(lines) > 1), 1 - strength, 1.0)
    return _filtered(unit, axis, weights.astype(np.complex128))


def _motion(unit: Values, strength: float, rng: np.random.Generator) -> Values:
    """The head moves along one axis at one moment of the scan: later k-space lines see it displaced."""
    axis = int(rng.integers(1, 4))
    n = unit.shape[axis]
    lines = _frequencies(n)
    # lines are acquired in order; the centre, which sets where the head is, comes before the movement
    moved = lines > max(1, round(n * rng.uniform(0.06, 0.12)))
    phase = np.exp(-2j * math.pi * lines * strength / n)
    return _filtered(unit, axis, np.where(moved, phase, 1.0))


def _frequencies(n: int) -> NDArray[np.int64]:
    lines: NDArray[np.int64] = np.rint(np.fft.fftfreq(n) * n).astype(np.int64)
    return lines


def _filtered(unit: Values, axis: int, weights: NDArray[np.complex128]) -> Values:
    """Magnitude after the lines of k-space along one axis were multiplied by weights."""
    shape = [len(weights) if a == axis else 1 for a in range(4)]
    space = np.fft.fft(unit, axis=axis) * weights.reshape(shape)
    magnitude: Values = np.abs(np.fft.ifft(space, axis=axis))
    return magnitude


SHIFT_SUITE: Mapping[str, Corruption] = {
    "noise": Corruption(
        "standard deviation of Rician noise / range of the scan", (0.05, 0.10, 0.20), _rician_noise
    ),
    "blur": Corruption("standard deviation of a Gaussian, voxels", (0.6, 1.0, 1.5), _blur),
    "thick_slices": Corruption("slices joined to one, along a random axis", (2.0, 3.0, 4.0), _thick_slices),
    "bias_field": Corruption("largest logarithm of a cubic field", (0.3, 0.6, 0.9), _bias_field),
    "gamma": Corruption("power of the value", (1.4, 2.0, 3.0), _gamma),
    "contrast": Corruption(
        "share of 4 w (1 - w) mixed to the value, w = value / 99th percentile", (0.15, 0.30, 0.45), _contrast
    ),
    "ghosting": Corruption("weakening of every fourth k-space line", (0.3, 0.6, 0.9), _ghosting),
    "motion": Corruption(
        "displacement along a random axis during the scan, voxels", (1.0, 2.0, 3.0), _motion
    ),
}
"""Shift suite v1, written once: a changed number makes a new suite and another protocol hash."""
