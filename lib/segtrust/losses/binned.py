"""Average calibration error as a penalty: the gap between probability and frequency, bin by bin."""

from typing import NamedTuple

import torch
from torch import Tensor

from segtrust._binning import bin_index
from segtrust.losses._limits import check_limits
from segtrust.losses._voxels import in_full_precision, voxels_of
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
    groups = _groups(logits, labels, include_background=include_background, head=head, ignore=ignore)
    return _ace(groups, bins, bin_index(groups.probs, bins)[None], groups.counted[None], rise=0.0)


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
    groups = _groups(logits, labels, include_background=include_background, head=head, ignore=ignore)
    place = groups.probs.double() * bins - 0.5
    left = place.floor().clamp(0, bins - 2)
    right = (place - left).clamp(0, 1)
    rise = bins * ((place >= 0) & (place <= bins - 1)) * groups.counted
    cell, share = torch.stack((left, left + 1)).long(), torch.stack((1 - right, right)) * groups.counted
    return _ace(groups, bins, cell, share, rise=torch.stack((-rise, rise)))


class _Groups(NamedTuple):
    """Pairs of scan and class that are present: ``(G, V)`` each; ``attached`` carries the gradient."""

    attached: Tensor
    probs: Tensor
    truth: Tensor
    counted: Tensor


def _groups(
    logits: Tensor, labels: Tensor, *, include_background: bool, head: HeadKind, ignore: int | None
) -> _Groups:
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    first = 0 if include_background and head == "softmax" else 1
    probs = torch.softmax(voxels.logits, dim=1)[:, first:].flatten(2)
    valid = torch.ones_like(voxels.labels, dtype=torch.bool) if voxels.valid is None else voxels.valid
    counted = valid.flatten(1)[:, None].expand_as(probs)
    truth = voxels.one_hot()[:, first:].flatten(2) * counted
    present = truth.any(dim=2)
    attached = probs[present]
    return _Groups(attached, attached.detach(), truth[present].double(), counted[present].double())


def _ace(groups: _Groups, bins: int, cell: Tensor, share: Tensor, rise: Tensor | float) -> Tensor:
    """The loss, for voxels that belong to M bins each.

    ``cell`` ``(M, G, V)`` names the bins, ``share`` says how much of the voxel belongs to each, ``rise`` is
    the slope of the share in the probability.
    """
    excess = groups.probs.double() - groups.truth
    n_groups = len(excess)
    cell = cell + bins * torch.arange(n_groups, device=cell.device)[:, None]

    def total(values: Tensor) -> Tensor:
        return torch.bincount(cell.flatten(), weights=values.flatten(), minlength=bins * n_groups)

    count = total(share)
    full = count >= _EMPTY
    gap = (total(share * excess) / count.where(full, 1)).where(full, 0)
    n_full = full.view(n_groups, bins).sum(dim=1).clamp(min=1)
    part = full / (n_groups * n_full.repeat_interleave(bins))
    # The slope of the value in each probability, by hand: one map to keep, and no 0/0 in empty bins.
    factor = gap.sign() * part / count.where(full, 1)
    slope = (factor[cell] * (share + rise * (excess - gap[cell]))).sum(dim=0)
    value = (gap.abs() * part).sum()
    return value.to(groups.probs) + (slope.to(groups.probs) * (groups.attached - groups.probs)).sum()
