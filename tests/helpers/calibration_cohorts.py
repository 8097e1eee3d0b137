"""Made-up calibration scans of which the true temperature is a matter of choice."""

import numpy as np
from scipy.special import expit

from segtrust import calibrators as c

__all__ = ["cohort", "constant", "small_structure", "true_scan"]


def true_scan(subject, *, temperature, n=4000, classes=3, seed=0):
    """Voxels whose labels really follow softmax(logits / temperature(distance)); all are drawn.

    Logits are normalised: ``ln p``.
    """
    rng = np.random.default_rng([seed, int(subject)])
    distance = rng.uniform(0, 12, n)
    z = rng.normal(0, 4, (n, classes))
    logits = z - np.log(np.exp(z).sum(1, keepdims=True))
    scaled = logits / temperature(distance)[:, None]
    p = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    labels = (p.cumsum(1) < rng.random((n, 1))).sum(1).clip(0, classes - 1)
    return c.CalibrationVoxels(
        logits.astype(np.float32), labels, distance.astype(np.float32), np.ones(n), subject
    )


def cohort(temperature, *, subjects=5, **options):
    return [true_scan(str(i), temperature=temperature, **options) for i in range(subjects)]


def constant(t):
    return lambda distance: np.full_like(distance, t)


def small_structure(subject, *, share, temperature, near=2000, far=400, seed=0):
    """A scan of which so small a share lies within 8 mm of the structure, the rest being a ball of air.

    T is ``temperature`` at 0 mm and 1 from 6 mm on. The far voxels stand for all others by their weights.

    Returns:
        The voxels; and what each tells about ln T (Fisher information), ``(n,)``.
    """
    rng = np.random.default_rng([seed, int(subject)])
    distance = np.concatenate(
        [rng.uniform(0, 8, near), 8 * np.cbrt(1 + rng.random(far) * (1 / share - 1))]  # even in volume
    )
    z = np.concatenate([rng.normal(0, 3, (near, 3)), rng.normal((12, 0, 0), 1, (far, 3))])
    logits = z - np.log(np.exp(z).sum(1, keepdims=True))
    scaled = logits / np.exp(np.log(temperature) * expit((4 - distance) / 0.5))[:, None]
    p = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    labels = (p.cumsum(1) < rng.random((near + far, 1))).sum(1).clip(0, 2)
    weight = np.concatenate([np.ones(near), np.full(far, near * (1 / share - 1) / far)])
    scan = c.CalibrationVoxels(
        logits.astype(np.float32), labels, distance.astype(np.float32), weight, subject
    )
    return scan, (p * scaled**2).sum(1) - (p * scaled).sum(1) ** 2
