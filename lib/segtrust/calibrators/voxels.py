"""What a fit sees: voxels drawn from calibration scans, weighted so that every subject counts alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from segtrust._checks import check_labels
from segtrust.calibrators.identity import Calibrator
from segtrust.errors import ShapeError
from segtrust.regions import within
from segtrust.uncertainty import HeadKind, Threshold, thresholds_like

__all__ = [
    "CLAMP",
    "MIN_SUBJECTS",
    "NEAR_MM",
    "CalibrationVoxels",
    "StackedVoxels",
    "calibrated_probs",
    "count_subjects",
    "draw_voxels",
    "drawn_rows",
    "leave_one_subject_out",
    "stack_voxels",
    "thinned",
]

CLAMP = 1e-12
"""Smallest probability whose logarithm is taken."""
_LEAST_LOG = float(np.log(CLAMP))
MIN_SUBJECTS = 5
NEAR_MM = 8.0
"""Voxels that are nearer to the prediction are all drawn."""
_FAR_SHARE = 0.3
_LEAST_ABOVE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class CalibrationVoxels:
    """Voxels drawn from calibration scans: all that fitting needs to keep.

    ``logits``: ``ln p_mean`` ``(n, C)``, or log odds above those of the threshold for a sigmoid head;
    ``labels`` ``(n,)``, or ``(n, C)`` 0/1 for sigmoid; ``distance`` ``(n,)`` to the predicted foreground;
    ``weight`` ``(n,)`` importance weights; ``subject`` whose scan; ``unit`` of distances, ``mm`` or
    ``voxel``. ``covariate`` ``(n,)`` is the distance that a calibrator depends on, to the main parts of the
    foreground that the share ``parts`` gives (:func:`segtrust.regions.main_parts`); without it, it is
    ``distance``.
    ``pivot`` ``(C,)``: log odds of the thresholds, which a temperature leaves where they are; empty for a
    softmax head and for thresholds of 1/2.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    distance: NDArray[np.float32]
    weight: NDArray[np.float64]
    subject: str
    unit: str = "mm"
    covariate: NDArray[np.float32] | None = None
    parts: float | None = None
    pivot: tuple[float, ...] = ()

    @property
    def seen(self) -> NDArray[np.float32]:
        """The distance that a calibrator depends on, ``(n,)``."""
        return self.distance if self.covariate is None else self.covariate

    def take(self, rows: NDArray[np.bool_], factor: NDArray[np.float64] | float = 1.0) -> Self:
        """Some of the voxels, ``rows`` ``(n,)``, their weights multiplied by ``factor``."""
        return replace(
            self,
            logits=self.logits[rows],
            labels=self.labels[rows],
            distance=self.distance[rows],
            weight=self.weight[rows] * factor,
            covariate=None if self.covariate is None else self.covariate[rows],
        )


