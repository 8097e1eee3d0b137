"""Probabilities or samples in, voxel maps out; high always means unsure.

One set of formulas for both heads. A softmax head has one distribution over C classes in every voxel. A
sigmoid head has C independent ones, so its maps keep the class axis; :func:`summarise_channels` makes one map
of them.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from segtrust._checks import check_probs, check_samples

__all__ = [
    "HeadKind",
    "chance_of_error",
    "entropy",
    "expected_entropy",
    "gini_impurity",
    "mutual_information",
    "normalise",
    "probability_margin",
    "summarise_channels",
    "variance",
    "variation_ratio",
    "vote_disagreement",
]

HeadKind = Literal["softmax", "sigmoid"]


def entropy(probs: Tensor, *, head: HeadKind = "softmax", normalize: bool = False) -> Tensor:
    r"""Shannon entropy in every voxel, total uncertainty for a mean of samples; high means unsure.

    .. math:: H(p) = -\sum_c p_c \ln p_c \quad\text{(softmax)},\qquad
              h(p) = -p \ln p - (1-p) \ln (1-p) \quad\text{(sigmoid, per channel)}

    Args:
        probs: probabilities, ``(B, C, *spatial)``.
        head: ``softmax`` if they sum to one over C, ``sigmoid`` if each stands alone.
        normalize: divide by the maximum, ``ln C`` or ``ln 2``, so that the range is [0, 1].

    Returns:
        ``(B, *spatial)`` for softmax, ``(B, C, *spatial)`` for sigmoid; nats, or unitless if normalized.
        Same dtype and device as ``probs``.

    Raises:
        ShapeError: if there is no class axis (of length >= 2 for softmax).
        ProbabilityError: if the values are not probabilities.

    Source:
        Some & Namboodiri, "Trusting Semantic Segmentation Networks", arXiv:2406.14201.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5]]), normalize=True)
        tensor([1.])
    """
    check_probs(probs, head=head)
    nats = _entropy(probs, head)
    return normalise(nats, probs.shape[1], head=head) if normalize else nats


def expected_entropy(samples: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    r"""Mean entropy of the samples: within-member uncertainty; high means unsure.

    .. math:: A = \frac1S \sum_s H(p_s)

    Args:
        samples: probabilities, ``(S, B, C, *spatial)``.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        ``(B, *spatial)`` for softmax, ``(B, C, *spatial)`` for sigmoid; nats, range [0, ln C] or [0, ln 2].

    Raises:
        ShapeError: if an axis is missing.
        ProbabilityError: if the values are not probabilities.

    Source:
        Depeweg et al. 2018, "Decomposition of uncertainty", eq. for the expected conditional entropy.

    Example:
        >>> expected_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        tensor([0.])
    """
    check_samples(samples, head=head)
    return torch.stack([_entropy(sample, head) for sample in samples]).mean(dim=0)


def mutual_information(samples: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    r"""How much the samples disagree: between-member uncertainty; high means unsure.

    .. math:: I = H(\bar p) - \frac1S \sum_s H(p_s) \ge 0

    Args:
        samples: probabilities, ``(S, B, C, *spatial)``.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        ``(B, *spatial)`` for softmax, ``(B, C, *spatial)`` for sigmoid; nats, range [0, min(ln S, ln C)],
        rounding below zero is clamped.

    Raises:
        ShapeError: if an axis is missing.
        ProbabilityError: if the values are not probabilities.

    Source:
        Houlsby et al. 2011 (BALD); Depeweg et al. 2018.

    Example:
        >>> mutual_information(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        tensor([0.6931])
    """
    check_samples(samples, head=head)
    total = _entropy(samples.mean(dim=0), head)
    within = torch.stack([_entropy(sample, head) for sample in samples]).mean(dim=0)
    return (total - within).clamp_min_(0)


def variance(samples: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    r"""Variance between samples, summed over classes; high means unsure.

    .. math:: \sum_c \operatorname{Var}_s p_{sc} \quad\text{(population variance, divides by } S)

    Args:
        samples: probabilities, ``(S, B, C, *spatial)``.
        head: ``softmax`` sums over the classes, ``sigmoid`` keeps them.

    Returns:
        ``(B, *spatial)`` in [0, 1 - 1/C] for softmax; ``(B, C, *spatial)`` in [0, 1/4] for sigmoid.

    Raises:
        ShapeError: if an axis is missing.
        ProbabilityError: if the values are not probabilities.

    Source:
        Kwon et al. 2020; five identical samples give 0 (MONAI's ``VarianceMetric`` does not).

    Example:
        >>> variance(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        tensor([0.5000])
    """
    check_samples(samples, head=head)
    spread = samples.var(dim=0, correction=0)
    return spread.sum(dim=1) if head == "softmax" else spread


def probability_margin(probs: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    r"""One minus the gap between the two likeliest classes; high means unsure.

    .. math:: D = 1 - (p_{(1)} - p_{(2)})

    Args:
        probs: probabilities, ``(B, C, *spatial)``.
        head: for ``sigmoid`` the two classes of each channel are "yes" and "no".

    Returns:
        ``(B, *spatial)`` for softmax, ``(B, C, *spatial)`` for sigmoid; unitless, range [0, 1].

    Raises:
        ShapeError: if there is no class axis.
        ProbabilityError: if the values are not probabilities.

    Source:
        Some & Namboodiri, arXiv:2406.14201; Rottmann et al. 2020 (MetaSeg).

    Example:
        >>> probability_margin(torch.tensor([[0.75, 0.25]]))
        tensor([0.5000])
    """
    check_probs(probs, head=head)
    if head == "sigmoid":
        return 1 - (2 * probs - 1).abs()
    first, second = probs.topk(2, dim=1).values.unbind(dim=1)
    return 1 - (first - second)


def variation_ratio(probs: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    r"""One minus the largest probability: the chance that the label is wrong, if ``probs`` is calibrated.

    .. math:: V = 1 - \max_c p_c

    Args:
        probs: probabilities, ``(B, C, *spatial)``.
        head: for ``sigmoid`` the two classes of each channel are "yes" and "no".

    Returns:
        ``(B, *spatial)`` in [0, 1 - 1/C] for softmax; ``(B, C, *spatial)`` in [0, 1/2] for sigmoid.

    Raises:
        ShapeError: if there is no class axis.
        ProbabilityError: if the values are not probabilities.

    Source:
        Freeman 1965; Rottmann et al. 2020.

    Example:
        >>> variation_ratio(torch.tensor([[0.75, 0.25]]))
        tensor([0.2500])
    """
    check_probs(probs, head=head)
    return 1 - (probs.amax(dim=1) if head == "softmax" else torch.maximum(probs, 1 - probs))


chance_of_error = variation_ratio
"""The same formula under the name that a map of calibrated probabilities has for its readers."""


def gini_impurity(probs: Tensor, *, head: HeadKind = "softmax", normalize: bool = False) -> Tensor:
    r"""Chance that two labels drawn from the probabilities differ; high means unsure.

    .. math:: G = 1 - \sum_c p_c^2

    Args:
        probs: probabilities, ``(B, C, *spatial)``.
        head: for ``sigmoid`` the two classes of each channel are "yes" and "no".
        normalize: divide by the maximum, ``1 - 1/C`` or 1/2, so that the range is [0, 1].

    Returns:
        ``(B, *spatial)`` for softmax, ``(B, C, *spatial)`` for sigmoid; unitless.

    Raises:
        ShapeError: if there is no class axis.
        ProbabilityError: if the values are not probabilities.

    Source:
        Gini 1912; one reading of the "variation" of Some & Namboodiri, arXiv:2406.14201.

    Example:
        >>> gini_impurity(torch.tensor([[0.75, 0.25]]))
        tensor([0.3750])
    """
    check_probs(probs, head=head)
    equal = probs.square().sum(dim=1) if head == "softmax" else probs.square() + (1 - probs).square()
    most = 1 - 1 / (probs.shape[1] if head == "softmax" else 2)
    return (1 - equal) / (most if normalize else 1)


def vote_disagreement(votes: Tensor, *, n_samples: int) -> Tensor:
    r"""Share of samples that did not vote for the most voted class; high means unsure.

    .. math:: VR = 1 - \max_c n_c / S

    Args:
        votes: number of samples that chose each class, ``(B, C, *spatial)``, summing to ``n_samples`` over C.
            For a sigmoid head pass "no" and "yes" as the two classes of one channel.
        n_samples: S.

    Returns:
        ``(B, *spatial)``, float32, range [0, 1 - 1/min(S, C)].

    Source:
        Beluch et al. 2018 (variation ratio of an ensemble).

    Example:
        >>> vote_disagreement(torch.tensor([[4, 1]]), n_samples=5)
        tensor([0.2000])
    """
    return 1 - votes.amax(dim=1).float() / n_samples


def normalise(nats: Tensor, n_classes: int, *, head: HeadKind = "softmax") -> Tensor:
    """Scale nats to [0, 1].

    Args:
        nats: entropies or informations, any shape.
        n_classes: C; a sigmoid head always has two outcomes.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        Same shape, unitless.

    Note:
        The maximum of an entropy over C outcomes is ``ln C``.

    Example:
        >>> normalise(torch.tensor([math.log(3)]), 3)
        tensor([1.])
    """
    return nats / math.log(n_classes if head == "softmax" else 2)


def summarise_channels(per_channel: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    """One map for a scan: the least sure channel of a sigmoid head; a softmax map is returned as it is.

    Args:
        per_channel: ``(B, C, *spatial)`` for sigmoid, ``(B, *spatial)`` for softmax.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        ``(B, *spatial)``.

    Note:
        A sum over independent channels would grow with their number.

    Example:
        >>> summarise_channels(torch.tensor([[0.1, 0.3]]), head="sigmoid")
        tensor([0.3000])
    """
    return per_channel.amax(dim=1) if head == "sigmoid" else per_channel


def _entropy(probs: Tensor, head: HeadKind) -> Tensor:
    p = probs.clamp(0, 1)  # entr is -inf below 0, where rounding may put a probability
    nats: Tensor = torch.special.entr(p)
    return nats.sum(dim=1) if head == "softmax" else nats + torch.special.entr(1 - p)
