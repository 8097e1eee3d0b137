"""Made-up calibration scans of which the true temperature is a matter of choice."""

import numpy as np

from segtrust import calibrators as c

__all__ = ["cohort", "constant", "true_scan"]


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