def draw_voxels(  # noqa: PLR0913  # what there is to know about one scan
    probs: Tensor,
    labels: Tensor,
    distance: Tensor,
    *,
    subject: str,
    seed: int,
    head: HeadKind = "softmax",
    threshold: Threshold = 0.5,
    valid: Tensor | None = None,
    ignore: int | None = None,
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
        threshold: of a sigmoid head, one number or one per structure.
        valid: voxels that are no padding; others take no part, whatever their label.
        ignore: label whose voxels take no part; none unless given.
        near: distance that decides which voxels are drawn, ``(*spatial)``; ``distance`` unless given. With
            the same one and the same seed the same voxels of several systems are drawn.

    Returns:
        The drawn voxels; their weights sum to the number of valid voxels on average.

    Raises:
        ShapeError: if the shapes differ, or the labels are no integers.
        ProbabilityError: if the label of a voxel that takes part is no class.

    Note:
        Horvitz-Thompson weights.
    """
    if probs.shape[1:] != distance.shape or labels.shape[-distance.ndim :] != distance.shape:
        raise ShapeError(
            f"`probs`, `labels` and `distance` must cover the same voxels, got {tuple(probs.shape)}, "
            f"{tuple(labels.shape)}, {tuple(distance.shape)}."
        )
    flat = distance.reshape(-1).numpy()
    if ignore is not None:
        rated = (labels != ignore).reshape(-1, *distance.shape).all(dim=0)
        valid = rated if valid is None else rated & valid
    drawn, weight = drawn_rows(distance if near is None else near, seed=seed, valid=valid)
    p = probs.reshape(probs.shape[0], -1).T.double().numpy()[drawn]
    logits = np.log(np.maximum(p, CLAMP))
    pivot: tuple[float, ...] = ()
    if head == "sigmoid":
        # a threshold is held against the numbers as they came, where it is rounded as they are
        wide = probs if probs.dtype == torch.float64 else probs.float()
        edges = thresholds_like(threshold, wide, class_axis=0).flatten()
        limits = edges.double().logit().numpy()
        pivot = tuple(limits.tolist()) if limits.any() else ()
        logits -= np.log(np.maximum(1 - p, CLAMP)) + limits
        # and rounding of logarithms decides nothing
        holds = (edges < wide.reshape(len(wide), -1).T).numpy()[drawn]
        logits = np.where(holds, np.maximum(logits, _LEAST_ABOVE), np.minimum(logits, 0.0))
        truth = labels.reshape(labels.shape[0], -1).T.numpy()[drawn]
    else:
        truth = labels.reshape(-1).numpy()[drawn]
    values = torch.from_numpy(truth)
    check_labels(
        values if values.is_floating_point() else values.long(), 2 if head == "sigmoid" else len(probs)
    )
    return CalibrationVoxels(
        logits.astype(np.float32),
        truth.astype(np.int64),
        flat[drawn].astype(np.float32),
        weight,
        subject,
        pivot=pivot,
    )


def drawn_rows(
    distance: Tensor, *, seed: int, valid: Tensor | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which voxels :func:`draw_voxels` draws; the same ones for the same distance and seed.

    Args:
        distance: that decides, ``(*spatial)``.
        seed: of the draw.
        valid: voxels that are no padding.

    Returns:
        Booleans over all voxels in C order, and the weights of those that are drawn.
    """
    flat = distance.reshape(-1).numpy()
    close = within(flat, NEAR_MM)
    drawn = close | (np.random.default_rng(seed).random(flat.size) < _FAR_SHARE)
    if valid is not None:
        drawn &= valid.reshape(-1).numpy()
    return drawn, np.where(close[drawn], 1.0, 1 / _FAR_SHARE)


def thinned(scans: Sequence[CalibrationVoxels], most: int = 200_000) -> list[CalibrationVoxels]:
    """Draw again so that a fit stays short however many scans there are, and however large they are.

    Args:
        scans: voxels of calibration scans.
        most: number of voxels over all scans, about.

    Returns:
        The same scans with weights to match; themselves if they have no more than ``most``. Half of the
        voxels are within 8 mm of the prediction, or all that are there: where nearly all of a volume is far
        from the structure, those near it are kept. The same voxels every time.

    Note:
        2 x 100,000 voxels, easy and hard, fix a temperature within .3 %.
    """
    total = sum(len(scan.weight) for scan in scans)
    if total <= most:
        return list(scans)
    shares = _shares(
        sum(int(np.count_nonzero(within(scan.distance, NEAR_MM))) for scan in scans), total, most
    )
    few = []
    for i, scan in enumerate(scans):
        share = np.where(within(scan.distance, NEAR_MM), *shares)
        chosen = np.random.default_rng(i).random(len(scan.weight)) < share
        few.append(scan.take(chosen, 1 / share[chosen]))
    return few


def _shares(near: int, total: int, most: int) -> tuple[float, float]:
    """Which shares of near and of far voxels to draw, so that both have half of ``most`` or are all there."""
    far = total - near
    half = most / 2
    near_wanted, far_wanted = max(half, most - far), max(half, most - near)
    return min(1.0, near_wanted / max(near, 1)), min(1.0, far_wanted / max(far, 1))


def calibrated_probs(calibrator: Calibrator, scan: CalibrationVoxels) -> Tensor:
    """What a calibrator makes of drawn voxels.

    Args:
        calibrator: fitted, best without this scan.
        scan: the voxels.

    Returns:
        Probabilities ``(C, n)`` float64: in a large volume, the last bits of float32 in all that is far
        from the structure add up to more than a small structure's whole NLL. Unchanged where the calibrator's
        distance is in another unit than the scan's.
    """
    other_unit = getattr(calibrator, "unit", scan.unit) != scan.unit
    if scan.labels.ndim == 2:
        pivot = torch.tensor(scan.pivot or [0.0] * scan.logits.shape[1], dtype=torch.float64)
        p = torch.sigmoid(torch.from_numpy(scan.logits).double() + pivot).T
        if other_unit:
            return p
        threshold = pivot.sigmoid().tolist()
        return calibrator.apply(p, torch.from_numpy(scan.seen), head="sigmoid", threshold=threshold)
    p = torch.from_numpy(scan.logits).double().exp().T
    p = p / p.sum(dim=0)
    return p if other_unit else calibrator.apply(p, torch.from_numpy(scan.seen))


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
    pivot: NDArray[np.float64] | float = 0.0

    @property
    def n(self) -> int:
        """Number of voxels."""
        return len(self.distance)

    def losses(self, beta: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of ``logits * beta`` in each voxel and its derivative by that voxel's beta, unweighted."""
        z = self.logits * beta[:, None]
        if self.labels.ndim == 2:
            z += self.pivot
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
        return loss, slope

    def nll(self, beta: NDArray[np.float64]) -> float:
        """Weighted NLL of ``logits * beta``."""
        return float(self.weight @ self.losses(beta)[0])

    def take(self, rows: NDArray[np.bool_], factor: NDArray[np.float64] | float = 1.0) -> Self:
        """Some of the voxels, ``rows`` ``(n,)``, their weights multiplied by ``factor``."""
        return replace(
            self,
            logits=self.logits[rows],
            labels=self.labels[rows],
            distance=self.distance[rows],
            weight=self.weight[rows] * factor,
        )

    def sample(self, most: int) -> Self:
        """About ``most`` voxels, chosen as by :func:`thinned`; all if there are no more."""
        if self.n <= most:
            return self
        near = within(self.distance, NEAR_MM)
        share = np.where(near, *_shares(int(np.count_nonzero(near)), self.n, most))
        chosen = np.random.default_rng(0).random(self.n) < share
        return self.take(chosen, 1 / share[chosen])


def stack_voxels(scans: Sequence[CalibrationVoxels]) -> StackedVoxels:
    """Join scans so that every subject counts alike, however large and many its scans are.

    Args:
        scans: voxels of at least one scan.

    Returns:
        All voxels; the weights of each subject sum to one over the number of subjects.

    Raises:
        ShapeError: if scans were drawn with different thresholds.
    """
    pivots = {scan.pivot for scan in scans}
    if len(pivots) > 1:
        raise ShapeError(f"scans must be drawn with the same thresholds, got log odds of {sorted(pivots)}.")
    totals: dict[str, float] = {}
    for scan in scans:
        totals[scan.subject] = totals.get(scan.subject, 0.0) + float(scan.weight.sum())
    weight = np.concatenate([s.weight / (totals[s.subject] * len(totals)) for s in scans])
    distance = np.concatenate([s.seen for s in scans]).astype(np.float64)
    return StackedVoxels(
        np.concatenate([s.logits for s in scans]).astype(np.float64).clip(_LEAST_LOG, -_LEAST_LOG),
        np.concatenate([s.labels for s in scans]),
        np.where(np.isfinite(distance), distance, 0.0),
        weight,
        np.array(pivots.pop()) if any(pivots) else 0.0,
    )
