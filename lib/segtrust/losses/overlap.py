"""Cross-entropy, soft Dice and their sum."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust.losses._voxels import in_full_precision, voxels_of
from segtrust.uncertainty import HeadKind

__all__ = ["cross_entropy", "dice_ce", "dice_loss"]

_SMOOTH = 1e-5


@in_full_precision
def cross_entropy(
    logits: Tensor, labels: Tensor, *, head: HeadKind = "softmax", ignore: int | None = None
) -> Tensor:
    r"""Mean negative log-likelihood of the labels; low is good.

    .. math:: L = -\frac1V \sum_i \ln p_{i,y_i}

    Args:
        logits: ``(B, C, *spatial)``, any floating type; computed in float32.
        labels: integers ``(B, *spatial)``; for a sigmoid head 0..C, or ``(B, C, *spatial)`` of 0 and 1 where
            structures overlap.
        head: ``softmax``, or ``sigmoid`` for one yes-or-no question per structure.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, nats per voxel (and structure, if sigmoid), float32.

    Raises:
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        standard; ``torch.nn.functional.cross_entropy``.

    Example:
        >>> cross_entropy(torch.zeros(1, 2, 1), torch.zeros(1, 1, dtype=torch.long))
        tensor(0.6931)
    """
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    if voxels.valid is None:
        return F.cross_entropy(voxels.logits, voxels.labels)
    return voxels.mean(F.cross_entropy(voxels.logits, voxels.labels, reduction="none"))


@in_full_precision
def dice_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    include_background: bool = False,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""One minus the soft Dice coefficient, mean over classes; low is good.

    .. math:: L = 1 - \frac1K \sum_k \frac{2\sum_i p_{ik} t_{ik} + s}{\sum_i p_{ik} + \sum_i t_{ik} + s}

    Sums run over the whole batch, so that a patch without a structure does not dominate.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`cross_entropy`.
        include_background: count class 0 of a softmax head as well; a sigmoid head has none.
        head: ``softmax`` or ``sigmoid``.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar in [0, 1], float32.

    Raises:
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        Milletari et al. 2016; linear denominators and batch sums as in Mehrtash et al. 2020.
    """
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    probs, target = torch.softmax(voxels.logits, dim=1), voxels.one_hot()
    if voxels.valid is not None:
        probs, target = (t * voxels.valid[:, None] for t in (probs, target))
    if head == "sigmoid":  # the answer "yes" of every structure
        probs, target = (t[:, 1].unflatten(0, logits.shape[:2]) for t in (probs, target))
    axes = (0, *range(2, probs.ndim))
    overlap = (probs * target).sum(dim=axes)
    size = probs.sum(dim=axes) + target.sum(dim=axes)
    dice = (2 * overlap + _SMOOTH) / (size + _SMOOTH)
    return 1 - dice[0 if include_background or head == "sigmoid" else 1 :].mean()


def dice_ce(
    logits: Tensor, labels: Tensor, *, head: HeadKind = "softmax", ignore: int | None = None
) -> Tensor:
    """Dice loss plus cross-entropy, weights 1 and 1; low is good.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``, see :func:`cross_entropy`.
        head: ``softmax`` or ``sigmoid``.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, float32.

    Raises:
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.

    Source:
        the usual sum (nnU-Net, MONAI ``DiceCELoss``).
    """
    return dice_loss(logits, labels, head=head, ignore=ignore) + cross_entropy(
        logits, labels, head=head, ignore=ignore
    )
