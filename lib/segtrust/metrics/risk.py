"""What is lost if only the surer scans are trusted: areas under risk-coverage curves over scans."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ShapeError

__all__ = ["augrc", "aurc"]


def aurc(uncertainty: Sequence[float], risk: Sequence[float]) -> float:
    r"""Area under the risk-coverage curve: mean risk of the n surest scans, averaged over n; low is good.

    .. math:: \frac1N \sum_{n=1}^N \frac1n \sum_{i \le n} r_{(i)}, \quad u_{(1)} \le u_{(2)} \le \dots

    Args:
        uncertainty: score per scan, high means less sure.
        risk: what is lost if that scan is trusted, such as 1 - Dice.

    Returns:
        In the range of the risks; NaN without scans. Scans with equal scores stand in every order alike. Of
        scans with an unknown score or risk nothing is said: leave them out and count them.

    Raises:
        ShapeError: if the lengths differ or a value is not finite.

    Source:
        Geifman & El-Yaniv 2017; Jaeger et al. 2023 for segmentation with risk = 1 - Dice.

    Example:
        >>> aurc([0.1, 0.2], [0.0, 1.0]), aurc([0.2, 0.1], [0.0, 1.0])
        (0.25, 0.75)
    """
    trusted = _in_order(uncertainty, risk).cumsum()
    return float(np.mean(trusted / np.arange(1, len(trusted) + 1))) if len(trusted) else float("nan")


def augrc(uncertainty: Sequence[float], risk: Sequence[float]) -> float:
    r"""Area under the generalised risk-coverage curve: what is lost on trusted scans, over all; low is good.

    .. math:: \int_0^1 g(c)\,dc, \quad g(n/N) = \frac1N \sum_{i \le n} r_{(i)}, \quad g(0) = 0

    straight between the points. Unlike :func:`aurc` it does not weigh the surest scans most. With risks of 0
    and 1 and accuracy a it is :math:`(1 - \mathrm{AUROC})\,a (1 - a) + (1 - a)^2 / 2`.

    Args:
        uncertainty: score per scan, high means less sure.
        risk: what is lost if that scan is trusted, such as 1 - Dice.

    Returns:
        Half the mean risk for a score that says nothing; NaN without scans. Equal scores as in :func:`aurc`.

    Raises:
        ShapeError: if the lengths differ or a value is not finite.

    Source:
        Traub et al. 2024, "Overcoming common flaws in the evaluation of selective classification systems".

    Example:
        >>> augrc([0.1, 0.2], [0.0, 1.0]), augrc([0.2, 0.1], [0.0, 1.0])
        (0.125, 0.375)
    """
    ordered = _in_order(uncertainty, risk)
    n = len(ordered)
    return float((ordered.cumsum() - ordered / 2).sum() / n**2) if n else float("nan")


def _in_order(uncertainty: Sequence[float], risk: Sequence[float]) -> NDArray[np.float64]:
    """Risks by rising uncertainty; scans with equal scores share the mean of their risks."""
    score, lost = np.asarray(uncertainty, np.float64), np.asarray(risk, np.float64)
    if score.ndim != 1 or score.shape != lost.shape or not np.isfinite([score, lost]).all():
        raise ShapeError(
            "`uncertainty` and `risk` must be one finite number per scan each, got shapes "
            f"{score.shape} and {lost.shape}. Leave out scans without a score, and say how many."
        )
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    return np.repeat(np.bincount(place, lost, len(counts)) / counts, counts) if len(score) else lost
