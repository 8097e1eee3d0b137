"""Scores of voxel error from any probabilities or samples; all in [0, 1], high means likely wrong."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust import uncertainty
from segtrust.ensemble import SampleStatistics
from segtrust.uncertainty import HeadKind, summarise_channels

__all__ = ["PROBABILITY_SCORES", "SAMPLE_SCORES", "probability_scores", "sample_scores"]

FloatMap = NDArray[np.float32]

PROBABILITY_SCORES: Mapping[str, Callable[..., Tensor]] = {
    "entropy": partial(uncertainty.entropy, normalize=True),
    "margin": uncertainty.probability_margin,
    "variation_ratio": uncertainty.variation_ratio,
    "gini": partial(uncertainty.gini_impurity, normalize=True),
}
"""Scores that one probability volume is enough for; a new one is a function of ``(1, C, *spatial)`` here."""

SAMPLE_SCORES: Mapping[str, Callable[[SampleStatistics], Tensor]] = {
    "deviation": lambda statistics: statistics.variance.sqrt(),
    "votes": lambda statistics: statistics.votes,
}
"""Scores of several samples: members, passes, draws, or mirrored views (then they are view variation)."""


def probability_scores(probs: NDArray[Any] | Tensor, *, head: HeadKind = "softmax") -> dict[str, FloatMap]:
    """Every score of :data:`PROBABILITY_SCORES` of one probability volume, whoever made it.

    Args:
        probs: ``(C, *spatial)``, from any model.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        Name -> ``(*spatial)`` float32 in [0, 1]. For two classes all of them put the voxels in the same
        order.

    Raises:
        ShapeError: if there is no class axis.
        ProbabilityError: if the values are not probabilities.

    Source:
        Some & Namboodiri, "Trusting Semantic Segmentation Networks", arXiv:2406.14201 (entropy, margin,
        variation); Rottmann et al. 2020 (MetaSeg). Their text on "variation" was not at hand, so each
        reading of the word has a name of its own.

    Example:
        >>> scores = probability_scores(np.array([[0.5], [0.25], [0.25]]))
        >>> {name: round(float(score[0]), 3) for name, score in scores.items()}
        {'entropy': 0.946, 'margin': 0.75, 'variation_ratio': 0.5, 'gini': 0.938}
    """
    whole = torch.as_tensor(probs)[None]
    return {
        name: _bounded(summarise_channels(measure(whole, head=head), head=head)[0])
        for name, measure in PROBABILITY_SCORES.items()
    }


def sample_scores(statistics: SampleStatistics) -> dict[str, FloatMap]:
    """Every score of :data:`SAMPLE_SCORES` of several samples of one scan.

    Args:
        statistics: totals of the samples, see :class:`segtrust.ensemble.RunningTotals`.

    Returns:
        ``deviation``: standard deviation between samples, the root of the variance summed over classes;
        ``votes``: share of samples that did not vote for the winner. ``(*spatial)`` float32 in [0, 1].

    Source:
        Beluch et al. 2018 (votes); the deviation is the other reading of "variation", see
        :func:`probability_scores`.
    """
    return {name: _bounded(measure(statistics)) for name, measure in SAMPLE_SCORES.items()}


def _bounded(values: Tensor) -> FloatMap:
    bounded: FloatMap = values.clamp(0, 1).float().numpy()
    return bounded
