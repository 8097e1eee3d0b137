"""Which intervals hold for scans unlike the calibration scans, inside the split train.

    python benchmarks/run_likeness.py --runs runs

The rule is in docs/decisions/0012-likeness.md. Members of experiments.json predict the fold that they have
not seen; then calibration sets of 26 subjects are drawn again and again and the other subjects judged.
Writes <out>/hippocampus-likeness.json.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from held_out import measure_systems

from segtrust.calibrators import CANDIDATES, CalibrationVoxels, Calibrator, Identity
from segtrust.evaluate.cases import draw_scan
from segtrust.evaluate.shifts import SHIFT_SUITE, corrupt, shift_seed
from segtrust.experiments.crossfit import CALIBRATOR, CrossFit
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan
from segtrust.models import ModelVersion
from segtrust.quality import COVERAGE, Quality, QualityCase, conformal_bound, fit_quality
from segtrust.quality.contour_rule import ContourRule
from segtrust.quality.line_scores import line_scores
from segtrust.release.quality import quality_case, worsened_copies
from segtrust.training.cases import read_labelled, read_subjects

SYSTEMS = (("likeness", "small", 2),)
SUBJECTS, SMOOTH, DRAWS = 26, 6, 40
"""Subjects of a calibration set, those of them stored with 8 bits (as in *val*), and sets that are drawn."""
NEAREST = 9
LEAST_EACH, LEAST_MEAN, LEAST_SUBJECTS = 0.85, 0.90, 5
UNLIKE = 0.05
STRENGTHS = (1, 2, 3)
SEED = 20260202
WAYS = ("all, usual", "all, widest", "somewhat, usual", "somewhat, widest", "somewhat, nearest")

Condition = str


@dataclass(frozen=True)
class Measured:
    """One held-out scan: itself, the copies that a fit takes, and the copies that are judged, by strength."""

    subject: str
    smooth: bool
    case: QualityCase
    copies: tuple[QualityCase, ...]
    worse: Mapping[int, tuple[QualityCase, ...]]


@dataclass(frozen=True)
class Said:
    """What one calibration set says of one judged scan: way -> quantity -> whether it held."""

    condition: Condition
    subject: str
    p_value: float
    prediction_p: float
    dice: float
    held: Mapping[str, Mapping[str, bool]]

    @property
    def grade(self) -> str:
        """As the rule has it."""
        if self.p_value >= UNLIKE:
            return "like"
        return "somewhat unlike" if self.prediction_p >= UNLIKE else "unlike"


def main() -> int:
    """Judge and write."""
    return measure_systems(__doc__, SYSTEMS, judge, name="likeness")


def judge(fit: CrossFit, _size: int) -> dict[str, Any]:
    """Draw calibration sets, judge the rest, and count."""
    smooth = set(json.loads((fit.folds.data / "splits.json").read_text(encoding="utf-8"))["storage_uint8"])
    scans = list(measure(fit, smooth))
    values = [label.value for label in fit.experiment.cells[0].spec.labels]
    said: list[Said] = []
    for number in range(DRAWS):
        for with_smooth in (True, False):
            said += judge_draw(scans, values, with_smooth=with_smooth, seed=SEED + number)
        fit.say(f"calibration set {number + 1}/{DRAWS}")
    return {
        "scans": len(scans),
        "subjects": len({scan.subject for scan in scans}),
        "smooth": sum(scan.smooth for scan in scans),
        "calibration_subjects": SUBJECTS,
        "draws": DRAWS,
        "conditions": {c: figures(s) for c in conditions() if (s := [x for x in said if x.condition == c])},
        "mean_dice": float(np.mean([mean_dice(scan.case) for scan in scans])),
    }


def conditions() -> tuple[Condition, ...]:
    """What is judged apart."""
    return (
        "8-bit, 8-bit in calibration",
        "8-bit, none in calibration",
        "other, 8-bit in calibration",
        "other, none in calibration",
        *(f"worsened, strength {s}" for s in STRENGTHS),
    )


def measure(fit: CrossFit, smooth: set[str], folds: Sequence[int] | None = None) -> Iterator[Measured]:
    """Predict every held-out scan and its copies behind the calibrator of the other folds."""
    drawn = {fold: list(drawn_voxels(fit, fold)) for fold in fit.experiment.folds}
    for fold in fit.experiment.folds if folds is None else folds:
        others = [voxels for f, part in drawn.items() if f != fold for voxels in part]
        served = predictor(fit, fold, CANDIDATES[CALIBRATOR](others))
        for index, scan_id in enumerate(fit.folds.held_out(fold)):
            yield measured(fit, served, scan_id, index, smooth=scan_id in smooth)
        fit.say(f"measured fold {fold}")


def drawn_voxels(fit: CrossFit, fold: int) -> Iterator[CalibrationVoxels]:
    """Voxels of a fold's scans as its members see them."""
    raw, subjects, data = predictor(fit, fold, Identity()), read_subjects(fit.folds.data), fit.folds.data
    for index, scan_id in enumerate(fit.folds.held_out(fold)):
        scan, labels = read_labelled(data, scan_id, raw.spec)
        yield draw_scan(raw, scan, labels, subject=subjects.get(scan_id, scan_id), seed=index)


