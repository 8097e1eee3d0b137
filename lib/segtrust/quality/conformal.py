"""Bounds that hold for any model, from a few exchangeable subjects: quantiles, p-values, controlled risk."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from segtrust.errors import SettingError

__all__ = [
    "Width",
    "bound_risk",
    "confident_coverage",
    "conformal_bound",
    "conformal_p_value",
    "control_risk",
    "least_subjects",
    "miss_chance",
]

_ROUNDING = 1e-9

Width = Literal["usual", "widest"]
"""Of what rests on a rank: the rank that a wanted coverage asks for, or the last."""


def conformal_bound(scores: Sequence[float], alpha: float) -> float:
    r"""Value that the next score exceeds with a chance of at most ``alpha``.

    The :math:`\lceil (n + 1)(1 - \alpha) \rceil`-th smallest score.

    Args:
        scores: one per subject, exchangeable with the next one; one that is not a number counts as infinite.
        alpha: in (0, 1).

    Returns:
        In the scores' unit; infinity with fewer than ``1 / alpha - 1`` scores, for which nothing can be said.

    Raises:
        SettingError: if ``alpha`` is no chance between 0 and 1.

    Source:
        Vovk, Gammerman & Shafer 2005; Lei et al. 2018, split conformal prediction.

    Example:
        >>> conformal_bound(range(1, 10), 0.1), conformal_bound(range(1, 9), 0.1)
        (9.0, inf)
    """
    _check_alpha(alpha)
    rank = math.ceil((len(scores) + 1) * (1 - alpha) - _ROUNDING)
    if rank > len(scores):
        return math.inf
    bound = float(np.sort(np.asarray(scores, np.float64))[rank - 1])  # NaN comes last
    return math.inf if math.isnan(bound) else bound


def miss_chance(subjects: int, alpha: float, width: Width) -> float:
    """Chance of a miss to ask :func:`conformal_bound` for.

    Args:
        subjects: number of scores.
        alpha: wanted bound, in (0, 1).
        width: ``widest`` asks for the largest score, if ``alpha`` allows a bound at all.

    Returns:
        ``alpha``, or for ``widest`` the smaller of it and 1 / (n + 1).

    Example:
        >>> miss_chance(19, 0.1, "usual"), miss_chance(19, 0.1, "widest"), miss_chance(4, 0.1, "widest")
        (0.1, 0.05, 0.1)
    """
    return alpha if width == "usual" else min(alpha, 1 / (subjects + 1))


def confident_coverage(subjects: int, coverage: float, confidence: float) -> float | None:
    r"""Coverage to ask a rank for, so that nearly every calibration set reaches the wanted one.

    Over calibration sets, the share of scans that lie within the k-th smallest of ``n`` scores follows a beta
    distribution. :math:`k / (n + 1)` with the smallest k for which

    .. math:: P(\mathrm{Beta}(k, n + 1 - k) \ge coverage) \ge confidence

    Args:
        subjects: number of scores, n.
        coverage: wanted, in (0, 1).
        confidence: wanted share of calibration sets, in (0, 1).

    Returns:
        In (0, 1), above ``coverage``; ``None`` with fewer than :func:`least_subjects`.

    Raises:
        SettingError: if ``coverage`` or ``confidence`` lies outside (0, 1).

    Source:
        Wilks 1941 (tolerance limits); Vovk 2012, training-conditional validity of split conformal prediction.

    Example:
        >>> confident_coverage(28, 0.9, 0.95), confident_coverage(29, 0.9, 0.95) == 29 / 30
        (None, True)
    """
    _check_confidence(coverage, confidence)
    ranks = np.arange(1, subjects + 1)
    enough = special.betainc(ranks, subjects + 1 - ranks, coverage) <= 1 - confidence + _ROUNDING
    return float(ranks[np.argmax(enough)] / (subjects + 1)) if enough.any() else None


def least_subjects(coverage: float, confidence: float | None = None) -> int:
    """How many subjects a bound takes.

    Args:
        coverage: wanted share of scans, in (0, 1).
        confidence: wanted share of calibration sets for which it holds; ``None``: on average over them.

    Returns:
        Number of subjects.

    Raises:
        SettingError: if ``coverage`` or ``confidence`` lies outside (0, 1).

    Example:
        >>> least_subjects(0.9), least_subjects(0.9, 0.95)
        (9, 29)
    """
    _check_confidence(coverage, 0.5 if confidence is None else confidence)
    if confidence is None:
        return math.ceil(1 / (1 - coverage) - 1 - _ROUNDING)
    return math.ceil(math.log(1 - confidence) / math.log(coverage) - _ROUNDING)


def conformal_p_value(scores: Sequence[float], new: float) -> float:
    r"""Share of subjects at least as strange as the new one, itself counted; low means strange.

    .. math:: p = (1 + \#\{i : s_i \ge s\}) / (n + 1)

    Args:
        scores: strangeness of each subject; one that is not a number counts as infinite.
        new: strangeness of the new one, a number.

    Returns:
        Unitless, in [1 / (n + 1), 1]; at or below ``alpha`` for an exchangeable scan with a chance of at most
        ``alpha``.

    Raises:
        SettingError: if ``new`` is not a number.

    Source:
        Vovk, Gammerman & Shafer 2005.

    Example:
        >>> conformal_p_value([1, 2, 3], 2.5)
        0.5
    """
    if math.isnan(new):
        raise SettingError(
            "`new` must be a number, got NaN. Does every score that it is made of exist for this scan?"
        )
    return (1 + int(np.count_nonzero(~(np.asarray(scores, np.float64) < new)))) / (len(scores) + 1)


def control_risk(losses: NDArray[Any], alpha: float) -> int | None:
    r"""Boldest decision whose expected loss on the next subject is at most ``alpha``.

    The first column with :math:`\sum_i \ell_i + 1 \le \alpha (n + 1)`.

    Args:
        losses: ``(n, decisions)`` in [0, 1], boldest decision first: no row may rise.
        alpha: wanted bound, in (0, 1).

    Returns:
        Column of the decision; ``None`` where too few subjects or too high losses allow none.

    Raises:
        SettingError: if ``alpha`` is no chance between 0 and 1, a loss lies outside [0, 1], or a row rises.

    Source:
        Angelopoulos et al. 2022, "Conformal risk control", eq. 4.

    Example:
        >>> control_risk(np.zeros((8, 1)), 0.1), control_risk(np.zeros((9, 1)), 0.1)
        (None, 0)
    """
    _check_alpha(alpha)
    values = np.asarray(losses, np.float64)
    if not ((values >= 0) & (values <= 1)).all() or (np.diff(values, axis=1) > 0).any():
        raise SettingError(
            "`losses` must lie in [0, 1] and fall from left to right. Is the boldest decision the first?"
        )
    enough = values.sum(axis=0) + 1 <= alpha * (len(values) + 1) + _ROUNDING
    return int(np.argmax(enough)) if enough.any() else None


def bound_risk(scores: Sequence[float], bad: Sequence[bool], alpha: float) -> float | None:
    """Limit above which a subject may be called fine, so that it is bad with a chance of at most ``alpha``.

    The chance is that of "called fine *and* bad", over calibration subjects and the next one.

    Args:
        scores: one per subject, high = likely to be fine.
        bad: whether it was bad.
        alpha: wanted bound, in (0, 1).

    Returns:
        The lowest limit: call fine what scores *above* it; ``-inf`` if everything may be called fine;
        ``None`` where too few subjects allow it.

    Raises:
        SettingError: if ``alpha`` is no chance between 0 and 1.

    Source:
        :func:`control_risk` with the loss "called fine and bad".

    Example:
        >>> bound_risk([0.9] * 8 + [0.2], [False] * 8 + [True], 0.1)
        0.2
    """
    limits = np.concatenate([[-np.inf], np.unique(np.asarray(scores, np.float64))])
    called = np.asarray(scores, np.float64)[:, None] > limits
    chosen = control_risk(called & np.asarray(bad, bool)[:, None], alpha)
    return None if chosen is None else float(limits[chosen])


def _check_confidence(coverage: float, confidence: float) -> None:
    if not (0 < coverage < 1 and 0 < confidence < 1):
        raise SettingError(
            f"`coverage` and `confidence` must lie between 0 and 1, got {coverage} and {confidence}. "
            "Example: 0.9 and 0.95"
        )


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise SettingError(f"`alpha` must be a chance between 0 and 1, got {alpha}. Example: 0.1")
