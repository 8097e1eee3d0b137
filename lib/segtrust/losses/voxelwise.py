"""Losses that look at each voxel alone: label smoothing, focal, Brier score, and a margin of the logits."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust.losses._limits import check_limits
from segtrust.losses._voxels import in_full_precision, voxels_of
from segtrust.uncertainty import HeadKind

__all__ = ["brier_loss", "focal_loss", "label_smoothing_loss", "margin_penalty"]


@in_full_precision
def label_smoothing_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.1,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""Cross-entropy against labels that keep a little doubt; low is good. Bounds the confidence.

    .. math:: L = -\frac1V \sum_i \sum_k \left((1-\alpha) y_{ik} + \frac{\alpha}{K}\right) \ln p_{ik}

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
        alpha: share of the target that is spread over all classes, 0 to 0.5; 0 gives the cross-entropy.
        head: ``softmax``, or ``sigmoid`` with K = 2 outcomes per structure.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, nats per voxel, float32; above 0 even for the best network unless ``alpha`` is 0.

    Raises:
        SettingError: if ``alpha`` is outside its limits.
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Szegedy et al. 2016, "Rethinking the inception architecture", section 7; computed by torch.
    """
    check_limits(alpha=alpha)
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    nll = F.cross_entropy(voxels.logits, voxels.labels, reduction="none", label_smoothing=alpha)
    return voxels.mean(nll)


@in_full_precision
def focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 2.0,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""Cross-entropy in which voxels that are nearly right count less; low is good.

    .. math:: L = -\frac1V \sum_i (1 - p_{i,y_i})^\gamma \ln p_{i,y_i}

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
        gamma: how much less, 0 to 10; 0 gives the cross-entropy.
        head: ``softmax`` or ``sigmoid``.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, nats per voxel, float32; MONAI's ``FocalLoss(use_softmax=True)`` is this divided by C.

    Raises:
        SettingError: if ``gamma`` is outside its limits.
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Lin et al. 2017, "Focal loss for dense object detection", equation 4, without class weights;
        Mukhoti et al. 2020 for calibration.
    """
    check_limits(gamma=gamma)
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    nll = F.cross_entropy(voxels.logits, voxels.labels, reduction="none")
    # Rounding can put the nll below 0, and the slope of 0 to a power below 1 is infinite.
    doubt = -torch.expm1(-nll.clamp(min=1e-7))
    return voxels.mean(doubt**gamma * nll)


@in_full_precision
def brier_loss(
    logits: Tensor, labels: Tensor, *, head: HeadKind = "softmax", ignore: int | None = None
) -> Tensor:
    r"""Mean squared distance between probabilities and label; low is good.

    .. math:: L = \frac1V \sum_i \sum_k (p_{ik} - y_{ik})^2

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
        head: ``softmax``, or ``sigmoid`` with K = 2 outcomes per structure.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, unitless, range [0, 2], float32.

    Raises:
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Brier 1950; both outcomes are summed, as in ``segtrust.metrics.brier_map``.

    Example:
        >>> brier_loss(torch.zeros(1, 2, 1), torch.zeros(1, 1, dtype=torch.long))
        tensor(0.5000)
    """
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    gap = torch.softmax(voxels.logits, dim=1) - voxels.one_hot()
    return voxels.mean(gap.square().sum(dim=1))


@in_full_precision
def margin_penalty(
    logits: Tensor,
    labels: Tensor,
    *,
    margin: float = 10.0,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""How far logits lie more than a margin below the largest one (MbLS); a penalty, low is good.

    .. math:: L = \frac{1}{V K} \sum_i \sum_k \max(0, \max_j z_{ij} - z_{ik} - m)

    Knows nothing of the labels, so it needs a loss beside it.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``; say only which voxels are ignored.
        margin: distance in logits that costs nothing, 0 to 100.
        head: ``softmax``, or ``sigmoid`` with K = 2 outcomes per structure.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, in logits, float32.

    Raises:
        SettingError: if ``margin`` is outside its limits.
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Liu et al. 2022, "The devil is in the margin: margin-based label smoothing for network calibration";
        Murugesan et al. 2023, segmentation (weight 0.1 beside cross-entropy, margin 10; mean over classes).
    """
    check_limits(margin=margin)
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    distance = voxels.logits.amax(dim=1, keepdim=True) - voxels.logits
    return voxels.mean(torch.relu(distance - margin).mean(dim=1))