def measured(fit: CrossFit, served: Predictor, scan_id: str, index: int, *, smooth: bool) -> Measured:
    """One scan and its copies."""
    scan, labels = read_labelled(fit.folds.data, scan_id, served.spec)
    subject = read_subjects(fit.folds.data).get(scan_id, scan_id)

    def case(copy: Scan) -> QualityCase:
        prepared, statistics, _ = served.sample(copy)
        prediction, image = served.conclude(copy, prepared, statistics), prepared.image.numpy()
        return quality_case(prediction, image, labels.numpy(), subject=subject, ordinary=copy is scan)

    def worsened(name: str, strength: int) -> Scan:
        values = corrupt(scan.data.numpy(), name, strength, shift_seed(SEED, scan_id, name))
        return replace(scan, data=torch.from_numpy(values))

    return Measured(
        subject,
        smooth,
        case(scan),
        tuple(case(copy) for copy in worsened_copies(scan, scan_id, index)),
        {s: tuple(case(worsened(name, s)) for name in picked_shifts(index, s)) for s in STRENGTHS},
    )


def predictor(fit: CrossFit, fold: int, calibrator: Calibrator) -> Predictor:
    """Members of one fold behind a calibrator."""
    (cell,) = fit.experiment.cells
    members = tuple(fit.members[cell.name, fold])
    return Predictor(
        ModelVersion(Path(), "fold", cell.spec, members, {}, {}, f"fold {fold}"), calibrator=calibrator
    )


def picked_shifts(index: int, strength: int) -> tuple[str, str]:
    """Two kinds of a strength; over eight scans every kind comes twice."""
    names = list(SHIFT_SUITE)
    return names[(index + strength) % len(names)], names[(index + strength + 4) % len(names)]


def judge_draw(
    scans: Sequence[Measured], values: Sequence[int], *, with_smooth: bool, seed: int
) -> Iterator[Said]:
    """Draw one calibration set, as *val* has it or without 8-bit scans, and judge all other subjects."""
    draw = np.random.default_rng([seed, with_smooth])
    smooth = sorted({s.subject for s in scans if s.smooth})
    other = sorted({s.subject for s in scans} - set(smooth))
    n_smooth = SMOOTH if with_smooth else 0
    chosen = {
        *draw.choice(smooth, n_smooth, replace=False).tolist(),
        *draw.choice(other, SUBJECTS - n_smooth, replace=False).tolist(),
    }
    one = {s.subject: s for s in draw.permutation(np.array(scans, dtype=object)).tolist()}
    fitted = [c for name in sorted(chosen) for c in (one[name].case, *one[name].copies)]
    quality = fit_quality(fitted, values)
    if quality is None or quality.typical is None:
        return
    there = "8-bit in calibration" if with_smooth else "none in calibration"
    for scan in scans:
        if scan.subject in chosen:
            continue
        group = "8-bit" if scan.smooth else "other"
        judged = [(f"{group}, {there}", scan.case)]
        if with_smooth:
            judged += [(f"worsened, strength {s}", c) for s, cs in scan.worse.items() for c in cs]
        for condition, case in judged:
            unlikeness = quality.typical.compare(case.features)
            p, own = unlikeness.p_value, unlikeness.detectors.get("ensemble", 0.0)
            if p is None or unlikeness.undefined:
                p, own = 0.0, 0.0
            yield Said(condition, scan.subject, p, own, mean_dice(case), held(quality, case, values))


