"""The gate: a new version is served unless it may be worse than the best one by more than a margin."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from segtrust.calibrators import (
    MIN_SUBJECTS,
    CalibrationVoxels,
    Calibrator,
    draw_prediction,
    fit_distance_temperature,
)
from segtrust.calibrators.outcome import voxel_nll
from segtrust.calibrators.voxels import calibrated_probs, thinned
from segtrust.evaluate.answer import Answer
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan
from segtrust.metrics.bootstrap import UNDEFINED, Interval, Resamples, finite_or_none
from segtrust.regions import distance_to, in_band

__all__ = [
    "LEAST_SUBJECTS",
    "Changes",
    "GateScan",
    "GateVerdict",
    "decide",
    "dice_changes",
    "judge",
    "pair_scan",
]

LEAST_SUBJECTS = 8
"""With fewer patients nothing is said of a version that may be worse."""
DICE_MARGIN, NLL_MARGIN = 0.01, 0.02
"""How much mean Dice may fall, and by which share the NLL in the band may rise."""
CLEAR_LOSS, WORSE_SHARE = 0.05, 0.05
"""A patient whose Dice falls by more than the first gets clearly worse; fewer than the second may."""

_LEVEL = 0.90  # of two-sided intervals, so that each side alone is wrong in 5 %
_TAIL = (1 - _LEVEL) / 2


@dataclass(frozen=True)
class GateScan:
    """A calibration scan as two versions see it, the best published one first, the new one second.

    ``dice`` are means over structures, where a structure that neither mask nor label has counts as right:
    in a healthy scan it is 1 if nothing is predicted, and less by every structure that is. ``healthy`` says
    that the label has no structure. ``voxels`` are the same voxels in both, uncalibrated.
    """

    subject: str
    dice: tuple[float, float]
    voxels: tuple[CalibrationVoxels, CalibrationVoxels]
    healthy: bool = False


@dataclass(frozen=True)
class Changes:
    """What became of the patients: the change of mean Dice, and of the share who get clearly worse.

    ``low`` and ``high`` are one-sided 95 % limits of the mean; ``most_worse`` is that of the share.
    """

    mean: float
    low: float
    high: float
    subjects: int
    worse: int
    most_worse: float


@dataclass(frozen=True)
class GateVerdict:
    """What the gate found.

    ``passed`` is ``None`` if too few patients were there to prove it, and nothing speaks against it.
    ``is_better`` says whether the new version has both figures on its side, so that the next one is held
    against it. ``figures`` is JSON.
    """

    passed: bool | None
    is_better: bool
    reason: str
    figures: Mapping[str, Any]


def pair_scan(
    best: Predictor, new: Predictor, scan: Scan, labels: Tensor, *, subject: str, seed: int
) -> GateScan:
    """Run two versions on a scan and draw the same voxels of both.

    Args:
        best: the best published version; its calibrator plays no part.
        new: the new version, likewise.
        scan: a calibration scan.
        labels: its labels, ``(X, Y, Z)`` integers; of structures that overlap also ``(N, X, Y, Z)`` booleans.
        subject: whose scan it is.
        seed: of the draw.

    Returns:
        Dice and voxels of both; all voxels within 8 mm of either prediction are there.
    """
    (prepared, first, _), (_, second, _) = (predictor.sample(scan) for predictor in (best, new))
    spacing, rule = new.spacing_of(scan), new.spec.head.rule
    means = [first.mean, second.mean]
    answers = [Answer.of_probs(mean, rule) for mean in means]
    distances = [torch.from_numpy(distance_to(answer.foreground, spacing)) for answer in answers]
    n_structures = rule.n_structures(len(first.mean))
    truth = Answer.of_reference(labels, rule, n_structures)
    old_dice, new_dice = (_dice(answer.dice(truth, n_structures)) for answer in answers)
    old_voxels, new_voxels = (
        draw_prediction(
            mean,
            labels,
            spacing,
            subject=subject,
            seed=seed,
            valid=prepared.valid,
            near=torch.minimum(*distances),
            rule=rule,
        )
        for mean in means
    )
    return GateScan(subject, (old_dice, new_dice), (old_voxels, new_voxels), not bool(labels.any()))


def _dice(per_structure: NDArray[np.float64]) -> float:
    return float(np.where(np.isnan(per_structure), 1.0, per_structure).mean())


def judge(scans: Sequence[GateScan]) -> GateVerdict:
    """Decide whether a new version is at least as good as the best published one, up to the margins.

    Args:
        scans: calibration scans that neither version was trained on.

    Returns:
        The verdict. Passed: with 95 % confidence each, mean Dice fell by less than .01, the NLL in the band
        rose by less than 2 %, and fewer than 5 % of the patients get clearly worse, by more than .05 Dice or
        by what the new version alone predicts in a healthy scan. Every patient counts alike. Both versions
        get a calibrator that was fitted without the patient who is judged; the band is the union of both.

        Not passed: the version is shown to be worse; or, of 8 patients or more, a mean may be worse, or 5 %
        of the patients or more got clearly worse. ``None``, unproven: all that is between, such as no
        patient of fewer than 59, of whom so small a share cannot be shown.
    """
    subjects = sorted({scan.subject for scan in scans})
    if not subjects:
        return GateVerdict(None, False, f"{_needed(0, 0)}, got 0.", {"subjects": 0})
    of = {subject: [scan for scan in scans if scan.subject == subject] for subject in subjects}
    changes = dice_changes(
        [float(np.mean([s.dice[1] - s.dice[0] for s in of[subject]])) for subject in subjects],
        [any(s.healthy and s.dice[1] < s.dice[0] for s in of[subject]) for subject in subjects],
    )
    old, new = (_band_nll(scans, which, subjects) for which in (0, 1))
    growth = _growth([old[s] for s in subjects], [new[s] for s in subjects])
    n = len(subjects)
    figures = {
        "subjects": n,
        "scans": len(scans),
        "confidence": 1 - _TAIL,
        "dice": {"best": _mean(s.dice[0] for s in scans), "new": _mean(s.dice[1] for s in scans)},
        "dice_change": {
            "value": changes.mean,
            "low": finite_or_none(changes.low),
            "high": finite_or_none(changes.high),
            "margin": -DICE_MARGIN,
        },
        "clearly_worse": {
            "subjects": changes.worse,
            "at_most": changes.most_worse,
            "dice": -CLEAR_LOSS,
            "margin": WORSE_SHARE,
        },
        "healthy": _healthy(scans),
        "band_nll": {"best": _mean(old.values()), "new": _mean(new.values())},
        "band_nll_growth": {**growth.to_json(), "margin": NLL_MARGIN},
        "calibrated": "without the patient" if n >= MIN_SUBJECTS else "not",
    }
    low = _shown(changes.low, "+.4f")
    rise, most = (_shown(value, "+.1%") for value in (growth.value, growth.high))
    words = (
        f"Dice changed by {changes.mean:+.4f} (at least {low}, margin {-DICE_MARGIN}), {changes.worse} of "
        f"{n} patients got clearly worse (at most {changes.most_worse:.1%} of all would, margin "
        f"{WORSE_SHARE:.0%}), NLL in the band changed by {rise} (at most {most}, margin {NLL_MARGIN:+.0%})"
    )
    passed = decide(changes, growth)
    if passed is None:
        return GateVerdict(None, False, f"{_needed(n, changes.worse)}, got {n}. {words}.", figures)
    is_better = passed and changes.mean > 0 and growth.value < 0
    verdict = "not inferior to" if passed else "may be inferior to"
    return GateVerdict(passed, is_better, f"{verdict} the best published version: {words}.", figures)


def dice_changes(changes: Sequence[float], invented: Sequence[bool] = ()) -> Changes:
    """Limits of the mean change of Dice, and of the share of patients who get clearly worse.

    Args:
        changes: one per patient, new less old.
        invented: whether more is predicted in a healthy scan of the patient than before, which is clearly
            worse however many other scans and structures there are; nowhere unless given.

    Returns:
        Both with 95 % one-sided limits. The limit of the share is exact for whatever law; those of the mean
        are studentised and cannot know of losses that no patient had.

    Source:
        Clopper & Pearson 1934 for the share; :meth:`segtrust.metrics.Resamples.interval` for the mean.

    Example:
        >>> changes = dice_changes([0.0] * 59)
        >>> changes.worse, round(changes.most_worse, 4)
        (0, 0.0495)
    """
    values = np.asarray(changes, np.float64)
    n = len(values)
    clear = (values < -CLEAR_LOSS) | (np.asarray(invented, bool) if len(invented) else False)
    worse = int(np.count_nonzero(clear))
    mean = _limits(n, lambda times: times @ values / times.sum(axis=1))
    return Changes(float(values.mean()), mean.low, mean.high, n, worse, _most(worse, n))


def decide(changes: Changes, growth: Interval) -> bool | None:
    """Whether a version is not inferior; ``None`` if too few patients can prove it.

    Args:
        changes: of Dice.
        growth: of the NLL in the band.

    Returns:
        See :func:`judge`.
    """
    fine = changes.low > -DICE_MARGIN and growth.high < NLL_MARGIN
    if fine and changes.most_worse < WORSE_SHARE:
        return True
    if changes.high < -DICE_MARGIN or growth.low > NLL_MARGIN:
        return False
    undecided = fine and changes.worse < WORSE_SHARE * changes.subjects
    return None if undecided or changes.subjects < LEAST_SUBJECTS else False


def _limits(n: int, figure: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Interval:
    resamples, times = _patients(n)
    return resamples.interval(figure(times), level=_LEVEL)


@lru_cache(maxsize=8)
def _patients(n: int) -> tuple[Resamples, NDArray[np.float64]]:
    resamples = Resamples.of([f"{i:06d}" for i in range(n)], least=2)
    return resamples, resamples.times.astype(np.float64)


def _growth(old: Sequence[float], new: Sequence[float]) -> Interval:
    """How much the NLL grew, over the patients that have a band."""
    table = np.array([old, new], np.float64)
    table = table[:, np.isfinite(table).all(axis=0)]
    if not table.size or table[0].sum() <= 0:
        return Interval(math.nan, math.nan, math.nan, table.shape[1], UNDEFINED)
    return _limits(table.shape[1], lambda times: (times @ table[1]) / (times @ table[0]) - 1)


def _most(worse: int, n: int) -> float:
    """One-sided Clopper-Pearson limit."""
    return 1.0 if worse >= n else float(stats.beta.ppf(1 - _TAIL, worse + 1, n - worse))


def _needed(n: int, worse: int) -> str:
    least = n
    while _most(worse, least) >= WORSE_SHARE:
        least += 1
    return f"nothing is proven with fewer than {least} patients whose role is calibration"


def _healthy(scans: Sequence[GateScan]) -> dict[str, Any]:
    healthy = [scan for scan in scans if scan.healthy]
    found = {
        name: sum(scan.dice[which] < 1 for scan in healthy) for which, name in enumerate(("best", "new"))
    }
    return {"scans": len(healthy), "with_a_prediction": found}


def _band_nll(scans: Sequence[GateScan], which: int, subjects: Sequence[str]) -> dict[str, float]:
    """Patient -> NLL per voxel of the band, calibrated without the patient; NaN without a band."""
    means = {}
    for subject in subjects:
        rest = [scan.voxels[which] for scan in scans if scan.subject != subject]
        calibrator = fit_distance_temperature(thinned(rest), least=MIN_SUBJECTS - 1)
        nll = [_nll_in_band(calibrator, scan, which) for scan in scans if scan.subject == subject]
        voxels = sum(n for _, n in nll)
        means[subject] = sum(total for total, _ in nll) / voxels if voxels else math.nan
    return means


def _nll_in_band(calibrator: Calibrator, scan: GateScan, which: int) -> tuple[float, int]:
    voxels = scan.voxels[which]
    inside = in_band(np.minimum(*(v.distance for v in scan.voxels)))
    nll = voxel_nll(calibrated_probs(calibrator, voxels), voxels.labels)
    return float(nll[inside].sum()), int(inside.sum())


def _shown(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "not known"


def _mean(values: Iterable[float]) -> float | None:
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else None
