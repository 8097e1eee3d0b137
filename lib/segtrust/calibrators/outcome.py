"""How drawn voxels come out behind a calibrator: their loss, what they state, and whether they are wrong."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust.calibrators.voxels import CLAMP, CalibrationVoxels
from segtrust.decisions import LabelRule
from segtrust.errors import ShapeError

__all__ = ["chance_and_errors", "check_head", "voxel_nll"]


def check_head(scans: Sequence[CalibrationVoxels], rule: LabelRule) -> None:
    """Refuse voxels of another head than the rule's.

    Args:
        scans: drawn voxels.
        rule: of the model's head.

    Raises:
        ShapeError: if one was drawn for another head.
    """
    if any((scan.labels.ndim == 2) != (rule.head == "sigmoid") for scan in scans):
        raise ShapeError(f"`rule` and `scans` must be of the same head, got the rule of a {rule.head} head.")


def voxel_nll(probs: Tensor, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log-likelihood of each voxel; low is good.

    Args:
        probs: ``(C, n)``, see :func:`segtrust.calibrators.voxels.calibrated_probs`.
        labels: true class ``(n,)``; of a sigmoid head ``(n, C)`` of 0 and 1, whose losses are summed.

    Returns:
        ``(n,)`` float64, nats.

    Example:
        >>> voxel_nll(torch.tensor([[0.5], [0.5]]), np.array([[1, 0]])).round(4)
        array([1.3863])
    """
    p = probs.double().numpy()
    if labels.ndim == 1:
        losses: NDArray[np.float64] = -np.log(np.maximum(p[labels, np.arange(len(labels))], CLAMP))
        return losses
    right = np.where(labels.T > 0, p, 1 - p)
    summed: NDArray[np.float64] = -np.log(np.maximum(right, CLAMP)).sum(axis=0)
    return summed


def chance_and_errors(probs: Tensor, scan: CalibrationVoxels, rule: LabelRule) -> tuple[Tensor, Tensor]:
    """What voxels state of themselves, and what is true.

    Args:
        probs: ``(C, n)``, behind a calibrator.
        scan: the voxels.
        rule: of the model's head.

    Returns:
        The stated chance of error ``(n,)`` in [0, 1], and whether the label, or the set of structures, is
        another than the true one, ``(n,)`` boolean. What is decided was decided before calibration.
    """
    if rule.head == "softmax":
        wrong = torch.from_numpy(scan.logits.argmax(axis=1) != scan.labels)
        return rule.chance_of_error(probs).clamp(0, 1), wrong
    decided = rule.sets(torch.from_numpy((scan.logits > 0).T.astype(np.float32)))
    wrong = (decided != torch.from_numpy(scan.labels.T).bool()).any(dim=0)
    return rule.chance_of_error(probs.float()).double().clamp(0, 1), wrong
