"""From calibration scans to the quality part of a version."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeGuard

import numpy as np

from segtrust.quality.assess import TARGETS, Quality
from segtrust.quality.contours import fit_contours
from segtrust.quality.excess import RimTotals, fit_usual_error
from segtrust.quality.expected import ExpectedStructures, SizeUnit, fit_expected
from segtrust.quality.line import Rows
from segtrust.quality.line_scores import LINE_SCORES, can_be_judged, line_scores
from segtrust.quality.log_odds import clipped_log, logit_dice
from segtrust.quality.margins import NeededMargins
from segtrust.quality.regression import Regression, fit_regression
from segtrust.quality.ridge import fit_ridge
from segtrust.quality.typical import Features, fit_typical_scans
from segtrust.scores import ScanScores

__all__ = ["QualityCase", "StructureTruth", "fit_quality"]


@dataclass(frozen=True)
class StructureTruth:
    """How one structure of a calibration scan came out.

    ``dice`` NaN if neither has it; ``volume_ratio`` reference over prediction; ``border_mm`` mean distance
    between the two surfaces; ``margins`` with which its contours are right; ``volume_ml`` of the reference;
    ``None`` where not defined.
    """

    dice: float
    volume_ratio: float | None
    border_mm: float | None
    margins: NeededMargins | None = None
    volume_ml: float | None = None

    def targets(self) -> dict[str, float | None]:
        """What lines are fitted to: log odds of Dice, log volume ratio, log millimetres, all clipped."""
        return {
            "dice": logit_dice(self.dice) if _has_number(self.dice) else None,
            "volume": clipped_log(self.volume_ratio) if _has_number(self.volume_ratio) else None,
            "border": clipped_log(self.border_mm) if _has_number(self.border_mm) else None,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; a Dice that is not defined is null."""
        return {
            **vars(self),
            "dice": None if math.isnan(self.dice) else self.dice,
            "margins": None if self.margins is None else self.margins.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        dice, margins = document["dice"], document["margins"]
        return cls(**{
            **document,
            "dice": math.nan if dice is None else dice,
            "margins": None if margins is None else NeededMargins.from_json(margins),
        })  # fmt: skip


@dataclass(frozen=True)
class QualityCase:
    """All that a fit keeps of one calibration scan, or of a worsened copy of one (``ordinary`` false)."""

    subject: str
    ordinary: bool
    scores: ScanScores
    features: Features
    truth: Mapping[int, StructureTruth]
    rim: RimTotals | None


def fit_quality(cases: Sequence[QualityCase], structures: Sequence[int]) -> Quality | None:
    """Fit everything that the calibration scans justify.

    Args:
        cases: calibration scans, each predicted with a calibrator that was fitted without its subject, and
            worsened copies of them.
        structures: label values.

    Returns:
        The quality part; ``None`` if not even the usual errors can be fitted (fewer than five subjects).

    Source:
        see the single parts.
    """
    ordinary = [case for case in cases if case.ordinary]
    first = {case.subject: case for case in reversed(ordinary)}
    rims: dict[str, RimTotals] = {}
    for case in ordinary:
        if case.rim is not None:
            rims[case.subject] = rims[case.subject] + case.rim if case.subject in rims else case.rim
    usual = fit_usual_error(list(rims.values()))
    lines = {value: _fit_lines(cases, value) for value in structures}
    typical = fit_typical_scans([first[subject].features for subject in sorted(first)])
    contours = fit_contours(
        ((case.subject, {value: case.truth[value].margins for value in structures}) for case in ordinary),
        structures,
    )
    if usual is None and typical is None and not any(lines.values()):
        return None
    return Quality(
        lines, typical, usual, len(first), contours, _fit_sizes([first[subject] for subject in sorted(first)])
    )


def _fit_sizes(cases: Sequence[QualityCase]) -> ExpectedStructures | None:
    """Sizes in the unit of most scans; a size in another unit is not compared with them."""
    by_unit: dict[SizeUnit, list[QualityCase]] = {"mm3": [], "voxels": []}
    for case in cases:
        has_mm = any(truth.volume_ml is not None for truth in case.truth.values())
        by_unit["mm3" if has_mm else "voxels"].append(case)
    unit = max(by_unit, key=lambda name: len(by_unit[name]))
    return fit_expected([case.scores.details for case in by_unit[unit]], unit)


def _fit_lines(cases: Sequence[QualityCase], value: int) -> dict[str, Regression]:
    """A line per target over the scans in which the structure was predicted.

    Worsened copies serve the Dice alone: its prediction is also shown for scans unlike the calibration scans.
    Its usual intervals rest on a ridge, which sees none of them.
    """
    fitted = {}
    for target in TARGETS:
        usable = []
        for case in cases:
            x, y = line_scores(case.scores.details[value]), case.truth[value].targets()[target]
            if y is not None and can_be_judged(x) and (case.ordinary or target == "dice"):
                usable.append((case, x, y))
        rows = Rows(
            [case.subject for case, _, _ in usable],
            {
                name: np.array([np.nan if x[name] is None else x[name] for _, x, _ in usable], float)
                for name in LINE_SCORES
            },
            np.array([y for _, _, y in usable], float),
            np.array([case.ordinary for case, _, _ in usable], bool),
        )
        if (line := fit_regression(rows, LINE_SCORES)) is not None:
            fitted[target] = replace(line, ridge=fit_ridge(rows)) if target == "dice" else line
    return fitted


def _has_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
