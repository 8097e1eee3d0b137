"""MONAI Label's epistemic score, computed again as version 0.8.5 does it: the product's own yardstick."""

import torch
from torch import Tensor, nn

from segtrust.errors import ShapeError
from segtrust.inference.windows import slide
from segtrust.models import ModelSpec

__all__ = ["monai_label_entropy", "monai_label_score"]

MONAI_LABEL_SAMPLES = 5
"""Passes per scan, MONAI Label's default."""

_FLOOR = 5e-5


def monai_label_entropy(samples: Tensor) -> float:
    r"""Mean entropy of the mean over a whole volume; high means unsure, and little air.

    .. math:: \frac{1}{V} \sum_i \sum_c -\bar p_{ic} \ln \bar p_{ic}

    Args:
        samples: probabilities ``(S, C, *grid)``; values of 0 and below count as 5e-5.

    Returns:
        Nats.

    Raises:
        ShapeError: if there is no axis of samples and of classes.

    Source:
        MONAI Label 0.8.5, ``tasks/scoring/epistemic_v2.py``, ``entropy_volume``. It is the *total* entropy,
        whatever it is called there.

    Example:
        >>> round(monai_label_entropy(torch.full((5, 2, 1), 0.5)), 4)
        0.6931
    """
    if samples.ndim < 3:
        raise ShapeError(f"`samples` must be (S, C, *grid), got shape {tuple(samples.shape)}.")
    mean = torch.where(samples <= 0, _FLOOR, samples).float().mean(dim=0)
    return float(-(mean * mean.log()).sum(dim=0).double().mean())


def monai_label_score(
    network: nn.Module, image: Tensor, spec: ModelSpec, *, passes: int = MONAI_LABEL_SAMPLES, seed: int = 0
) -> float:
    """Score a scan as MONAI Label does: several passes with the whole network in training mode.

    Args:
        network: one member; it is put into training mode and its running statistics change.
        image: prepared scan ``(C, *grid)``.
        spec: patch size, overlap and head.
        passes: through the network.
        seed: of the dropout.

    Returns:
        :func:`monai_label_entropy` of the passes.

    Source:
        MONAI Label 0.8.5: dropout layers *and* batch normalisation are in training mode there.
    """
    network.train()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return monai_label_entropy(torch.stack([slide(network, image, spec) for _ in range(passes)]))
