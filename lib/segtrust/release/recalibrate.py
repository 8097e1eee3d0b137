"""Calibration after a round: on calibration scans, else on what some members never saw, else the parent's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segtrust.calibrators import (
    MIN_SUBJECTS,
    CalibrationVoxels,
    Identity,
    choose_served,
    fit_to_part,
)
from segtrust.evaluate.cases import draw_scan
from segtrust.inference.predictor import Predictor
from segtrust.models import ModelSpec
from segtrust.release.cohort import LabelledScan
from segtrust.release.publish import observed_errors
from segtrust.training.cases import read_pair

__all__ = ["Recalibration", "recalibrate"]


@dataclass(frozen=True)
class Recalibration:
    """The content of ``calibration.json``, where it comes from, and cross-fitted figures by region."""

    calibration: Mapping[str, Any]
    source: str
    why: str
    subjects: int
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the card: everything but the observed errors."""
        return {
            "calibrator": self.calibration["calibrator"],
            "source": self.source,
            "why": self.why,
            "subjects": self.subjects,
            "figures": dict(self.figures),
        }


def recalibrate(
    drawn: Sequence[CalibrationVoxels],
    train: Sequence[LabelledScan],
    strangers: Callable[[LabelledScan], Predictor | None],
    spec: ModelSpec,
    *,
    inherited: Mapping[str, Any] | None,
    precision: str,
) -> Recalibration:
    """Fit the distance temperature to scans that the members have not seen, if there are five patients.

    Args:
        drawn: voxels of the calibration scans.
        train: training scans that may help because every member left some of them out; empty if none did.
        strangers: training scan -> predictor of the members that never saw its patient, or ``None``.
        spec: of the model, with the values that the labels hold.
        inherited: the parent's calibration of a warm start; ``None`` from scratch.
        precision: in which the voxels were predicted.

    Returns:
        The calibration: fitted, else the parent's, else none, and why. Identity where fitting does not pass
        :func:`segtrust.calibrators.choose_served`.
    """
    voxels, source = list(drawn), "calibration scans"
    why = "fitted to scans whose role is calibration"
    subjects = {v.subject for v in drawn}
    if len(subjects) < MIN_SUBJECTS:
        unseen = [(scan, predictor) for scan in train if (predictor := strangers(scan))]
        if len(subjects | {scan.subject for scan, _ in unseen}) >= MIN_SUBJECTS:
            for index, (scan, predictor) in enumerate(unseen, start=len(voxels)):
                pair = read_pair(scan.files, spec)
                voxels.append(draw_scan(predictor, *pair, subject=scan.subject, seed=index))
            source = "out-of-fold scans"
            why = (
                f"only {len(subjects)} patients have the role calibration: fitted to them and to "
                f"{len(unseen)} training scans as those members see them that left them out; a part of the "
                "members is surer of itself than all together, so the result is rather too cautious"
            )
            subjects |= {scan.subject for scan, _ in unseen}
    if len(subjects) < MIN_SUBJECTS:
        return _without(len(subjects), inherited, precision)
    rule = spec.head.rule
    choice = choose_served(voxels, rule=rule)
    fits = choice.name != Identity.name
    if not fits:
        why += (
            "; fitting did not lower the NLL of the band or of the volume by 0.5 % without raising the "
            "other, so probabilities stay as they are"
        )
    seen = fits and source == "calibration scans"
    calibration = {
        "calibrator": choice.calibrator.to_json(),
        "fitted_on": {"scans": len(voxels), "subjects": len(subjects), "role": source},
        "precision": precision,
        **(observed_errors(voxels, fit_to_part(choice.name), rule) if seen else {}),
    }
    return Recalibration(calibration, source, why, len(subjects), choice.figures)


def _without(subjects: int, inherited: Mapping[str, Any] | None, precision: str) -> Recalibration:
    few = f"fitting needs {MIN_SUBJECTS} patients whose scans the members have not seen, got {subjects}"
    if inherited is None:
        calibrator, source, why = Identity().to_json(), "none", f"{few}: probabilities stay as they are"
    else:
        calibrator, source, why = inherited["calibrator"], "parent", f"{few}: the parent's calibrator is kept"
    calibration = {
        "calibrator": calibrator,
        "fitted_on": {"scans": 0, "subjects": 0, "role": source},
        "precision": precision,
    }
    return Recalibration(calibration, source, why, subjects)
