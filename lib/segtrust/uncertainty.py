"""Probabilities or samples in, voxel maps out; high always means unsure.

One set of formulas for both heads. A softmax head has one distribution over C classes in every voxel. A
sigmoid head has C independent ones, so its maps keep the class axis; :func:`summarise_channels` makes one map
of them.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from segtrust._checks import check_probs, check_samples
from segtrust.errors import ShapeError

__all__ = [
    "HeadKind",
    "Threshold",
    "entropy",
    "expected_entropy",
    "gini_impurity",
    "mutual_information",
    "normalise",
    "probability_margin",
    "summarise_channels",
    "thresholds_like",
    "variance",
    "variation_ratio",
    "vote_disagreement",
]

HeadKind = Literal["softmax", "sigmoid"]

Threshold = float | Sequence[float]
"""Above which a structure of a sigmoid head holds a voxel: one number for all structures, or one for each."""


def thresholds_like(threshold: Threshold, probs: Tensor, *, class_axis: int = 1) -> Tensor:
    """Thresholds in the number type of probabilities, shaped to be compared with them.

    Args:
        threshold: one number, or one per structure.
        probs: ``(B, C, *spatial)`` or with the classes on ``class_axis``.
        class_axis: axis that holds the classes.

    Returns:
        C numbers on ``class_axis``, every other axis of length 1; so a comparison rounds both sides alike.

    Raises:
        ShapeError: if there are neither one nor C numbers.

    Example:
        >>> thresholds_like((0.5, 0.25), torch.zeros(1, 2, 3))[0, :, 0]
        tensor([0.5000, 0.2500])
    """
    channels = probs.shape[class_axis]
    each = [threshold] * channels if isinstance(threshold, int | float) else list(threshold)
    if len(each) != channels:
        raise ShapeError(
            f"`threshold` must be one number or one per structure ({channels}), got {len(each)} numbers."
        )
    shape = [channels if axis == class_axis else 1 for axis in range(probs.ndim)]
    return torch.tensor(each, dtype=probs.dtype, device=probs.device).view(shape)


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
        Same device as ``probs``, float32 (float64 if ``probs`` are).

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
    return _mean_entropy(samples, head)


def mutual_information(samples: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    r"""How much the samples disagree: between-member uncertainty; high means unsure.

    .. math:: I = H(\bar p) - \frac1S \sum_s H(p_s) \ge 0

    Args:
        samples: probabilities, ``(S, B, C, *spatial)``.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        ``(B, *spatial)`` for softmax, ``(B, C, *spatial)`` for sigmoid; nats, range [0, min(ln S, ln C)],
        rounding below zero is clamped; float32 (float64 if ``samples`` are).

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
    mean = samples.mean(dim=0, dtype=_wide(samples[0]).dtype)
    return (_entropy(mean, head) - _mean_entropy(samples, head)).clamp_min_(0)


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
    spread = _wide(samples).var(dim=0, correction=0)
    return spread.sum(dim=1) if head == "softmax" else spread


def probability_margin(probs: Tensor, *, head: HeadKind = "softmax", threshold: Threshold = 0.5) -> Tensor:
    r"""One minus the lead of the decision; high means that little would turn it.

    .. math:: D = 1 - (p_{(1)} - p_{(2)}) \;\text{(softmax)},\qquad
              D = \frac{1 - p}{1 - t} \;\text{if } p > t, \text{ else } \frac{p}{t} \;\text{(sigmoid)}

    Args:
        probs: probabilities, ``(B, C, *spatial)``.
        head: ``softmax`` compares the two likeliest classes; ``sigmoid`` each channel with its threshold t.
        threshold: for sigmoid heads, one number or one per structure.

    Returns:
        ``(B, *spatial)`` for softmax, ``(B, C, *spatial)`` for sigmoid; unitless, range [0, 1]. With t = 1/2
        it is one minus the gap between "yes" and "no".

    Raises:
        ShapeError: if there is no class axis, or there are neither one nor C thresholds.
        ProbabilityError: if the values are not probabilities.

    Source:
        Some & Namboodiri, arXiv:2406.14201; Rottmann et al. 2020 (MetaSeg). Thresholds other than 1/2 are
        ours.

    Example:
        >>> probability_margin(torch.tensor([[0.75, 0.25]]))
        tensor([0.5000])
    """
    check_probs(probs, head=head)
    if head == "sigmoid":
        p = _wide(probs)
        limits = thresholds_like(threshold, p)
        return torch.where(p > limits, (1 - p) / (1 - limits), p / limits)
    first, second = _wide(probs).topk(2, dim=1).values.unbind(dim=1)
    return 1 - (first - second)


def variation_ratio(probs: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    r"""One minus the largest probability: the chance that the likeliest class is wrong, if calibrated.

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
        Freeman 1965; Rottmann et al. 2020. What is shown may be another class than the likeliest one, where a
        threshold is not 0.5: for that see :meth:`segtrust.decisions.LabelRule.chance_of_error`.

    Example:
        >>> variation_ratio(torch.tensor([[0.75, 0.25]]))
        tensor([0.2500])
    """
    check_probs(probs, head=head)
    p = _wide(probs)
    return 1 - (p.amax(dim=1) if head == "softmax" else torch.maximum(p, 1 - p))


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
    p = _wide(probs)
    equal = p.square().sum(dim=1) if head == "softmax" else p.square() + (1 - p).square()
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


def _wide(probs: Tensor) -> Tensor:
    """Half precision goes up to single before anything is computed: differences of entropies would drown."""
    return probs if probs.dtype == torch.float64 else probs.float()


def _mean_entropy(samples: Tensor, head: HeadKind) -> Tensor:
    return torch.stack([_entropy(sample, head) for sample in samples]).mean(dim=0)


def _entropy(probs: Tensor, head: HeadKind) -> Tensor:
    p = _wide(probs).clamp(0, 1)  # entr is -inf below 0, where rounding may put a probability
    nats: Tensor = torch.special.entr(p)
    return nats.sum(dim=1) if head == "softmax" else nats + torch.special.entr(1 - p)
