"""How far off the quality part of a version is, on subjects it was not fitted to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from segtrust.metrics.bootstrap import finite_or_none
from segtrust.models import ModelSpec
from segtrust.quality import (
    COVERAGE,
    Assessment,
    ContourRule,
    Quality,
    QualityCase,
    Regression,
    StructureAssessment,
    StructureTruth,
    conformal_bound,
    logit_dice,
)
from segtrust.quality.line_scores import line_scores
from segtrust.quality.log_odds import dice_range
from segtrust.quality.typical import Likeness, TypicalScans

__all__ = ["judge_predictions", "quality_figures"]


def quality_figures(quality: Quality, cases: Sequence[QualityCase], spec: ModelSpec) -> dict[str, Any]:
    """Figures over the calibration subjects, each judged by what was fitted without it.

    Args:
        quality: the fitted part.
        cases: what it was fitted to.
        spec: names the structures.

    Returns:
        Per structure and target: subjects, the score chosen, mean absolute error of the line and of a
        constant (Dice; ln of the volume ratio; ln mm); for Dice also the median width of the intervals, the
        range of 90 % of the true values, and the correlation with the true log odds on ordinary scans and on
        worsened copies, apart. Coverage is not among them: on the subjects that make the intervals it is the
        promised share by construction; :func:`judge_predictions` counts it on others.
        ``unlike``: share of scans and of copies that are not like the calibration scans, and of them the
        ``somewhat`` unlike. ``contours``: margins of the usual rule.
    """
    figures: dict[str, Any] = {"subjects": quality.subjects, "scans": sum(c.ordinary for c in cases)}
    structures = {}
    for label in spec.labels:
        lines = quality.lines[label.value]
        targets: dict[str, Any] = {target: _figures(line, target) for target, line in lines.items()}
        if "dice" in lines:
            targets["dice"]["worsened"] = _worsened(lines["dice"], cases, label.value)
        structures[label.name] = targets
    figures["structures"] = structures
    if quality.typical is not None:
        figures["unlike"] = _unlike(quality.typical, cases)
    if quality.contours is not None:
        names = {label.value: label.name for label in spec.labels}
        figures["contours"] = quality.contours.margins(ContourRule()).to_json(names)
    return figures


def _figures(line: Regression, target: str) -> dict[str, Any]:
    pairs = np.array([pairs[0] for pairs in line.held_out])
    predicted, true = pairs.T
    shown = expit if target == "dice" else np.asarray
    constant = np.array([np.median(np.delete(true, i)) for i in range(len(true))])
    figures = {
        "subjects": len(pairs),
        "score": line.line.score,
        "error": float(np.abs(shown(predicted) - shown(true)).mean()),
        "error_of_constant": float(np.abs(shown(constant) - shown(true)).mean()),
    }
    if target == "dice":
        shown_ends = [dice_range(*_ends(line, i, p)) for i, p in enumerate(predicted.tolist())]
        low, high = np.quantile(expit(true), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        figures |= {
            "median_width": finite_or_none(float(np.median([high - low for low, high in shown_ends]))),
            "marginal_width": float(high - low),
            "pearson": _correlation(predicted, true),
        }
    return figures


def _ends(line: Regression, row: int, predicted: float) -> tuple[float, float]:
    """Interval of one calibration subject, by the ridge and the line that never saw it."""
    far = conformal_bound(line.residuals, 1 - COVERAGE)
    wide = (predicted - far, predicted + far)
    if line.ridge is None:
        return wide
    return line.ridge.without(row).beside(wide, predicted, line.ridge.of(row), COVERAGE)


def _worsened(line: Regression, cases: Sequence[QualityCase], value: int) -> dict[str, Any]:
    without = dict(zip(_subjects_of(cases, value), line.without, strict=True))
    pairs = [
        (without[case.subject].at(line_scores(case.scores.details[value])), case.truth[value].dice)
        for case in cases
        if not case.ordinary and case.subject in without
    ]
    rated = np.array([(p, logit_dice(t)) for p, t in pairs if p is not None and not math.isnan(t)])
    return {
        "copies": len(rated),
        "pearson": _correlation(*rated.T),
        "error": float(np.abs(expit(rated[:, 0]) - expit(rated[:, 1])).mean()),
    }


def _subjects_of(cases: Sequence[QualityCase], value: int) -> list[str]:
    """Subjects of a structure's lines, in their order."""
    return sorted(
        {
            case.subject
            for case in cases
            if case.ordinary
            and case.scores.details[value].entropy is not None
            and not math.isnan(case.truth[value].dice)
        }
    )


def _unlike(typical: TypicalScans, cases: Sequence[QualityCase]) -> dict[str, Any]:
    order = sorted({case.subject for case in cases if case.ordinary})
    seen: dict[str, list[Likeness]] = {"scans": [], "copies": []}
    for case in cases:
        row = order.index(case.subject)
        rest = TypicalScans({n: rows[:row] + rows[row + 1 :] for n, rows in typical.features.items()})
        compared = rest.compare(case.features)
        if compared.p_value is not None:
            seen["scans" if case.ordinary else "copies"].append(compared.likeness)
    return {
        kind: {
            "n": len(grades),
            "share": float(np.mean([grade not in ("like", "not tested") for grade in grades])),
            "somewhat": float(np.mean([grade == "somewhat unlike" for grade in grades])),
        }
        for kind, grades in seen.items()
        if grades
    }


