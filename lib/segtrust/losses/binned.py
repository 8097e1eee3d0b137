"""Average calibration error as a penalty: the gap between probability and frequency, bin by bin."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from segtrust._binning import bin_index
from segtrust.losses._limits import check_limits
from segtrust.losses._voxels import Voxels, in_full_precision, voxels_of
from segtrust.uncertainty import HeadKind

__all__ = ["hard_l1_ace", "soft_l1_ace"]

_EMPTY = 0.01  # voxels; a bin that holds less is left out


@in_full_precision
def hard_l1_ace(
    logits: Tensor,
    labels: Tensor,
    *,
    bins: int = 20,
    include_background: bool = True,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""Mean gap between probability and frequency over bins and classes (mL1-ACE); a penalty, low is good.

    .. math:: L = \frac{1}{|G|} \sum_{g \in G} \frac{1}{|B_g|} \sum_{b \in B_g}
              \frac{\left| \sum_i w_{ib} (p_i - y_i) \right|}{\sum_i w_{ib}}

    G: pairs of scan and class with at least one labelled voxel. B: bins that are not empty, of equal width,
    right-closed; w is 1 for voxels in the bin. The slope is that of the mean probability: that voxels change
    bins does not enter.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
        bins: number of bins, 2 to 100.
        include_background: count class 0 of a softmax head as well; a sigmoid head has none.
        head: ``softmax`` or ``sigmoid``.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar in [0, 1], float32; 0 if no class is present.

    Raises:
        SettingError: if ``bins`` is outside its limits.
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Barfoot et al. 2025, "Average calibration losses for reliable uncertainty in medical image
        segmentation", arXiv:2506.03942 (mL1-ACE with hard bins, 20). Classes without a label are left out, as
        in the authors' later runs.
    """
    check_limits(bins=bins)
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    first = 0 if include_background and head == "softmax" else 1
    return _mean_gap(voxels, bins, _one_bin, first=first)


@in_full_precision
def soft_l1_ace(
    logits: Tensor,
    labels: Tensor,
    *,
    bins: int = 20,
    include_background: bool = True,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""The gap of `hard_l1_ace` with voxels shared between the two nearest bins; a penalty, low is good.

    .. math:: w_{ib} = \max(0, 1 - |b'_i - b|), \quad b'_i = \min(\max(n p_i - \tfrac12, 0), n - 1),
              \quad b = 0 \dots n-1

    The slope holds the way of voxels from bin to bin as well.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
        bins: number n of bins, 2 to 100.
        include_background: count class 0 of a softmax head as well; a sigmoid head has none.
        head: ``softmax`` or ``sigmoid``.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar in [0, 1], float32; 0 if no class is present.

    Raises:
        SettingError: if ``bins`` is outside its limits.
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Barfoot et al. 2025, arXiv:2506.03942 (mL1-ACE with soft bins, 20; bins that hold less than 0.01
        voxels are left out). Beyond the outer bin centres a voxel belongs to the outer bin alone: ours.
    """
    check_limits(bins=bins)
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    first = 0 if include_background and head == "softmax" else 1
    return _mean_gap(voxels, bins, _two_bins, first=first)


class _Membership(NamedTuple):
    """M bins of every voxel: number, share, and slope of the share in the probability; each ``(M, V)``."""

    cell: Tensor
    share: Tensor
    rise: Tensor | float


def _one_bin(probs: Tensor, bins: int) -> _Membership:
    return _Membership(bin_index(probs, bins)[None], torch.ones_like(probs)[None], 0.0)


def _two_bins(probs: Tensor, bins: int) -> _Membership:
    place = probs * bins - 0.5
    left = place.floor().clamp(0, bins - 2)
    right = (place - left).clamp(0, 1)
    rise = bins * ((place >= 0) & (place <= bins - 1)).to(probs)
    return _Membership(
        torch.stack((left, left + 1)).long(), torch.stack((1 - right, right)), torch.stack((-rise, rise))
    )


def _mean_gap(
    voxels: Voxels, bins: int, members: Callable[[Tensor, int], _Membership], *, first: int
) -> Tensor:
    """Mean over scans and classes, one pair at a time: its float64 stays in the cache, twice as fast."""
    probs = torch.softmax(voxels.logits, dim=1).flatten(2)
    labels, known, slope = voxels.labels.flatten(1), probs.detach(), torch.zeros_like(probs)
    value, pairs = 0.0, 0
    for scan in range(len(probs)):
        counted = ... if voxels.valid is None else voxels.valid[scan].flatten()
        for k in range(first, probs.shape[1]):
            truth = (labels[scan] == k)[counted]
            if truth.any():
                p = known[scan, k][counted].double()
                gap, change = _gap(p - truth.double(), bins, members(p.nan_to_num(), bins))
                slope[scan, k][counted] = change.to(slope.dtype)
                value, pairs = value + gap, pairs + 1
    return (value + (slope * (probs - known)).sum()) / max(1, pairs)


def _gap(excess: Tensor, bins: int, members: _Membership) -> tuple[float, Tensor]:
    """Mean gap over the bins of one class in one scan, and its slope in each probability."""

    def total(weights: Tensor) -> Tensor:
        return torch.bincount(members.cell.flatten(), weights=weights.flatten(), minlength=bins)

    count = total(members.share)
    full = count >= _EMPTY
    gap = (total(members.share * excess) / count.where(full, 1)).where(full, 0)
    n_full = full.sum()
    # Written by hand: one map to keep for the backward pass, and no 0/0 in empty bins.
    factor = gap.sign() / (count.where(full, 1) * n_full)
    slope = factor[members.cell] * (members.share + members.rise * (excess - gap[members.cell]))
    return float(gap.abs().sum() / n_full), slope.sum(dim=0)
