"""What a calibrator knows of a voxel beside its probabilities: the distance that it was fitted with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._checks import check_labels
from segtrust.calibrators.identity import Calibrator
from segtrust.calibrators.temperature import DistanceTemperature
from segtrust.calibrators.voxels import CalibrationVoxels, draw_voxels, drawn_rows
from segtrust.decisions import LabelRule
from segtrust.regions import distance_to, main_parts

__all__ = ["PARTS", "calibrate_scan", "covariate_of", "draw_prediction", "has_unit"]

PARTS: float | None = 0.05
"""Share with which main parts are told from specks in what is drawn; decision 0015."""

Labels = NDArray[np.integer[Any]]
Spacing = Sequence[float] | None


def has_unit(calibrator: Calibrator, spacing: Spacing) -> bool:
    """Whether a scan's distances can be had in the unit that a calibrator was fitted with.

    Args:
        calibrator: any.
        spacing: millimetres per voxel; ``None`` if unknown.

    Returns:
        False only for a distance temperature in millimetres where nobody knows how large the voxels are.
    """
    return not (isinstance(calibrator, DistanceTemperature) and calibrator.unit == "mm" and spacing is None)


def covariate_of(calibrator: Calibrator, labels: Labels, spacing: Spacing) -> Tensor:
    """The distance that a calibrator was fitted with, for every voxel of a scan.

    Args:
        calibrator: one that :func:`has_unit`.
        labels: predicted labels, ``(*spatial)``, 0 = background.
        spacing: millimetres per voxel; ``None`` if unknown.

    Returns:
        ``(*spatial)`` float32: to the foreground, or to its main parts, in millimetres or in voxels, as the
        calibrator says; 0 for calibrators that know no distance. Infinite everywhere without foreground.
    """
    if not isinstance(calibrator, DistanceTemperature):
        return torch.zeros(labels.shape)
    mask = labels > 0 if calibrator.parts is None else main_parts(labels, calibrator.parts)
    return torch.from_numpy(distance_to(mask, spacing if calibrator.unit == "mm" else None))


def calibrate_scan(
    calibrator: Calibrator,
    probs: Tensor,
    labels: Labels,
    spacing: Spacing,
    *,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
) -> Tensor:
    """Calibrate a scan by the distance that the calibrator was fitted with.

    Args:
        calibrator: any.
        probs: uncalibrated, ``(C, *spatial)``.
        labels: predicted from them, ``(*spatial)``, 0 = background.
        spacing: millimetres per voxel; ``None`` if unknown.
        rule: of the model's head; what it decides by its thresholds stays decided.

    Returns:
        Probabilities, same shape; unchanged where the calibrator needs millimetres and the spacing is
        unknown, as voxels are never read as millimetres.
    """
    if not has_unit(calibrator, spacing):
        return probs
    distance = covariate_of(calibrator, labels, spacing)
    return calibrator.apply(probs, distance, head=rule.head, threshold=rule.threshold)


def draw_prediction(  # what there is to know about one scan
    probs: Tensor,
    labels: Tensor,
    spacing: Spacing,
    *,
    subject: str,
    seed: int,
    valid: NDArray[np.bool_],
    near: Tensor | None = None,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
) -> CalibrationVoxels:
    """Draw voxels of a scan with the distances that a calibrator of today is fitted with.

    Args:
        probs: uncalibrated mean, ``(C, *spatial)``.
        labels: reference, ``(*spatial)`` integers; of structures that overlap also ``(N, *spatial)``
            booleans.
        spacing: millimetres per voxel; ``None`` if unknown, and distances are in voxels then.
        subject: whose scan it is.
        seed: of the draw.
        valid: voxels that are no padding and that somebody labelled; others take no part, whatever their
            label.
        near: distance that decides which voxels are drawn.
        rule: of the model's head.

    Returns:
        See :func:`segtrust.calibrators.draw_voxels`.

    Raises:
        ShapeError: if the shapes differ.
        ProbabilityError: if the label of a voxel that takes part is no class.
    """
    predicted, inside = rule.labels(probs).numpy(), torch.from_numpy(valid)
    distance = torch.from_numpy(distance_to(predicted > 0, spacing))
    drawn = draw_voxels(
        probs,
        _reference(labels, rule, len(probs), inside),
        distance,
        subject=subject,
        seed=seed,
        head=rule.head,
        threshold=rule.threshold,
        valid=inside,
        near=near,
    )
    drawn = replace(drawn, unit="voxel" if spacing is None else "mm")
    if PARTS is None:
        return drawn
    rows, _ = drawn_rows(distance if near is None else near, seed=seed, valid=inside)
    away = distance_to(main_parts(predicted, PARTS), spacing)
    return replace(drawn, covariate=away.reshape(-1)[rows], parts=PARTS)


def _reference(labels: Tensor, rule: LabelRule, channels: int, valid: Tensor) -> Tensor:
    """Labels as a fit sees them; those of a sigmoid head as 0/1 for each structure."""
    if rule.head == "softmax":
        return labels
    if labels.dtype != torch.bool:
        check_labels(labels[valid].long(), channels + 1)  # a label that is no structure is in no set
    return rule.sets_of(labels, channels).long()
