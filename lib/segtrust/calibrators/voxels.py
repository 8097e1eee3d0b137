"""What a fit sees: voxels drawn from calibration scans, weighted so that every subject counts alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from segtrust.calibrators.identity import Calibrator
from segtrust.errors import ShapeError
from segtrust.regions import within
from segtrust.uncertainty import HeadKind

__all__ = [
    "CLAMP",
    "MIN_SUBJECTS",
    "CalibrationVoxels",
    "StackedVoxels",
    "calibrated_probs",
    "count_subjects",
    "draw_voxels",
    "leave_one_subject_out",
    "stack_voxels",
    "thinned",
]

CLAMP = 1e-12
"""Smallest probability whose logarithm is taken."""
MIN_SUBJECTS = 5
_NEAR_MM, _FAR_SHARE = 8.0, 0.3


@dataclass(frozen=True)
class CalibrationVoxels:
    """Voxels drawn from calibration scans: all that fitting needs to keep.

    ``logits``: ``ln p_mean`` ``(n, C)``, or log odds for a sigmoid head; ``labels`` ``(n,)``, or ``(n, C)``
    0/1 for sigmoid; ``distance`` ``(n,)`` mm; ``weight`` ``(n,)`` importance weights; ``subject`` whose scan.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    distance: NDArray[np.float32]
    weight: NDArray[np.float64]
    subject: str


def draw_voxels(
    probs: Tensor,
    labels: Tensor,
    distance: Tensor,
    *,
    subject: str,
    seed: int,
    head: HeadKind = "softmax",
    valid: Tensor | None = None,
    near: Tensor | None = None,
) -> CalibrationVoxels:
    """Draw the voxels that a fit sees: all within 8 mm of the prediction, a weighted 30 % of the rest.

    Args:
        probs: uncalibrated mean, ``(C, *spatial)``.
        labels: reference, ``(*spatial)`` integers; for sigmoid ``(C, *spatial)`` 0/1.
        distance: mm to the predicted foreground, ``(*spatial)``.
        subject: whose scan it is.
        seed: of the draw.
        head: ``softmax`` or ``sigmoid``.
        valid: voxels that are no padding.
        near: distance that decides which voxels are drawn, ``(*spatial)``; ``distance`` unless given. With
            the same one and the same seed the same voxels of several systems are drawn.

    Returns:
        The drawn voxels; their weights sum to the number of valid voxels on average.

    Raises:
        ShapeError: if the shapes differ.

    Note:
        Horvitz-Thompson weights.
    """
    if probs.shape[1:] != distance.shape or labels.shape[-distance.ndim :] != distance.shape:
        raise ShapeError(
            f"`probs`, `labels` and `distance` must cover the same voxels, got {tuple(probs.shape)}, "
            f"{tuple(labels.shape)}, {tuple(distance.shape)}."
        )
    flat = distance.reshape(-1).numpy()
    close = within(flat if near is None else near.reshape(-1).numpy(), _NEAR_MM)
    drawn = close | (np.random.default_rng(seed).random(flat.size) < _FAR_SHARE)
    if valid is not None:
        drawn &= valid.reshape(-1).numpy()
    p = probs.reshape(probs.shape[0], -1).T.double().numpy()[drawn]
    logits = np.log(np.maximum(p, CLAMP))
    if head == "sigmoid":
        logits -= np.log(np.maximum(1 - p, CLAMP))
        truth = labels.reshape(labels.shape[0], -1).T.numpy()[drawn]
    else:
        truth = labels.reshape(-1).numpy()[drawn]
    weight = np.where(close[drawn], 1.0, 1 / _FAR_SHARE)
    return CalibrationVoxels(
        logits.astype(np.float32), truth.astype(np.int64), flat[drawn].astype(np.float32), weight, subject
    )


