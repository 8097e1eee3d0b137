"""Cross-entropy, soft Dice and their sum."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

__all__ = ["cross_entropy", "dice_ce", "dice_loss"]

_SMOOTH = 1e-5


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Mean negative log-likelihood of the labels; low is good.

    .. math:: L = -\frac1V \sum_i \ln p_{i,y_i}

    Args:
        logits: ``(B, C, *spatial)``, any floating type; computed in float32.
        labels: integers ``(B, *spatial)``.

    Returns:
        Scalar, nats per voxel, float32.

    Source:
        standard; ``torch.nn.functional.cross_entropy``.

    Example:
        >>> cross_entropy(torch.zeros(1, 2, 1), torch.zeros(1, 1, dtype=torch.long))
        tensor(0.6931)
    """
    return F.cross_entropy(logits.float(), labels)


def dice_loss(logits: Tensor, labels: Tensor, *, include_background: bool = False) -> Tensor:
    r"""One minus the soft Dice coefficient, mean over classes; low is good.

    .. math:: L = 1 - \frac1K \sum_k \frac{2\sum_i p_{ik} t_{ik} + s}{\sum_i p_{ik} + \sum_i t_{ik} + s}

    Sums run over the whole batch, so that a patch without a structure does not dominate.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``.
        include_background: count class 0 as well.

    Returns:
        Scalar in [0, 1], float32.

    Source:
        Milletari et al. 2016; linear denominators and batch sums as in Mehrtash et al. 2020.
    """
    probs = torch.softmax(logits.float(), dim=1)
    target = F.one_hot(labels, probs.shape[1]).movedim(-1, 1).to(probs.dtype)
    axes = (0, *range(2, probs.ndim))
    overlap = (probs * target).sum(dim=axes)
    size = probs.sum(dim=axes) + target.sum(dim=axes)
    dice = (2 * overlap + _SMOOTH) / (size + _SMOOTH)
    return 1 - dice[0 if include_background else 1 :].mean()


def dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice loss plus cross-entropy, weights 1 and 1; low is good.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``.

    Returns:
        Scalar, float32.

    Source:
        the usual sum (nnU-Net, MONAI ``DiceCELoss``).
    """
    return dice_loss(logits, labels) + cross_entropy(logits, labels)
