"""Wording of tensor errors: every check on shapes, probabilities and labels is written once, here."""

import torch
from torch import Tensor

from segtrust.errors import ProbabilityError, ShapeError

__all__ = ["check_labels", "check_probs", "check_same_space", "check_samples"]

_TOLERANCE = 1e-3  # float16 probabilities of a few hundred classes still sum to one within this
_BFLOAT16_TOLERANCE = 2**-8  # each of them is rounded by up to 2^-9 of itself, and so is their sum


def check_probs(probs: Tensor, *, class_axis: int = 1, head: str = "softmax") -> None:
    """Refuse values that are no class probabilities.

    Args:
        probs: floating point, ``(B, C, *spatial)`` or with the classes on ``class_axis``.
        class_axis: axis that holds the classes.
        head: ``softmax`` (values sum to one over the classes) or ``sigmoid`` (each between 0 and 1).

    Raises:
        ShapeError: if there is no class axis, or a softmax head has fewer than two classes.
        ProbabilityError: if the values are not finite, leave [0, 1] or do not sum to one.
    """
    if probs.ndim <= class_axis or (head == "softmax" and probs.shape[class_axis] < 2):
        raise ShapeError(
            f"`probs` must have a class axis of length >= 2 at position {class_axis}, got shape "
            f"{tuple(probs.shape)}. For one foreground class stack (1 - p, p)."
        )
    if not probs.is_floating_point():
        raise ProbabilityError(f"`probs` must be floating point, got {probs.dtype}. Were labels passed?")
    if probs.numel() == 0:
        return
    low, high = probs.amin().item(), probs.amax().item()
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise ProbabilityError(
            f"`probs` must be finite and within [0, 1], got values from {low:.4g} to {high:.4g}. "
            "Were logits passed? Use torch.softmax(logits, dim=1)."
        )
    if head == "softmax":
        most = _BFLOAT16_TOLERANCE if probs.dtype == torch.bfloat16 else _TOLERANCE
        gap = (probs.float().sum(dim=class_axis) - 1).abs().amax().item()
        if not gap <= most:
            raise ProbabilityError(
                f"`probs` must sum to 1 over the class axis within {most:.3g}, got a gap of {gap:.4g}. "
                "Were logits passed? Use torch.softmax(logits, dim=1)."
            )


def check_samples(samples: Tensor, *, head: str = "softmax") -> None:
    """Refuse anything but a stack of probability volumes.

    Args:
        samples: ``(S, B, C, *spatial)`` with S >= 1.
        head: ``softmax`` or ``sigmoid``.

    Raises:
        ShapeError: if the axes are wrong.
        ProbabilityError: if the values are no probabilities.
    """
    if samples.ndim < 3 or samples.shape[0] < 1:
        raise ShapeError(
            f"`samples` must be (S, B, C, *spatial) with S >= 1, got shape {tuple(samples.shape)}. "
            "Stack the members' probabilities along a new first axis."
        )
    check_probs(samples, class_axis=2, head=head)


def check_same_space(name_a: str, a: Tensor, name_b: str, b: Tensor) -> None:
    """Refuse two tensors of different spatial shape.

    Args:
        name_a: name of the first, for the message.
        a: ``(B, *spatial)``.
        name_b: name of the second.
        b: ``(B, *spatial)``.

    Raises:
        ShapeError: if the shapes differ.
    """
    if a.shape != b.shape:
        raise ShapeError(
            f"`{name_a}` and `{name_b}` must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}."
        )


def check_labels(labels: Tensor, n_classes: int, *, ignore: int | None = None) -> None:
    """Refuse label values that are no class.

    Args:
        labels: integer tensor of any shape.
        n_classes: number of classes, background included.
        ignore: a value that is allowed besides ``0..n_classes-1``.

    Raises:
        ShapeError: if ``labels`` is floating point.
        ProbabilityError: if a value is outside the range.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise ShapeError(f"`labels` must be integers, got {labels.dtype}. Use labels.long().")
    if labels.numel() == 0:
        return
    valid = labels if ignore is None else labels[labels != ignore]
    if valid.numel() and (valid.amin().item() < 0 or valid.amax().item() >= n_classes):
        raise ProbabilityError(
            f"`labels` must be between 0 and {n_classes - 1}, got {int(valid.amin())} to {int(valid.amax())}."
        )
