"""Is a paired difference more than chance, and still so after many were looked at?"""

from collections.abc import Sequence

import numpy as np

from segtrust.errors import ShapeError

__all__ = ["holm", "sign_flip_p"]


def sign_flip_p(differences: Sequence[float], *, draws: int = 20_000, seed: int = 0) -> float:
    r"""Two-sided p-value of paired differences by flipping signs; low: the mean is hardly 0 by chance.

    .. math:: p = \frac{1 + \#\{|\sum_i s_i d_i| \ge |\sum_i d_i|\}}{1 + \text{draws}},\quad s_i = \pm 1

    Args:
        differences: one per subject, the sum over the subject's scans.
        draws: number of sign patterns drawn.
        seed: of the draws.

    Returns:
        In (0, 1]; at least ``1 / (1 + draws)``, so that many comparisons need many draws.

    Raises:
        ShapeError: without differences, or if one is not finite.

    Source:
        Fisher 1935; Phipson & Smyth 2010 for the added one.

    Example:
        >>> sign_flip_p([0.0, 0.0])
        1.0
    """
    sample = np.asarray(differences, dtype=np.float64)
    if not sample.size or not np.isfinite(sample).all():
        raise ShapeError(
            f"`differences` must be at least one finite number per subject, got {list(differences)}. "
            "Leave subjects out that have none."
        )
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(draws, sample.size))
    reached = np.abs(signs @ sample) >= abs(sample.sum()) * (1 - 1e-12)
    return float((1 + np.count_nonzero(reached)) / (1 + draws))


def holm(p_values: Sequence[float]) -> list[float]:
    r"""p-values adjusted for how many were looked at; the chance of any false finding stays below the level.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\{1, (m - j + 1)\, p_{(j)}\}

    Args:
        p_values: of all comparisons of one family.

    Returns:
        Adjusted p-values in the same order, in [0, 1].

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    steps = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return [float(value) for value in adjusted]