def held(quality: Quality, case: QualityCase, values: Sequence[int]) -> dict[str, dict[str, bool]]:
    """Whether each interval and contour of each width holds for a scan."""
    n = quality.subjects
    near = nearest(quality, case) if "ensemble" in case.features else list(range(NEAREST))
    held: dict[str, dict[str, bool]] = {"usual": {}, "widest": {}, "nearest": {}}
    for value in values:
        scores, truth = line_scores(case.scores.details[value]), case.truth[value]
        for target, true in truth.targets().items():
            line = quality.lines[value].get(target)
            if line is None or true is None or (centres := line.spread(scores)) is None:
                continue
            widths = {
                "usual": conformal_bound(line.residuals, 1 - COVERAGE),
                "widest": max(line.residuals),
                "nearest": max(line.residuals[i] for i in near) if len(line.residuals) == n else math.inf,
            }
            for way, width in widths.items():
                held[way][f"{value} {target}"] = centres[0] - width <= true <= centres[1] + width
        needed = None if quality.contours is None else quality.contours.needed[value]
        if needed is None or truth.margins is None:
            continue
        for side in ("outer", "inner"):
            mm = [getattr(row, side)[1] for row in needed if row is not None]
            at = {"usual": conformal_bound(mm, 1 - COVERAGE), "widest": max(mm)}
            at["nearest"] = max(mm[i] for i in near) if len(mm) == n else math.inf
            for way, margin in at.items():
                held[way][f"{value} {side}"] = getattr(truth.margins, side)[1] <= margin
    if quality.contours is not None:
        needed_by = {value: case.truth[value].margins for value in values}
        for width, coverage in (("usual", COVERAGE), ("widest", n / (n + 1))):
            margins = quality.contours.margins(ContourRule(coverage))
            held[width]["all joint"] = margins.hold_at_once(needed_by)
    return held


def mean_dice(case: QualityCase) -> float:
    """Mean over the structures."""
    return float(np.nanmean([truth.dice for truth in case.truth.values()]))


def nearest(quality: Quality, case: QualityCase) -> list[int]:
    """The calibration subjects whose image is most like a scan's."""
    assert quality.typical is not None
    names = ("brightness", "sharpness")
    rows = np.hstack([np.array(quality.typical.features[name]) for name in names])
    own = np.hstack([np.array(case.features[name]) for name in names])
    away = (((rows - own) / rows.std(axis=0)) ** 2).sum(axis=1)
    return [int(i) for i in np.argsort(away)[:NEAREST]]


def figures(said: Sequence[Said]) -> dict[str, Any]:
    """Grades, and of scans with p < 0.05 how often each way holds."""
    grades = {grade: [s for s in said if s.grade == grade] for grade in ("like", "somewhat unlike", "unlike")}
    unlike = grades["somewhat unlike"] + grades["unlike"]
    served: dict[str, tuple[Sequence[Said], str]] = {
        "like, usual": (grades["like"], "usual"),
        **{way: (unlike if way.startswith("all") else grades["somewhat unlike"], way.split(", ")[1])
           for way in WAYS},
        "unlike, usual": (grades["unlike"], "usual"),
    }  # fmt: skip
    return {
        "judged": len(said),
        "subjects": len({s.subject for s in said}),
        "grades": {
            grade: {"share": len(part) / len(said), "subjects": len({s.subject for s in part}),
                    "dice": float(np.mean([s.dice for s in part])) if part else None}
            for grade, part in grades.items()
        },
        "ways": {way: counted(part, width) for way, (part, width) in served.items() if part},
    }  # fmt: skip


def counted(said: Sequence[Said], width: str) -> dict[str, Any]:
    """How often intervals and contours held, and what the rule says of it."""
    result: dict[str, Any] = {"judged": len(said), "subjects": len({s.subject for s in said})}
    kinds: dict[str, Callable[[str], bool]] = {
        "intervals": lambda name: name.split()[1] in ("dice", "volume", "border"),
        "contours": lambda name: name.split()[1] in ("outer", "inner", "joint"),
    }
    for kind, belongs in kinds.items():
        names = sorted({n for s in said for n in s.held[width] if belongs(n)})
        shares = {n: float(np.mean([s.held[width][n] for s in said if n in s.held[width]])) for n in names}
        if shares:
            mean, least = float(np.mean(list(shares.values()))), min(shares.values())
            result[kind] = {"each": shares, "mean": mean, "least": least,
                            "holds": least >= LEAST_EACH and mean >= LEAST_MEAN}  # fmt: skip
    return result


if __name__ == "__main__":
    sys.exit(main())
