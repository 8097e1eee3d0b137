"""The error rate behind a stated chance: each subject is judged by a calibrator that never saw it."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch

from segtrust.calibrators.choice import Fit
from segtrust.calibrators.voxels import (
    MIN_SUBJECTS,
    CalibrationVoxels,
    calibrated_probs,
    count_subjects,
    leave_one_subject_out,
)
from segtrust.errors import ShapeError
from segtrust.metrics.observed import ObservedErrors

__all__ = ["cross_fitted_errors"]


def cross_fitted_errors(scans: Sequence[CalibrationVoxels], fit: Fit) -> ObservedErrors | None:
    """Count voxels and errors per stated chance, leaving out one subject at a time.

    Args:
        scans: voxels of calibration scans of a softmax model.
        fit: fits the kind of calibrator that is served.

    Returns:
        Counts over all scans; ``None`` with fewer than five subjects, for which nothing is fitted.

    Raises:
        ShapeError: for voxels of a sigmoid head.

    Source:
        Leave-one-group-out cross-validation (Stone 1974).
    """
    if any(scan.labels.ndim == 2 for scan in scans):
        raise ShapeError("errors are observed for a softmax head, got sigmoid voxels.")
    if count_subjects(scans) < MIN_SUBJECTS:
        return None
    counts = []
    for inside, held_out in leave_one_subject_out(scans):
        calibrator = fit(inside, least=MIN_SUBJECTS - 1)
        for scan in held_out:
            q = calibrated_probs(calibrator, scan)
            wrong = torch.from_numpy(scan.logits.argmax(axis=1) != scan.labels)
            counts.append(
                ObservedErrors.of((1 - q.amax(dim=0)).clamp(0, 1), wrong, torch.from_numpy(scan.weight))
            )
    return reduce(add, counts)
