"""Quality and unlike scans under the shift suite, by ensembles that never saw the scans."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust._files import replace_text
from segtrust.calibrators import CANDIDATES, Calibrator, Identity
from segtrust.evaluate.cases import draw_scan
from segtrust.experiments.crossfit import CALIBRATOR
from segtrust.experiments.folds import Folds
from segtrust.experiments.trust import CLEAN, Condition, shift_conditions
from segtrust.inference.predictor import Predictor
from segtrust.metrics.bootstrap import cluster_bootstrap
from segtrust.metrics.overlap import dice_per_structure
from segtrust.models import ModelSpec, ModelVersion
from segtrust.quality import fit_typical_scans, logit_dice, scan_features
from segtrust.scores import binary_segment_entropy
from segtrust.training.cases import read_labelled, read_subjects

__all__ = ["DETECTORS", "Shifts", "auroc", "correlation_within", "shift_figures"]

Row = dict[str, Any]
SCHEMA = 1
DETECTORS = {
    "segment entropy (paper)": "segment_entropy",
    "entropy within 5 mm": "band_entropy",
    "disagreement of members": "disagreement",
    "brightness": "brightness",
    "sharpness": "sharpness",
    "ensemble": "ensemble",
    "combined (ours)": "combined",
}
"""Name on the page -> name of a row's number; high means unlike."""


