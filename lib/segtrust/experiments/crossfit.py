"""Judging the cells of an experiment: each fold by members, and by calibrators, that have not seen it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from segtrust.calibrators import (
    CANDIDATES,
    CalibrationVoxels,
    Calibrator,
    calibrate_scan,
    draw_prediction,
)
from segtrust.decisions import labels_from_probs
from segtrust.ensemble import RunningTotals, SampleStatistics, unit_map
from segtrust.evaluate.cases import CaseRecord, evaluate_case
from segtrust.evaluate.probabilities import KeptSource
from segtrust.experiments.folds import Cell, Experiment, Folds
from segtrust.inference.scan import PreparedScan, Scan, assumed_spacing, prepare
from segtrust.inference.sources import FlipSource
from segtrust.inference.windows import slide
from segtrust.regions import distance_to, within
from segtrust.scores import ScanScores, mean_in, score_scan
from segtrust.training.cache import train_members
from segtrust.training.cases import read_labelled, read_subjects
from segtrust.uncertainty import entropy

__all__ = ["CALIBRATOR", "CrossFit", "HeldOut", "Judged", "system_name"]

CALIBRATOR = "distance_temperature"
"""Kind of calibrator that every system gets."""

Say = Callable[[str], None]
_SHARE = 1 / 8


def system_name(cell: str, size: int, calibrator: str | None = None) -> str:
    """Name of what is compared: so many members of a cell, raw or behind a kind of calibrator.

    Args:
        cell: name of the cell.
        size: number of members.
        calibrator: kind of calibrator; ``None`` for the raw mean.

    Returns:
        The name.

    Example:
        >>> system_name("ce, batch", 5, "pooled_temperature")
        'ce, batch | 5 | pooled_temperature'
    """
    return f"{cell} | {size} | {calibrator or 'raw'}"


@dataclass(frozen=True)
class Judged:
    """One held-out scan: its fold, totals of every system, and entropy scores of the scored system.

    ``entropies``: ``mean <d> mm`` is the default score with another distance; ``sum <d> mm`` the entropy
    summed within the distance of a structure over the structure's own voxels, mean over structures.
    """

    fold: int
    record: CaseRecord
    entropies: Mapping[str, float | None]


@dataclass(frozen=True)
class HeldOut:
    """A prediction for a scan that neither members nor calibrator have seen, on the scan's own grid.

    ``labels`` ``(X, Y, Z)`` are the reference, ``probs`` ``(C, X, Y, Z)`` are calibrated; ``valid``: voxels
    that are no padding; ``statistics``: totals of the uncalibrated members.
    """

    fold: int
    id: str
    subject: str
    spacing: tuple[float, float, float] | None
    labels: NDArray[np.integer[Any]]
    mask: NDArray[np.uint8]
    probs: Tensor
    valid: NDArray[np.bool_]
    statistics: SampleStatistics


@dataclass(frozen=True)
class _Case:
    id: str
    subject: str
    scan: Scan
    labels: Tensor
    prepared: PreparedScan
    assumed: tuple[float, float, float] | None


@dataclass(frozen=True)
class CrossFit:
    """Judges an experiment whose members are trained.

    Args:
        experiment: the cells; they differ in network, patch and budget alone.
        folds: which scans are held out when.
        members: (cell, fold) -> weights.
        cache: folder for probabilities.
        say: called with one plain line per step.
    """

    experiment: Experiment
    folds: Folds
    members: Mapping[tuple[str, int], Sequence[Path]]
    cache: Path
    say: Say = lambda _line: None

    @classmethod
    def of_cell(  # what is judged, and where it is kept
        cls, experiment: Experiment, folds: Folds, cell: str, size: int, runs: Path, say: Say
    ) -> Self:
        """Take so many members of one cell from a folder of runs; train those that are not there."""
        chosen = next(c for c in experiment.cells if c.name == cell)
        members = {
            (cell, fold): train_members(chosen.runs(folds, fold, size), runs / "members", say=say)
            for fold in experiment.folds
        }
        alone = replace(experiment, cells=(chosen,), sizes=(size,), members=size, scored=None)
        return cls(alone, folds, members, runs / "probabilities", say)

    def judged(self) -> Iterator[Judged]:
        """Measure every held-out scan; all systems of a scan share one band."""
        calibrators = {cell.name: self._calibrators(cell) for cell in self.experiment.cells}
        for fold in self.experiment.folds:
            for scan_id in self.folds.held_out(fold):
                yield self._judge(self._open(scan_id), fold, {n: by[fold] for n, by in calibrators.items()})
                self.say(f"judged fold {fold} {scan_id}")

    def predictions(self) -> Iterator[HeldOut]:
        """Predict every held-out scan by the members of the one cell, behind :data:`CALIBRATOR`."""
        (cell,), (size,) = self.experiment.cells, self.experiment.sizes
        calibrators = self._calibrators(cell)
        for fold in self.experiment.folds:
            for scan_id in self.folds.held_out(fold):
                case = self._open(scan_id)
                ((_, statistics),) = self._statistics(case, cell, fold)
                mean = statistics.mean
                mask, calibrator = _mask(mean), calibrators[fold][size, CALIBRATOR]
                yield HeldOut(
                    fold,
                    case.id,
                    case.subject,
                    case.scan.spacing,
                    case.labels.numpy(),
                    mask,
                    calibrate_scan(calibrator, mean, mask, case.assumed),
                    case.prepared.valid,
                    statistics,
                )

    def views(self, scan: HeldOut, axes: tuple[int, ...]) -> SampleStatistics:
        """Totals over the mirrored views of a held-out scan by the first member of the one cell."""
        (cell,) = self.experiment.cells
        case = self._open(scan.id)
        stored = KeptSource(cell.spec, self.members[cell.name, scan.fold][:1], self.cache)
        totals = RunningTotals()
        mirrored = FlipSource(
            nn.Identity(), axes
        )  # stands in for the member, which `stored` loads if it must
        for view in mirrored.samples(
            case.prepared.image, lambda _, image: next(stored.samples(image, partial(slide, spec=cell.spec)))
        ):
            totals.add(case.prepared.to_native(view, background=0))
        return totals.finish()

    def kinds(self, cell: str, size: int) -> tuple[str, ...]:
        """Kinds of calibrators that a system gets: all for the system that is scored, else one."""
        return tuple(CANDIDATES) if self.experiment.is_scored(cell, size) else (CALIBRATOR,)

    def _open(self, scan_id: str) -> _Case:
        spec, data = self.experiment.cells[0].spec, self.folds.data
        scan, labels = read_labelled(data, scan_id, spec)
        subject = read_subjects(data).get(scan_id, scan_id)
        return _Case(scan_id, subject, scan, labels, prepare(scan, spec), assumed_spacing(scan, spec))

    def _statistics(self, case: _Case, cell: Cell, fold: int) -> Iterator[tuple[int, SampleStatistics]]:
        """Totals of the first members, for every size of the experiment."""
        source = KeptSource(cell.spec, self.members[cell.name, fold], self.cache)
        totals = RunningTotals()
        for sample in source.samples(case.prepared.image, partial(slide, spec=cell.spec)):
            totals.add(case.prepared.to_native(sample, background=0))
            if totals.n_samples in self.experiment.sizes:
                yield totals.n_samples, totals.finish()

    def _calibrators(self, cell: Cell) -> dict[int, dict[tuple[int, str], Calibrator]]:
        """Fold -> (size, kind) -> calibrator fitted to the other folds' held-out scans."""
        drawn: dict[tuple[int, int], list[CalibrationVoxels]] = {}
        for fold in self.experiment.folds:
            for index, scan_id in enumerate(self.folds.held_out(fold)):
                case = self._open(scan_id)
                for size, statistics in self._statistics(case, cell, fold):
                    drawn.setdefault((size, fold), []).append(_draw(case, statistics.mean, seed=index))
            self.say(f"drew voxels of {cell.name}, fold {fold}")
        wanted = [(size, kind) for size in self.experiment.sizes for kind in self.kinds(cell.name, size)]
        return {
            fold: {
                (size, kind): CANDIDATES[kind](
                    [voxels for f in self.experiment.folds if f != fold for voxels in drawn[size, f]]
                )
                for size, kind in wanted
            }
            for fold in self.experiment.folds
        }

    def _judge(
        self, case: _Case, fold: int, calibrators: Mapping[str, Mapping[tuple[int, str], Calibrator]]
    ) -> Judged:
        systems: dict[str, tuple[Tensor, Calibrator | None]] = {}
        scores: ScanScores | None = None
        entropies: dict[str, float | None] = {}
        first = self.experiment.cells[0].name
        main = system_name(first, self.experiment.sizes[0])
        for cell in self.experiment.cells:
            for size, statistics in self._statistics(case, cell, fold):
                systems[system_name(cell.name, size)] = (statistics.mean, None)
                for kind in self.kinds(cell.name, size):
                    calibrator = calibrators[cell.name][size, kind]
                    systems[system_name(cell.name, size, kind)] = (statistics.mean, calibrator)
                if self.experiment.is_scored(cell.name, size):
                    main = system_name(cell.name, size, CALIBRATOR)
                    calibrator = calibrators[cell.name][size, CALIBRATOR]
                    scores, entropies = _scored(
                        case, statistics, calibrator, cell, self.experiment.distances_mm
                    )
        valid, spacing = case.prepared.valid, case.scan.spacing
        record = evaluate_case(
            case.id,
            case.subject,
            systems,
            case.labels,
            spacing,
            valid,
            main=main,
            scores=scores,
            assumed=case.assumed,
        )
        return Judged(fold, record, entropies)


