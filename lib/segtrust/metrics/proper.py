"""Proper scores per voxel."""

from torch import Tensor

from segtrust._checks import check_labels, check_probs, check_same_space

__all__ = ["LEAST_PROBABILITY", "brier_map", "nll_map"]

LEAST_PROBABILITY = 1e-12
"""Probabilities below it count as this much in a logarithm."""


def nll_map(probs: Tensor, labels: Tensor) -> Tensor:
    r"""Negative log-likelihood of the label in every voxel; low is good.

    .. math:: -\ln \max(p_y, 10^{-12})

    Args:
        probs: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``.

    Returns:
        ``(B, *spatial)`` float64, nats.

    Raises:
        ShapeError: if the axes do not fit.
        ProbabilityError: if the values are no probabilities or labels.

    Source:
        standard; clamped so that one voxel cannot decide a scan.

    Example:
        >>> import torch
        >>> nll_map(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor([0.6931], dtype=torch.float64)
    """
    _check(probs, labels)
    chosen = probs.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return -chosen.double().clamp_min(LEAST_PROBABILITY).log()


def brier_map(probs: Tensor, labels: Tensor) -> Tensor:
    r"""Brier score in every voxel, summed over all classes; low is good.

    .. math:: \sum_k (p_k - [y = k])^2

    Args:
        probs: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``.

    Returns:
        ``(B, *spatial)`` float64, in [0, 2]; halve it for the two-class definition.

    Raises:
        ShapeError: if the axes do not fit.
        ProbabilityError: if the values are no probabilities or labels.

    Source:
        Brier 1950.

    Example:
        >>> import torch
        >>> brier_map(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor([0.5000], dtype=torch.float64)
    """
    _check(probs, labels)
    p = probs.double()
    chosen = p.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return p.square().sum(dim=1) - 2 * chosen + 1


def _check(probs: Tensor, labels: Tensor) -> None:
    check_probs(probs)
    check_same_space("labels", labels, "probs without classes", probs[:, 0])
    check_labels(labels, probs.shape[1])
