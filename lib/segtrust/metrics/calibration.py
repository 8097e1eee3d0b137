"""How far confidence and accuracy lie apart, from bins; low is good."""

import numpy as np

from segtrust._binning import Bins

__all__ = ["expected_calibration_error", "maximum_calibration_error"]


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
