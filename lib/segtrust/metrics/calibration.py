"""How far confidence and accuracy lie apart, from bins; low is good."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from segtrust._binning import Bins, bin_voxels

__all__ = [
    "average_calibration_error",
    "bin_classes",
    "classwise_calibration_error",
    "debiased_calibration_error",
    "expected_calibration_error",
    "kolmogorov_smirnov_error",
    "maximum_calibration_error",
]


def expected_calibration_error(bins: Bins) -> float:
    r"""Mean gap between confidence and accuracy, weighted by voxels; low is good.

    .. math:: ECE = \sum_b \frac{n_b}{N} \left| \frac{a_b}{n_b} - \frac{c_b}{n_b} \right|

    Args:
        bins: totals of confidence and hits; coarsen them first to the wanted number.

    Returns:
        Unitless, in [0, 1]; NaN without voxels.

    Source:
        Naeini et al. 2015; Guo et al. 2017. Top-label or class-wise is decided by what was binned.

    Example:
        >>> import torch
        >>> from segtrust._binning import bin_voxels
        >>> two = bin_voxels(torch.tensor([0.75, 0.75]), torch.tensor([True, False]), cells=4)
        >>> expected_calibration_error(two)
        0.25
    """
    total = int(bins.counts.sum())
    return float(np.abs(bins.hits - bins.confidence).sum() / total) if total else float("nan")


def average_calibration_error(bins: Bins, *, least: int = 1) -> float:
    """Mean gap between confidence and accuracy, every bin counting alike; low is good.

    Args:
        bins: totals of confidence and hits.
        least: bins with fewer voxels are left out.

    Returns:
        Unitless, in [0, 1]; NaN if no bin holds enough.

    Source:
        Neumann et al. 2018; called ACE by netcal, MONAI and Barfoot et al. 2025. The "adaptive" ACE of Nixon
        et al. 2019 is :func:`expected_calibration_error` of :meth:`~segtrust._binning.Bins.equal_mass`.

    Example:
        >>> import torch
        >>> three = bin_voxels(torch.tensor([0.75, 0.75, 0.25]), torch.tensor([True, False, False]), cells=4)
        >>> average_calibration_error(three)
        0.25
    """
    full = bins.counts >= max(1, least)
    gaps = np.abs(bins.hits[full] - bins.confidence[full]) / bins.counts[full]
    return float(gaps.mean()) if full.any() else float("nan")


def kolmogorov_smirnov_error(bins: Bins) -> float:
    r"""Largest gap of the running sums of confidence and of hits; low is good, no bin width to choose.

    .. math:: KS = \frac1N \max_b \Bigl| \sum_{b' \le b} (a_{b'} - c_{b'}) \Bigr|

    Args:
        bins: totals in as many cells as there are; the running sums are compared at the edges of cells.

    Returns:
        Unitless, in [0, 1]; NaN without voxels. What an exact sort could find lies above by at most the
        larger sum of any one cell over N.

    Source:
        Gupta et al. 2021, "Calibration of neural networks using splines", eq. 7.

    Example:
        >>> import torch
        >>> kolmogorov_smirnov_error(bin_voxels(torch.tensor([0.5, 1.0]), torch.tensor([False, True])))
        0.25
    """
    total = int(bins.counts.sum())
    return float(np.abs(np.cumsum(bins.hits - bins.confidence)).max() / total) if total else float("nan")


def maximum_calibration_error(bins: Bins, *, least: int = 1000) -> float:
    """Largest gap between confidence and accuracy of any bin that holds enough voxels; low is good.

    Args:
        bins: totals of confidence and hits.
        least: bins with fewer voxels are left out.

    Returns:
        Unitless, in [0, 1]; NaN if no bin holds enough.

    Source:
        Naeini et al. 2015; the limit of 1000 voxels is that of Mehrtash et al. 2020.
    """
    full = bins.counts >= max(1, least)
    if not full.any():
        return float("nan")
    gaps = np.abs(bins.hits[full] - bins.confidence[full]) / bins.counts[full]
    return float(gaps.max())


def bin_classes(probs: Tensor, labels: Tensor, *, cells: int = 15) -> tuple[Bins, ...]:
    """Bin the probability of each class against whether the voxel has that label.

    Args:
        probs: ``(n, C)``.
        labels: ``(n,)`` integers.
        cells: number of bins.

    Returns:
        One table per class, for :func:`classwise_calibration_error`.
    """
    return tuple(bin_voxels(probs[:, k], labels == k, cells=cells) for k in range(probs.shape[1]))


def classwise_calibration_error(classes: Sequence[Bins]) -> float:
    r"""Plain mean over the classes of the gap between a class's probability and its frequency; low is good.

    .. math:: \frac{1}{K} \sum_k \sum_b \frac{n_{kb}}{N} \left| \frac{y_{kb}}{n_{kb}} - \bar p_{kb} \right|

    Args:
        classes: one table per class, background included; see :func:`bin_classes`.

    Returns:
        Unitless, in [0, 1]; NaN without classes or voxels.

    Source:
        Kull et al. 2019, class-wise ECE; Nixon et al. 2019, static calibration error.

    Example:
        >>> import torch
        >>> sure = bin_classes(torch.tensor([[0.75, 0.25]]), torch.tensor([0]))
        >>> classwise_calibration_error(sure)
        0.25
    """
    return float(np.mean([expected_calibration_error(bins) for bins in classes])) if classes else float("nan")


def debiased_calibration_error(bins: Bins) -> float:
    r"""Squared gap between confidence and accuracy less what chance adds; low is good, may fall below 0.

    .. math:: \sum_b \frac{n_b}{N} \left[ (\bar y_b - \bar c_b)^2
              - \frac{\bar y_b (1 - \bar y_b)}{n_b - 1} \right]

    A perfect model has 0 on average whatever the number of bins; the plain error is above 0 for any sample.

    Args:
        bins: totals of confidence and hits; bins with fewer than two voxels are left out.

    Returns:
        Unitless, squared: its root, where positive, compares with other errors. NaN if no bin has two voxels.
        Voxels count as independent; in a scan they are not, so some bias remains.

    Source:
        Broecker 2012 and Ferro & Fricker 2012 for the reliability of the Brier score; Kumar et al. 2019,
        debiased estimator.

    Example:
        >>> import torch
        >>> debiased_calibration_error(bin_voxels(torch.tensor([0.5, 0.5]), torch.tensor([1, 0]), cells=4))
        -0.25
    """
    n = bins.counts.astype(np.float64)
    full = bins.counts >= 2
    if not full.any():
        return float("nan")
    n, rate = n[full], bins.hits[full] / n[full]
    gap = rate - bins.confidence[full] / n
    return float((n * (np.square(gap) - rate * (1 - rate) / (n - 1))).sum() / n.sum())