def _mask(mean: Tensor) -> NDArray[np.uint8]:
    return labels_from_probs(mean).numpy().astype(np.uint8, copy=False)


def _draw(case: _Case, mean: Tensor, *, seed: int) -> CalibrationVoxels:
    """One in eight of the voxels that a release would fit to: dozens of scans make up for it."""
    drawn = draw_prediction(
        mean, case.labels, case.assumed, subject=case.subject, seed=seed, valid=case.prepared.valid
    )
    chosen = np.random.default_rng(seed).random(len(drawn.weight)) < _SHARE
    return drawn.take(chosen, 1 / _SHARE)


def _scored(
    case: _Case, statistics: SampleStatistics, calibrator: Calibrator, cell: Cell, distances: Sequence[float]
) -> tuple[ScanScores, dict[str, float | None]]:
    mask = _mask(statistics.mean)
    probs = calibrate_scan(calibrator, statistics.mean, mask, case.assumed)
    unsure = entropy(probs[None], normalize=True)[0].clamp(0, 1).numpy()
    valid, values = case.prepared.valid, [label.value for label in cell.spec.labels]
    scores = score_scan(
        entropy=unsure,
        between=unit_map(statistics, "between").numpy(),
        probs=probs.numpy(),
        labels=mask,
        spacing=case.scan.spacing,
        n_structures=len(values),
        sample_voxels=statistics.sample_voxels.numpy(),
        pairwise_dice=statistics.pairwise_dice.numpy(),
        pooled_pairwise_dice=statistics.pooled_pairwise_dice.numpy(),
        valid=valid,
    )
    entropies: dict[str, float | None] = {}
    segments = [mask == value for value in values if (mask == value).any()]
    away = [distance_to(segment, case.scan.spacing) for segment in segments]
    for mm in distances:
        near = [within(d, mm) & valid for d in away]
        means = [mean_in(unsure, n) or 0.0 for n in near]
        sums = [
            float(unsure[n].sum(dtype=np.float64)) / int(s.sum()) for n, s in zip(near, segments, strict=True)
        ]
        entropies[f"mean {mm:g} mm"] = sum(means) / len(means) if means else None
        entropies[f"sum {mm:g} mm"] = sum(sums) / len(sums) if sums else None
    return scores, entropies
