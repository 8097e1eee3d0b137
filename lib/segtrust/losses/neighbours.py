"""Losses whose target is a label and the labels around it: SVLS and NACL."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust.losses._limits import check_limits
from segtrust.losses._voxels import Voxels, in_full_precision, voxels_of
from segtrust.uncertainty import HeadKind

__all__ = ["neighbour_penalty", "svls_loss"]

_NO_NEIGHBOUR = 1e-4  # the least weight of one neighbour is 1e-3; what is less is rounding


@in_full_precision
def svls_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    sigma: float = 1.0,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""Cross-entropy against spatially varying smooth labels; low is good. Doubts labels at borders only.

    .. math:: L = -\frac1V \sum_i \sum_k t_{ik} \ln p_{ik}, \qquad
              t_{ik} = \tfrac12 y_{ik} + \tfrac12 \frac{\sum_j g_{ij} y_{jk}}{\sum_j g_{ij}}

    j runs over the neighbours in a cube (2-D: square) of side 3 and g is a Gaussian, so the voxel itself
    weighs as much as all neighbours together. Labels are repeated beyond the edge; ignored neighbours do not
    count.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
        sigma: width of the Gaussian in voxels, 0.5 to 10.
        head: ``softmax`` or ``sigmoid``.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, nats per voxel, float32.

    Raises:
        SettingError: if ``sigma`` is outside its limits.
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Islam & Glocker 2021, "Spatially varying label smoothing: capturing uncertainty from expert
        annotations" (sigma 1, side 3); the treatment of ignored neighbours is ours.
    """
    check_limits(sigma=sigma)
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    side = math.exp(-0.5 / sigma**2)
    taps = (1 / (1 + 2 * side), side / (1 + 2 * side))
    centre = taps[0] ** (logits.ndim - 2)
    truth, counts = _counted(voxels)
    around, counted = (_spread(t, *taps) - centre * t for t in (truth, counts))
    around = (around / counted.clamp(min=_NO_NEIGHBOUR)).where(counted > _NO_NEIGHBOUR, truth)
    target = (truth + around) / 2
    return voxels.mean(-(target * F.log_softmax(voxels.logits, dim=1)).sum(dim=1))


@in_full_precision
def neighbour_penalty(
    logits: Tensor, labels: Tensor, *, head: HeadKind = "softmax", ignore: int | None = None
) -> Tensor:
    r"""Distance of the logits from the share of each class around (NACL); a penalty, low is good.

    .. math:: L = \frac{1}{V K} \sum_i \sum_k \left| \tau_{ik} - z_{ik} \right|, \qquad
              \tau_{ik} = \frac{1}{|N_i|} \sum_{j \in N_i} y_{jk}

    N is a cube (2-D: square) of side 3, the voxel included. Labels are repeated beyond the edge; ignored
    voxels do not count. As a mean over classes it pulls less the more classes there are.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
        head: ``softmax``, or ``sigmoid``: half of abs(2 tau - 1 - z) per structure, the penalty of two
            classes with the best common offset.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, in logits, float32.

    Raises:
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Murugesan et al. 2024, "Neighbor-aware calibration of segmentation networks with penalty-based
        constraints", mean kernel and L1 (published weight 0.1 beside cross-entropy). Unlike MONAI's
        ``NACLLoss`` the edge is not padded with zeros, where the shares of a corner would sum to 0.30.
    """
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    share, counted = (_spread(t, 1 / 3, 1 / 3) for t in _counted(voxels))
    share /= counted.clamp(min=_NO_NEIGHBOUR)
    return voxels.mean((share - voxels.logits).abs().mean(dim=1))


def _counted(voxels: Voxels) -> tuple[Tensor, Tensor]:
    """Labels as zeros and ones, 0 in ignored voxels, and which voxels count."""
    truth = voxels.one_hot()
    if voxels.valid is None:
        return truth, truth.new_ones(()).expand(1, 1, *truth.shape[2:])
    counted = voxels.valid[:, None].to(truth.dtype)
    return truth * counted, counted


def _spread(volume: Tensor, centre: float, side: float) -> Tensor:
    """Weighted sum over the neighbours along each axis in turn; values are repeated beyond the edge."""
    for axis in range(2, volume.ndim):
        length = volume.shape[axis]
        edges = (volume.narrow(axis, 0, 1), volume, volume.narrow(axis, length - 1, 1))
        wide = torch.cat(edges, dim=axis)
        volume = centre * volume + side * (wide.narrow(axis, 0, length) + wide.narrow(axis, 2, length))
    return volume
