"""What a Brier score is made of, and the curve of a reliability diagram; both from bins."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segtrust._binning import Bins

__all__ = ["BrierParts", "ReliabilityCurve", "brier_parts", "reliability_curve"]


class BrierParts(NamedTuple):
    """Parts of a Brier score per voxel: ``reliability - resolution + uncertainty + within`` is the score.

    ``reliability`` is what calibration could mend (low is good), ``resolution`` how far the bins tell voxels
    apart (high is good), ``uncertainty`` belongs to the labels alone, ``within`` is what bins cannot see.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_parts(classes: Sequence[Bins], brier: float) -> BrierParts:
    r"""Take a Brier score apart, summed over the classes.

    .. math:: B = \sum_k \Bigl[ \sum_b \frac{n_{kb}}{N} (\bar p_{kb} - \bar y_{kb})^2
              - \sum_b \frac{n_{kb}}{N} (\bar y_{kb} - \bar y_k)^2 + \bar y_k (1 - \bar y_k) \Bigr] + W

    W is 0 if every bin holds one value of p, as Murphy's identity assumes; with cells of width w it is at
    most :math:`K (w/2 + w^2/4)` either way.

    Args:
        classes: one table per class, background included; one per channel for a sigmoid head.
        brier: Brier score per voxel of the same voxels, summed over the classes.

    Returns:
        The parts, unitless; NaN without classes or voxels.

    Source:
        Murphy 1973; W is the difference of the two terms within bins of Stephenson et al. 2008.

    Example:
        >>> import torch
        >>> from segtrust.metrics import bin_classes
        >>> halves = bin_classes(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([0, 1]))
        >>> brier_parts(halves, 0.5)
        BrierParts(reliability=0.0, resolution=0.0, uncertainty=0.5, within=0.0)
    """
    if not classes or not classes[0].counts.any():
        return BrierParts(*(float("nan"),) * 4)
    reliability = resolution = uncertainty = 0.0
    for bins in classes:
        full = bins.counts > 0
        n, rate = bins.counts[full], bins.hits[full] / bins.counts[full]
        base = bins.hits.sum() / n.sum()
        share = n / n.sum()
        reliability += float(share @ np.square(bins.confidence[full] / n - rate))
        resolution += float(share @ np.square(rate - base))
        uncertainty += float(base * (1 - base))
    return BrierParts(reliability, resolution, uncertainty, brier - (reliability - resolution + uncertainty))


class ReliabilityCurve(NamedTuple):
    """One entry per bin that is not empty: its edges, its voxels, mean confidence and observed frequency."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    voxels: NDArray[np.int64]
    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]


def reliability_curve(bins: Bins) -> ReliabilityCurve:
    """Points of a reliability diagram; a calibrated model lies on the diagonal.

    Args:
        bins: totals in equally wide bins, of the top label or of one class.

    Returns:
        Arrays in rising order of confidence, empty without voxels. The band that belongs to a diagram comes
        from :func:`segtrust.metrics.cluster_bootstrap`, since voxels of one scan are not independent.

    Source:
        DeGroot & Fienberg 1983; mean confidence of a bin instead of its middle, Niculescu-Mizil & Caruana
        2005.

    Example:
        >>> import torch
        >>> from segtrust._binning import bin_voxels
        >>> two = bin_voxels(torch.tensor([0.75, 0.75, 0.25]), torch.tensor([True, False, False]), cells=4)
        >>> curve = reliability_curve(two)
        >>> curve.confidence.tolist(), curve.frequency.tolist()
        ([0.25, 0.75], [0.0, 0.5])
    """
    edges = np.arange(len(bins) + 1) / len(bins)
    full = bins.counts > 0
    n = bins.counts[full]
    return ReliabilityCurve(
        edges[:-1][full], edges[1:][full], n, bins.confidence[full] / n, bins.hits[full] / n
    )
