"""Does a score order scans by Dice under each shift? Measured inside ``train``, by members of other folds."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from segtrust._files import replace_text
from segtrust.calibrators import CANDIDATES, CalibrationVoxels, Calibrator, Identity
from segtrust.evaluate.cases import draw_scan
from segtrust.evaluate.ranking import SCORES, paired
from segtrust.experiments.crossfit import CALIBRATOR
from segtrust.experiments.folds import Cell, Folds
from segtrust.experiments.hard_scans import Hardship
from segtrust.experiments.trust import Condition
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import fingerprint
from segtrust.metrics.bootstrap import Resamples
from segtrust.models import ModelVersion
from segtrust.quality import ExpectedStructures, StructureTruth, fit_expected
from segtrust.quality.typical import Features
from segtrust.release.quality import quality_case
from segtrust.scores import ScanScores, StructureScores
from segtrust.training.cases import read_labelled, read_subjects

__all__ = ["FoldRanking", "ScoredScan", "completed", "expected_by_fold", "within_folds"]

Say = Callable[[str], None]
Floats = NDArray[np.float64]
_SCHEMA = 3
_DRAWS = 1000
EVERYBODY = slice(None)


@dataclass(frozen=True)
class ScoredScan:
    """One held-out scan under one condition: Dice of each structure, and the scores of its prediction.

    ``features`` and ``truth``: what a quality part is fitted to, as in :class:`segtrust.quality.QualityCase`.
    """

    scan_id: str
    subject: str
    fold: int
    dice: NDArray[np.float64]
    scores: ScanScores
    features: Features = field(default_factory=dict)
    truth: Mapping[int, StructureTruth] = field(default_factory=dict)


class FoldRanking:
    """Predicts one scan of every held-out subject; stopped at any time, it goes on where it was.

    Args:
        cell: what the members are.
        folds: which scans are held out when.
        members: fold -> weights that never saw it; calibrators of a fold are fitted to the other folds.
        seed: of the shifts.
        cache: folder for what was measured of each scan.
        say: called with one plain line per scan.
        among: calibrate each fold by its own held-out scans, as a site does, not by those of other folds.
    """

    def __init__(
        self,
        cell: Cell,
        folds: Folds,
        members: Mapping[int, Sequence[Path]],
        *,
        seed: int,
        cache: Path,
        say: Say = lambda _line: None,
        among: bool = False,
    ) -> None:
        self.among = among
        self.spec, self.folds, self.seed, self.cache, self.say = cell.spec, folds, seed, cache, say
        self._subjects = read_subjects(folds.data)
        self._predictors = {fold: self._predictor(weights) for fold, weights in members.items()}
        cache.mkdir(parents=True, exist_ok=True)

    def scans(self, condition: Condition | Hardship, rows: slice = EVERYBODY) -> list[ScoredScan]:
        """Measure one scan of every held-out subject.

        Args:
            condition: clean, a shift, or what makes a scan hard.
            rows: which of the scans of each fold, in order of their ids; all unless given.

        Returns:
            Scans in order of fold and id; of a subject the first by id.
        """
        scored = []
        for fold in self._predictors:
            for scan_id in self._one_per_subject(fold)[rows]:
                path = self._path(fold, scan_id, str(condition))
                if not path.is_file():
                    scan = self._measure(fold, scan_id, condition)
                    replace_text(path, json.dumps(_to_json(scan), allow_nan=False))
                    self.say(f"{condition} fold {fold} {scan_id} Dice {np.nanmean(scan.dice):.3f}")
                scored.append(_from_json(json.loads(path.read_text(encoding="utf-8"))))
        return scored

    @cached_property
    def calibrators(self) -> dict[int, Calibrator]:
        """Fold -> calibrator fitted to the held-out scans of the other folds, or ``among`` its own."""
        drawn: dict[int, list[CalibrationVoxels]] = {}
        for fold, predictor in self._predictors.items():
            for index, scan_id in enumerate(self._one_per_subject(fold)):
                scan, labels = read_labelled(self.folds.data, scan_id, self.spec)
                subject = self._subject(scan_id)
                drawn.setdefault(fold, []).append(
                    draw_scan(predictor, scan, labels, subject=subject, seed=index)
                )
            self.say(f"drew voxels of fold {fold}")
        return {
            fold: CANDIDATES[CALIBRATOR](
                [voxels for f in drawn if (f == fold) is self.among for voxels in drawn[f]]
            )
            for fold in drawn
        }

    def _predictor(self, weights: Sequence[Path]) -> Predictor:
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()
        version = ModelVersion(Path(), "fold", self.spec, tuple(weights), {}, {}, digest)
        return Predictor(version, calibrator=Identity())

    def _subject(self, scan_id: str) -> str:
        return self._subjects.get(scan_id, scan_id)

    def _one_per_subject(self, fold: int) -> list[str]:
        first: dict[str, str] = {}
        for scan_id in self.folds.held_out(fold):
            first.setdefault(self._subject(scan_id), scan_id)
        return sorted(first.values())

    def _path(self, fold: int, scan_id: str, condition: str) -> Path:
        digests = [predictor.version.digest for predictor in self._predictors.values()]
        stamp = fingerprint(self.folds.data / "images" / f"{scan_id}.nii.gz")
        parts = [_SCHEMA, self.spec.to_json(), digests, fold, stamp, condition, self.seed]
        parts += ["among"] if self.among else []
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
        return self.cache / f"{condition}-{scan_id}-{digest}.json"

    def _measure(self, fold: int, scan_id: str, condition: Condition | Hardship) -> ScoredScan:
        scan, labels = read_labelled(self.folds.data, scan_id, self.spec)
        judge = self._predictors[fold]
        judge.calibrator = self.calibrators[fold]
        if isinstance(condition, Hardship):
            scan, labels = condition.of(scan, labels)
            judge = condition.judge(judge)
        else:
            scan = condition.of(scan, scan_id, self.seed)
        prepared, statistics, _ = judge.sample(scan)
        prediction = judge.conclude(scan, prepared, statistics)
        subject = self._subject(scan_id)
        case = quality_case(
            prediction, prepared.image.numpy(), labels.numpy(), subject=subject, ordinary=False
        )
        dice = np.array([case.truth[label.value].dice for label in self.spec.labels])
        return ScoredScan(scan_id, subject, fold, dice, case.scores, case.features, case.truth)


def expected_by_fold(clean: Sequence[ScoredScan]) -> dict[int, ExpectedStructures | None]:
    """What members of each fold usually find, after the clean scans of the other folds.

    Args:
        clean: one scan of each subject, all of one unit of size (millimetres, or none).

    Returns:
        Fold -> expected structures; ``None`` where the other folds have too few subjects.
    """
    in_mm = any(truth.volume_ml is not None for scan in clean for truth in scan.truth.values())
    return {
        fold: fit_expected(
            [scan.scores.details for scan in clean if scan.fold != fold], "mm3" if in_mm else "voxels"
        )
        for fold in sorted({scan.fold for scan in clean})
    }


def completed(
    scans: Sequence[ScoredScan], expected: Mapping[int, ExpectedStructures | None]
) -> list[ScoredScan]:
    """The same scans; in their doubt counts what is missing.

    Args:
        scans: of any condition.
        expected: of :func:`expected_by_fold`.

    Returns:
        Scans with another ``doubt``.
    """

    def complete(scan: ScoredScan) -> ScoredScan:
        usual = expected.get(scan.fold)
        if usual is None:
            return scan
        doubt = usual.doubt(scan.scores.details)
        return replace(scan, scores=replace(scan.scores, doubt=doubt))

    return [complete(scan) for scan in scans]


def within_folds(conditions: Mapping[str, Sequence[ScoredScan]]) -> dict[str, Any]:
    """Spearman correlation of every score with Dice inside each fold, mean over folds.

    Scores of one ensemble are compared with each other only, as a server would do it.

    Args:
        conditions: name -> scans, one per subject, the same ones in the same order for every condition.

    Returns:
        ``{"conditions": {name: {"dice", "scans": {score: n}, "spearman": {score: {value, low, high,
        subjects, interval}}}}, "mean": {score: ...}}``: ``scans`` have the score, ``mean`` is the mean
        over the conditions, of which each counts the same. 95 %, studentised, subjects drawn inside each
        fold, 1000 draws, seed 0.
    """
    first = next(iter(conditions.values()))
    folds = [scan.fold for scan in first]
    resamples = Resamples.of([scan.subject for scan in first], strata=folds, draws=_DRAWS)
    figures = {
        name: {score: _spearman(scans, score, folds, resamples) for score in SCORES}
        for name, scans in conditions.items()
    }

    def interval(figure: Floats) -> dict[str, Any]:
        return resamples.interval(figure, kind="correlation").to_json()

    return {
        "conditions": {
            name: {
                "dice": float(np.nanmean([np.nanmean(scan.dice) for scan in scans])),
                "scans": {s: sum(getattr(scan.scores, s) is not None for scan in scans) for s in SCORES},
                "spearman": {score: interval(figures[name][score]) for score in SCORES},
            }
            for name, scans in conditions.items()
        },
        "mean": {
            score: interval(_mean(np.array([figure[score] for figure in figures.values()])))
            for score in SCORES
        },
    }


def _spearman(scans: Sequence[ScoredScan], score: str, folds: Sequence[int], resamples: Resamples) -> Floats:
    """Mean over folds, one number per resample; folds where the correlation is not defined are left out."""
    values, dice = paired([getattr(s.scores, score) for s in scans], [s.dice for s in scans], "dice")
    values, dice, where = np.append(values, np.nan), np.append(dice, np.nan), np.asarray(folds)
    nobody, found = len(scans), []
    for fold in np.unique(where):
        own = np.flatnonzero(where == fold)
        rows = np.full((len(resamples.times), len(own)), nobody)
        for row, times in zip(rows, resamples.times[:, own], strict=True):
            picked = np.repeat(own, times)
            row[: len(picked)] = picked
        defined = np.isfinite(values[rows]) & np.isfinite(dice[rows])
        one, two = (np.where(defined, v[rows], np.inf) for v in (values, dice))  # ranked behind all others
        found.append(_row_correlation(one, two, defined))
    return _mean(np.array(found))


def _row_correlation(a: Floats, b: Floats, usable: NDArray[np.bool_]) -> Floats:
    """Spearman correlation of each row over its known entries; NaN with fewer than three or no spread."""
    count = usable.sum(axis=1)

    def centred(values: Floats) -> Floats:
        ranks = np.where(usable, rankdata(values, axis=1), 0)
        mean = ranks.sum(axis=1) / np.maximum(count, 1)
        return np.where(usable, ranks - mean[:, None], 0)

    one, two = centred(a), centred(b)
    spread = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    defined = (count >= 3) & (spread > 0)
    return np.divide((one * two).sum(axis=1), spread, out=np.full(len(a), np.nan), where=defined)


def _mean(figures: Floats) -> Floats:
    """Mean over the first axis of what is defined."""
    defined = np.isfinite(figures)
    total, count = np.where(defined, figures, 0).sum(axis=0), defined.sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _to_json(scan: ScoredScan) -> dict[str, Any]:
    dice = [value if np.isfinite(value) else None for value in scan.dice.tolist()]
    structures = {str(value): score for value, score in scan.scores.structures.items()}
    details = {str(value): vars(scores) for value, scores in scan.scores.details.items()}
    scores = {**scan.scores.to_json(), "structures": structures, "details": details}
    return {
        **vars(scan),
        "dice": dice,
        "scores": scores,
        "truth": {str(value): truth.to_json() for value, truth in scan.truth.items()},
    }


def _from_json(document: Mapping[str, Any]) -> ScoredScan:
    scores = document["scores"]
    structures = {int(value): score for value, score in scores["structures"].items()}
    details = {int(value): StructureScores(**part) for value, part in scores.get("details", {}).items()}
    return ScoredScan(
        **{
            **document,
            "dice": np.array(document["dice"], dtype=np.float64),
            "scores": ScanScores(**{**scores, "structures": structures, "details": details}),
            "features": {name: tuple(values) for name, values in document["features"].items()},
            "truth": {int(v): StructureTruth.from_json(part) for v, part in document["truth"].items()},
        }
    )