@dataclass(frozen=True)
class Shifts:
    """Predicts the first scan of every held-out subject; what was measured is kept in ``cache``."""

    spec: ModelSpec
    folds: Folds
    members: Mapping[str, Sequence[Path]]
    seed: int
    cache: Path
    say: Callable[[str], None] = lambda _line: None

    def rows(self, condition: Condition) -> list[Row]:
        """One row per scan: fold, subject, Dice, entropies, features."""
        self.cache.mkdir(parents=True, exist_ok=True)
        found = []
        for fold in self.members:
            for scan_id in self._first_of_subjects(fold):
                path = self.cache / f"{condition}-{scan_id}-{self._digest}.json"
                if not path.is_file():
                    replace_text(path, json.dumps(self._measure(fold, scan_id, condition), allow_nan=False))
                    self.say(f"{condition} fold {fold} {scan_id}")
                found.append(json.loads(path.read_text(encoding="utf-8")))
        return found

    @cached_property
    def _digest(self) -> str:
        weights = [hashlib.sha256(p.read_bytes()).hexdigest() for ps in self.members.values() for p in ps]
        text = json.dumps([SCHEMA, self.spec.to_json(), weights, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _first_of_subjects(self, fold: str) -> list[str]:
        subjects, first = read_subjects(self.folds.data), {}
        for scan_id in self.folds.held_out(int(fold)):
            first.setdefault(subjects.get(scan_id, scan_id), scan_id)
        return sorted(first.values())

    def _predictor(self, fold: str, calibrator: Calibrator) -> Predictor:
        version = ModelVersion(Path(), "fold", self.spec, tuple(self.members[fold]), {}, {}, self._digest)
        return Predictor(version, calibrator=calibrator)

    @cached_property
    def _predictors(self) -> dict[str, Predictor]:
        """Fold -> ensemble behind the calibrator that was fitted to the other folds."""
        path = self.cache / f"calibrators-{self._digest}.json"
        drawn: dict[str, list[Any]] = {}
        for fold in self.members:
            raw = self._predictor(fold, Identity())
            for index, scan_id in enumerate(self._first_of_subjects(fold)):
                scan, labels = read_labelled(self.folds.data, scan_id, self.spec)
                drawn.setdefault(fold, []).append(draw_scan(raw, scan, labels, subject=scan_id, seed=index))
            self.say(f"drew voxels of fold {fold}")
        fitted = {f: CANDIDATES[CALIBRATOR]([v for g in drawn if g != f for v in drawn[g]]) for f in drawn}
        replace_text(path, json.dumps({f: c.to_json() for f, c in fitted.items()}))
        return {fold: self._predictor(fold, calibrator) for fold, calibrator in fitted.items()}

    def _measure(self, fold: str, scan_id: str, condition: Condition) -> Row:
        scan, labels = read_labelled(self.folds.data, scan_id, self.spec)
        scan = condition.of(scan, scan_id, self.seed)
        predictor = self._predictors[fold]
        prepared, statistics, _ = predictor.sample(scan)
        prediction = predictor.conclude(scan, prepared, statistics)
        entropies = [
            binary_segment_entropy(statistics.mean[k].numpy(), prediction.mask == k)
            for k in range(1, len(self.spec.labels) + 1)
        ]
        dice = dice_per_structure(prediction.mask, labels.numpy(), len(self.spec.labels))
        scores, known = prediction.scores, [e for e in entropies if e is not None]
        return {
            "scan": scan_id,
            "fold": fold,
            "subject": read_subjects(self.folds.data).get(scan_id, scan_id),
            "dice": [None if np.isnan(d) else float(d) for d in dice],
            "entropies": entropies,
            "segment_entropy": sum(known) / len(known) if known else None,
            "band_entropy": scores.entropy,
            "disagreement": None if scores.pairwise_dice is None else 1 - scores.pairwise_dice,
            "features": scan_features(prepared.image.numpy(), scores),
        }


def shift_figures(measured: Shifts, strengths: Sequence[int], kinds: Sequence[str] = ()) -> dict[str, Any]:
    """Correlations and detection, each condition apart.

    Args:
        measured: where rows come from.
        strengths: of the shifts.
        kinds: names of shifts; all of the suite unless given.

    Returns:
        Per condition mean Dice, the correlation of segment entropy with logit Dice within folds, and the
        AUROC of every detector against the same subjects' clean scans.
    """
    clean = measured.rows(CLEAN)
    detected = with_p_values(clean, clean)
    conditions = [
        c for c in shift_conditions() if c.strength in strengths and (not kinds or c.shift in kinds)
    ]
    rows = {str(c): measured.rows(c) for c in sorted(conditions, key=lambda c: -c.strength)}
    return {
        "subjects": len(clean),
        "clean": {"dice": mean_dice(clean), "correlation": correlation_within(clean)},
        "conditions": {
            str(c): {
                "dice": mean_dice(rows[str(c)]),
                "correlation": correlation_within(rows[str(c)]),
                "auroc": auroc_of_detectors(detected, with_p_values(rows[str(c)], clean)),
            }
            for c in conditions
        },
        "shifted_pooled": correlation_within([r for part in rows.values() for r in part]),
    }


def mean_dice(rows: Sequence[Row]) -> float:
    """Mean over scans of the mean over structures."""
    return float(np.nanmean([np.nanmean(np.array(r["dice"], dtype=float)) for r in rows]))


def correlation_within(rows: Sequence[Row]) -> dict[str, Any]:
    """Pearson of segment entropy and logit of mean Dice, mean over folds, with an interval over subjects."""
    known = [r for r in rows if r["segment_entropy"] is not None]
    x = np.array([r["segment_entropy"] for r in known])
    y = np.array([logit_dice(float(np.nanmean(np.array(r["dice"], dtype=float)))) for r in known])
    folds = np.array([r["fold"] for r in known])

    def figure(drawn: Sequence[int]) -> float:
        picked = np.asarray(drawn)
        parts = [picked[folds[picked] == fold] for fold in np.unique(folds)]
        found = [np.corrcoef(x[p], y[p])[0, 1] for p in parts if len(set(p.tolist())) > 2]
        return float(np.mean(found)) if found else float("nan")

    interval = cluster_bootstrap([r["subject"] for r in known], figure, kind="correlation")
    return {**interval.to_json(), "scans": len(known)}


def with_p_values(rows: Sequence[Row], clean: Sequence[Row]) -> list[Row]:
    """Rows with how unlike they are to the clean scans of the other folds: one minus a p-value."""
    reference = {
        fold: fit_typical_scans([_features(r) for r in clean if r["fold"] != fold])
        for fold in {r["fold"] for r in clean}
    }
    found = []
    for row in rows:
        typical = reference[row["fold"]]
        said = None if typical is None else typical.compare(_features(row))
        # a scan in which a detector is not defined is as unlike as can be
        more = {"combined": 1.0} | dict.fromkeys(("brightness", "sharpness", "ensemble"), 1.0)
        if said is not None:
            more = {"combined": 1 - said.p_value} | {n: 1 - p for n, p in said.detectors.items()}
        found.append({**row, **more})
    return found


def _features(row: Row) -> dict[str, tuple[float, ...]]:
    return {name: tuple(values) for name, values in row["features"].items()}


def auroc_of_detectors(clean: Sequence[Row], shifted: Sequence[Row]) -> dict[str, Any]:
    """Each detector's chance to put a shifted scan above a clean one, mean over folds."""
    folds, subjects = np.array([r["fold"] for r in clean]), [r["subject"] for r in clean]
    found = {}
    for name, key in DETECTORS.items():
        one, two = (
            np.array([np.inf if r[key] is None else r[key] for r in rows]) for rows in (clean, shifted)
        )

        def figure(drawn: Sequence[int], one: Any = one, two: Any = two) -> float:  # noqa: ANN401
            picked = np.asarray(drawn)
            parts = [picked[folds[picked] == fold] for fold in np.unique(folds)]
            return float(np.mean([auroc(one[p], two[p]) for p in parts if len(p)]))

        found[name] = cluster_bootstrap(subjects, figure, kind="share").to_json()
    return found


def auroc(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Chance that one of ``high`` is above one of ``low``; ties count half."""
    above = (high[:, None] > low[None]).mean()
    return float(above + (high[:, None] == low[None]).mean() / 2)
