"""The gate: a new version is served unless it may be worse than the best one by more than a margin."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segtrust.calibrators import (
    MIN_SUBJECTS,
    CalibrationVoxels,
    Calibrator,
    draw_prediction,
    fit_distance_temperature,
)
from segtrust.calibrators.voxels import CLAMP, calibrated_probs, thinned
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan
from segtrust.metrics.bootstrap import cluster_bootstrap
from segtrust.metrics.overlap import dice_per_structure
from segtrust.regions import distance_to, in_band

__all__ = [
    "LEAST_SUBJECTS",
    "GateScan",
    "GateVerdict",
    "judge",
    "pair_scan",
]

LEAST_SUBJECTS = 8
"""With fewer patients nothing is proven."""
DICE_MARGIN, NLL_MARGIN = 0.01, 0.02
"""How much mean Dice may fall, and by which share the NLL in the band may rise."""

_LEVEL = 0.90


@dataclass(frozen=True)
class GateScan:
    """A calibration scan as two versions see it, the best published one first, the new one second.

    ``dice`` are means over structures; ``voxels`` are the same voxels in both, uncalibrated.
    """

    subject: str
    dice: tuple[float, float]
    voxels: tuple[CalibrationVoxels, CalibrationVoxels]


@dataclass(frozen=True)
class GateVerdict:
    """What the gate found.

    ``passed`` is ``None`` if too few patients were there to say. ``is_better`` says whether the new version
    has both figures on its side, so that the next one is held against it. ``figures`` is JSON.
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
        labels: its labels, ``(X, Y, Z)`` integers.
        subject: whose scan it is.
        seed: of the draw.

    Returns:
        Dice and voxels of both; all voxels within 8 mm of either prediction are there.
    """
    (prepared, first, _), (_, second, _) = (predictor.sample(scan) for predictor in (best, new))
    masks = [statistics.mean.argmax(dim=0).numpy() for statistics in (first, second)]
    spacing = new.spacing_of(scan)
    distances = [torch.from_numpy(distance_to(mask > 0, spacing)) for mask in masks]
    n_structures = first.mean.shape[0] - 1
    old_dice, new_dice = (
        float(np.nanmean(dice_per_structure(mask, labels.numpy(), n_structures))) for mask in masks
    )
    old_voxels, new_voxels = (
        draw_prediction(
            statistics.mean,
            labels,
            spacing,
            subject=subject,
            seed=seed,
            valid=prepared.valid,
            near=torch.minimum(*distances),
        )
        for statistics in (first, second)
    )
    return GateScan(subject, (old_dice, new_dice), (old_voxels, new_voxels))


def judge(scans: Sequence[GateScan]) -> GateVerdict:
    """Decide whether a new version is at least as good as the best published one, up to the margins.

    Args:
        scans: calibration scans that neither version was trained on.

    Returns:
        The verdict. Passed: with 95 % confidence mean Dice fell by less than .01 and the NLL in the band rose
        by less than 2 %. Every patient counts alike. Both versions get a calibrator that was fitted without
        the patient who is judged; the band is the union of both.

    Note:
        Non-inferiority by the one-sided limits of a paired bootstrap over patients.
    """
    subjects = sorted({scan.subject for scan in scans})
    if not subjects:
        return GateVerdict(None, False, _too_few(0), {"subjects": 0})
    dice = {
        subject: float(np.mean([s.dice[1] - s.dice[0] for s in scans if s.subject == subject]))
        for subject in subjects
    }
    old, new = (_band_nll(scans, which, subjects) for which in (0, 1))
    rise = [
        cluster_bootstrap(subjects, statistic, level=_LEVEL)
        for statistic in (
            lambda rows: float(np.mean([dice[subjects[i]] for i in rows])),
            lambda rows: _ratio([new[subjects[i]] for i in rows], [old[subjects[i]] for i in rows]),
        )
    ]
    change, growth = rise
    figures = {
        "subjects": len(subjects),
        "scans": len(scans),
        "confidence": (1 + _LEVEL) / 2,
        "dice": {"best": _mean(s.dice[0] for s in scans), "new": _mean(s.dice[1] for s in scans)},
        "dice_change": {**change.to_json(), "margin": -DICE_MARGIN},
        "band_nll": {"best": _mean(old.values()), "new": _mean(new.values())},
        "band_nll_growth": {**growth.to_json(), "margin": NLL_MARGIN},
        "calibrated": "without the patient" if len(subjects) >= MIN_SUBJECTS else "not",
    }
    change_words = (
        f"Dice changed by {change.value:+.4f} (at least {change.low:+.4f}, margin {-DICE_MARGIN}), "
        f"NLL in the band by {growth.value:+.1%} (at most {growth.high:+.1%}, margin {NLL_MARGIN:+.0%}) "
        f"on {len(subjects)} patients"
    )
    is_better = change.value > 0 and growth.value < 0
    if len(subjects) < LEAST_SUBJECTS:
        return GateVerdict(None, False, f"{_too_few(len(subjects))} {change_words}.", figures)
    passed = change.low > -DICE_MARGIN and growth.high < NLL_MARGIN
    word = "not inferior to" if passed else "may be inferior to"
    return GateVerdict(
        passed, passed and is_better, f"{word} the best published version: {change_words}.", figures
    )


def _too_few(subjects: int) -> str:
    needed = f"nothing is proven with fewer than {LEAST_SUBJECTS} patients whose role is calibration"
    return f"{needed}, got {subjects}."


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
    probs = calibrated_probs(calibrator, voxels).numpy()
    chosen = probs[voxels.labels, np.arange(len(voxels.labels))][inside]
    return float(-np.log(np.maximum(chosen, CLAMP)).sum()), int(inside.sum())


def _ratio(new: Sequence[float], old: Sequence[float]) -> float:
    total = float(np.nansum(old))
    return float(np.nansum(new)) / total - 1 if total > 0 else math.nan


def _mean(values: Iterable[float]) -> float | None:
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else None
