"""What every loss needs first: full precision, one form for both heads, means over the valid voxels."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust._checks import check_labels
from segtrust.errors import ShapeError
from segtrust.uncertainty import HeadKind

__all__ = ["Voxels", "in_full_precision", "voxels_of"]

_P = ParamSpec("_P")


class Voxels(NamedTuple):
    """Logits of classes that exclude each other, and their labels.

    ``logits`` ``(N, K, *spatial)``; ``labels`` int64 ``(N, *spatial)`` in 0..K-1, 0 where ignored; ``valid``
    boolean like ``labels``, or ``None`` if every voxel counts.
    """

    logits: Tensor
    labels: Tensor
    valid: Tensor | None

    def one_hot(self) -> Tensor:
        """Labels as ``(N, K, *spatial)`` of zeros and ones, in the logits' type."""
        return F.one_hot(self.labels, self.logits.shape[1]).movedim(-1, 1).to(self.logits.dtype)

    def mean(self, per_voxel: Tensor) -> Tensor:
        """Mean over the valid voxels; 0 if there is none."""
        if self.valid is None:
            return per_voxel.mean()
        return per_voxel.where(self.valid, 0).sum() / self.valid.sum().clamp(min=1)


def in_full_precision(
    loss: Callable[Concatenate[Tensor, _P], Tensor],
) -> Callable[Concatenate[Tensor, _P], Tensor]:
    """Compute a loss outside autocast, in float32, or in float64 if the logits are.

    In float16 the sums of a Dice loss overflow and it returns 1 without a gradient.
    """

    @wraps(loss)
    def wide(logits: Tensor, /, *args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            return loss(logits if logits.dtype == torch.float64 else logits.float(), *args, **kwargs)

    return wide


def voxels_of(logits: Tensor, labels: Tensor, *, head: HeadKind, ignore: int | None) -> Voxels:
    """Check a batch and bring it into the form of a softmax head.

    A structure of a sigmoid head with logit z has two outcomes with the logits 1/2 - z/2 and 1/2 + z/2, whose
    softmax is sigmoid(z); so every formula is written once.

    Args:
        logits: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``; for a sigmoid head 0..C, or ``(B, C, *spatial)`` of 0 and 1 where
            structures overlap.
        head: ``softmax`` or ``sigmoid``.
        ignore: label of voxels that do not count.

    Returns:
        The batch itself for softmax; N = B C and K = 2 for sigmoid, structures of one scan together.

    Raises:
        ShapeError: if the shapes do not fit.
        ProbabilityError: if a label is outside the range.
    """
    batch, channels, *spatial = logits.shape if logits.ndim > 2 else (0, 0)
    overlapping = head == "sigmoid" and labels.ndim == logits.ndim
    if channels < (1 if head == "sigmoid" else 2):
        raise ShapeError(
            f"`logits` must be (B, C, *spatial), C >= 2 for a softmax head, got {tuple(logits.shape)}."
        )
    if labels.shape != (logits.shape if overlapping else (batch, *spatial)):
        raise ShapeError(
            f"`labels` must be (B, *spatial) = {(batch, *spatial)}, got {tuple(labels.shape)}. "
            "Drop the channel axis with labels[:, 0]."
        )
    outcomes = 2 if overlapping else channels + (head == "sigmoid")
    check_labels(labels, outcomes, ignore=ignore)
    valid = None if ignore is None else labels != ignore
    labels = (labels if valid is None else labels.masked_fill(~valid, 0)).long()
    if head == "softmax":
        return Voxels(logits, labels, valid)
    if not overlapping:
        values = torch.arange(1, channels + 1, device=labels.device).view(-1, *(1 for _ in spatial))
        labels = (labels[:, None] == values).long()
        valid = None if valid is None else valid[:, None].expand_as(labels)
    half = logits.flatten(0, 1) / 2
    pair = torch.stack((0.5 - half, 0.5 + half), dim=1)
    return Voxels(pair, labels.flatten(0, 1), None if valid is None else valid.flatten(0, 1))
