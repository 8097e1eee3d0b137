"""The error rate behind a stated chance: each subject is judged by a calibrator that never saw it."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch

from segtrust.calibrators.choice import Fit
from segtrust.calibrators.outcome import chance_and_errors, check_head
from segtrust.calibrators.voxels import (
    MIN_SUBJECTS,
    CalibrationVoxels,
    calibrated_probs,
    count_subjects,
    leave_one_subject_out,
)
from segtrust.decisions import LabelRule
from segtrust.metrics.observed import ObservedErrors

__all__ = ["cross_fitted_errors"]


def cross_fitted_errors(
    scans: Sequence[CalibrationVoxels],
    fit: Fit,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
) -> ObservedErrors | None:
    """Count voxels and errors per stated chance, leaving out one subject at a time.

    Args:
        scans: voxels of calibration scans.
        fit: fits the kind of calibrator that is served.
        rule: of the model's head. A voxel of a sigmoid head is wrong where the set of its structures is.

    Returns:
        Counts over all scans; ``None`` with fewer than five subjects, for which nothing is fitted.

    Raises:
        ShapeError: for voxels of another head.

    Source:
        Leave-one-group-out cross-validation (Stone 1974).
    """
    check_head(scans, rule)
    if count_subjects(scans) < MIN_SUBJECTS:
        return None
    counts = []
    for inside, held_out in leave_one_subject_out(scans):
        calibrator = fit(inside, least=MIN_SUBJECTS - 1)
        for scan in held_out:
            chance, wrong = chance_and_errors(calibrated_probs(calibrator, scan), scan, rule)
            counts.append(ObservedErrors.of(chance, wrong, torch.from_numpy(scan.weight)))
    return reduce(add, counts)