def thinned(scans: Sequence[CalibrationVoxels], most: int = 200_000) -> list[CalibrationVoxels]:
    """Draw again so that a fit stays short however many scans there are.

    Args:
        scans: voxels of calibration scans.
        most: number of voxels over all scans, about.

    Returns:
        The same scans with the same share of their voxels each, and weights to match; themselves if they have
        no more than ``most``. The same voxels every time.

    Note:
        2 x 100,000 voxels fix a temperature within .3 %.
    """
    total = sum(len(scan.weight) for scan in scans)
    if total <= most:
        return list(scans)
    share = most / total
    chosen = [np.random.default_rng(i).random(len(scan.weight)) < share for i, scan in enumerate(scans)]
    return [
        CalibrationVoxels(
            scan.logits[k], scan.labels[k], scan.distance[k], scan.weight[k] / share, scan.subject
        )
        for scan, k in zip(scans, chosen, strict=True)
    ]


def calibrated_probs(calibrator: Calibrator, scan: CalibrationVoxels) -> Tensor:
    """What a calibrator makes of drawn voxels of a softmax model.

    Args:
        calibrator: fitted, best without this scan.
        scan: the voxels.

    Returns:
        Probabilities ``(C, n)`` float64.
    """
    p = torch.from_numpy(scan.logits).double().exp().T
    return calibrator.apply((p / p.sum(dim=0)).float(), torch.from_numpy(scan.distance)).double()


def count_subjects(scans: Sequence[CalibrationVoxels]) -> int:
    """Number of different subjects."""
    return len({scan.subject for scan in scans})


def leave_one_subject_out(
    scans: Sequence[CalibrationVoxels], folds: Mapping[str, int] | None = None
) -> Iterator[tuple[list[CalibrationVoxels], list[CalibrationVoxels]]]:
    """Each subject in turn, or each fold of subjects: the scans of all others, to fit to, and its own."""
    group = {scan.subject: scan.subject if folds is None else folds[scan.subject] for scan in scans}
    for left in sorted(set(group.values())):  # all names or all numbers
        yield (
            [scan for scan in scans if group[scan.subject] != left],
            [scan for scan in scans if group[scan.subject] == left],
        )


@dataclass(frozen=True)
class StackedVoxels:
    """All voxels of all scans, weights scaled so that every subject counts alike and all sum to one."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    distance: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def n(self) -> int:
        """Number of voxels."""
        return len(self.distance)

    def nll(self, beta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Weighted NLL of ``logits * beta`` and its derivative by each voxel's beta (weight included)."""
        z = self.logits * beta[:, None]
        if self.labels.ndim == 2:
            q = expit(z)
            loss = np.logaddexp(0, z).sum(axis=1) - (z * self.labels).sum(axis=1)
            slope = (self.logits * (q - self.labels)).sum(axis=1)
        else:
            z -= z.max(axis=1, keepdims=True)
            e = np.exp(z)
            total = e.sum(axis=1)
            rows = np.arange(self.n)
            loss = np.log(total) - z[rows, self.labels]
            slope = (self.logits * e).sum(axis=1) / total - self.logits[rows, self.labels]
        return float(self.weight @ loss), self.weight * slope


def stack_voxels(scans: Sequence[CalibrationVoxels]) -> StackedVoxels:
    """Join scans so that every subject counts alike, however large and many its scans are.

    Args:
        scans: voxels of at least one scan.

    Returns:
        All voxels; the weights of each subject sum to one over the number of subjects.
    """
    totals: dict[str, float] = {}
    for scan in scans:
        totals[scan.subject] = totals.get(scan.subject, 0.0) + float(scan.weight.sum())
    weight = np.concatenate([s.weight / (totals[s.subject] * len(totals)) for s in scans])
    distance = np.concatenate([s.distance for s in scans]).astype(np.float64)
    return StackedVoxels(
        np.concatenate([s.logits for s in scans]).astype(np.float64),
        np.concatenate([s.labels for s in scans]),
        np.where(np.isfinite(distance), distance, 0.0),
        weight,
    )