def judge_predictions(
    spec: ModelSpec,
    judged: Sequence[tuple[Assessment, Mapping[int, StructureTruth]]],
    calibration_subjects: int,
) -> dict[str, Any]:
    """Hold predicted Dice, intervals, verdicts and contours of untouched scans against the truth.

    Args:
        spec: names the structures.
        judged: what was said of each scan, and how its structures came out.
        calibration_subjects: how many subjects the intervals rest on.

    Returns:
        Per structure: number of scans with a usual interval, how many hold the true Dice, the 95 % range of
        that number (beta-binomial, for intervals that hold exactly 90 %), mean absolute error, scans called
        fine, and those of them that are bad; the same counts for ``volume``, and for the ``outer`` and
        ``inner`` contour. ``joint``: scans with all contours right at once. ``unlike``: scans not like
        the calibration scans. ``somewhat_unlike``: those of them that have the widest intervals, and per
        structure how many of these hold.

    Source:
        Vovk 2012 for the distribution of coverage.
    """
    figures: dict[str, Any] = {"scans": len(judged), "unlike": sum(a.is_unlike for a, _ in judged)}
    wide = [(a, truths) for a, truths in judged if a.width == "widest"]
    figures["somewhat_unlike"] = {
        "scans": len(wide),
        "structures": {
            label.name: _held([(a.structures[label.value], t[label.value]) for a, t in wide])
            for label in spec.labels
        },
    }
    judged = [(_with_usual_intervals(a), truths) for a, truths in judged]
    figures["structures"] = {
        label.name: {
            **_judged([(a.structures[label.value], t[label.value], a.rule.dice) for a, t in judged],
                      calibration_subjects),
            **_contours(judged, label.value),
        }
        for label in spec.labels
    }  # fmt: skip
    joint = [
        (c, c.hold_at_once({value: truth.margins for value, truth in truths.items()}))
        for a, truths in judged
        if (c := a.contours) is not None and c.joint
    ]
    if joint:
        margins, _ = joint[0]
        subjects = next(iter(margins.joint.values())).subjects
        figures["joint"] = _count([held for _, held in joint], subjects, margins.rule.coverage)
    return figures


def _judged(
    assessed: Sequence[tuple[StructureAssessment, StructureTruth, float]], subjects: int
) -> dict[str, Any]:
    rated = [(s, truth, edge) for s, truth, edge in assessed if not math.isnan(truth.dice)]
    inside = [s.dice_interval[0] <= t.dice <= s.dice_interval[1] for s, t, _ in rated if s.dice_interval]
    volumes = [
        s.volume_factors[0] <= t.volume_ratio <= s.volume_factors[1]
        for s, t, _ in rated
        if s.volume_factors and t.volume_ratio is not None
    ]
    errors = [abs(s.predicted_dice - t.dice) for s, t, _ in rated if s.predicted_dice is not None]
    fine = [t.dice < edge for s, t, edge in rated if s.verdict == "probably fine"]
    counts = _count(inside, subjects, COVERAGE)
    return {
        "intervals": counts["n"],
        "inside": counts["inside"],
        "expected_inside": counts["expected"],
        "error": float(np.mean(errors)) if errors else None,
        "fine": len(fine),
        "fine_and_bad": sum(fine),
        "volume": _count(volumes, subjects, COVERAGE),
    }


def _with_usual_intervals(assessment: Assessment) -> Assessment:
    """The same without the widest intervals, which are counted apart."""
    if assessment.width != "widest":
        return assessment
    none = {"dice_interval": None, "volume_factors": None, "border_interval_mm": None}
    structures = {value: replace(s, **none) for value, s in assessment.structures.items()}
    return replace(assessment, structures=structures)


def _held(judged: Sequence[tuple[StructureAssessment, StructureTruth]]) -> dict[str, dict[str, int]]:
    """How many intervals hold the true Dice, and the true volume, of how many."""
    dice = [s.dice_interval[0] <= t.dice <= s.dice_interval[1] for s, t in judged if s.dice_interval]
    volume = [
        s.volume_factors[0] <= t.volume_ratio <= s.volume_factors[1]
        for s, t in judged
        if s.volume_factors and t.volume_ratio is not None
    ]
    return {n: {"n": len(held), "inside": sum(held)} for n, held in (("dice", dice), ("volume", volume))}


def _contours(
    judged: Sequence[tuple[Assessment, Mapping[int, StructureTruth]]], value: int
) -> dict[str, dict[str, Any]]:
    held, rule, subjects = [], ContourRule(), 0
    for assessment, truth in judged:
        needed, margins = truth[value].margins, assessment.contours
        if needed is not None and margins is not None and value in margins.each:
            rule, subjects = margins.rule, margins.each[value].subjects
            held.append(margins.each[value].hold(needed, rule.share))
    if not held:
        return {}
    return {
        side: _count([pair[i] for pair in held], subjects, rule.coverage)
        for i, side in enumerate(("outer", "inner"))
    }


def _count(held: Sequence[bool], subjects: int, coverage: float) -> dict[str, Any]:
    """How often a bound held, and how often it does in 95 % of repetitions if it is exact."""
    rank = math.ceil((subjects + 1) * coverage - 1e-9)
    chance = stats.betabinom(len(held), rank, subjects + 1 - rank) if held and rank <= subjects else None
    expected = None if chance is None else [int(chance.ppf(p)) for p in (0.025, 0.975)]
    return {"n": len(held), "inside": sum(held), "expected": expected}


def _correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> float | None:
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])
