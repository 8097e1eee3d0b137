"""Arms and calibrators on the same scans; calibrators are fitted to other groups of scans."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from segtrust._files import replace_text
from segtrust.calibrators import (
    CANDIDATES,
    CalibrationVoxels,
    Calibrator,
    calibrator_from_json,
    draw_prediction,
)
from segtrust.evaluate.cases import CaseRecord, evaluate_case
from segtrust.evaluate.records import record_from_json, record_to_json
from segtrust.experiments.arms import Arm
from segtrust.experiments.crossfit import system_name
from segtrust.inference.scan import PreparedScan, Scan, assumed_spacing, fingerprint, prepare
from segtrust.scores import binary_segment_entropy
from segtrust.training.cases import LabelledFiles, read_pair

__all__ = ["ArmComparison", "GroupedScan", "segment_entropy_name"]

Say = Callable[[str], None]
_SCHEMA = 2


@dataclass(frozen=True)
class GroupedScan:
    """A scan and its group: the fold that holds it out, or its role."""

    files: LabelledFiles
    group: str


def segment_entropy_name(system: str, structure: int) -> str:
    """Name under which a record keeps :func:`~segtrust.scores.binary_segment_entropy` of a structure."""
    return f"segment entropy | {system} | {structure}"


@dataclass(frozen=True)
class ArmComparison:
    """Judges arms, raw and behind calibrators, on the same scans in the same regions.

    Args:
        arms: with different names.
        scans: of all groups, those that calibrators are fitted to as well.
        fitted_on: group that is judged -> groups whose scans its calibrators are fitted to, never itself.
        kinds: of calibrators, see :data:`segtrust.calibrators.CANDIDATES`.
        cache: folder of runs; means, calibrators and records are kept in ``arms``.
        say: called with one plain line per step.
        share: of the voxels that a release would fit to, dozens of scans make up for the rest.
    """

    arms: Sequence[Arm]
    scans: Sequence[GroupedScan]
    fitted_on: Mapping[str, tuple[str, ...]]
    kinds: tuple[str, ...]
    cache: Path
    say: Say = lambda _line: None
    share: float = 1 / 8

    def calibrators(self, arm: Arm) -> dict[tuple[str, int, str], Calibrator]:
        """Calibrators of one arm, fitted without the group that they are for.

        Args:
            arm: one of the arms.

        Returns:
            (group, size, kind) -> calibrator.
        """
        path = self.cache / "arms" / "calibrators" / f"{self._digest(arm)}.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            fitted = {
                json.dumps([group, size, kind]): CANDIDATES[kind](
                    [v for g in groups for v in self._drawn(arm, g, size)]
                ).to_json()
                for group, groups in self.fitted_on.items()
                for size in arm.sizes
                for kind in self.kinds
            }
            replace_text(path, json.dumps(fitted))
            self.say(f"calibrated {arm.name}")
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {tuple(json.loads(name)): calibrator_from_json(c) for name, c in stored.items()}

    def systems(self) -> list[str]:
        """Names of everything that is compared."""
        return [
            system_name(arm.name, size, kind)
            for arm in self.arms
            for size in arm.sizes
            for kind in (None, *self.kinds)
        ]

    def records(self) -> list[CaseRecord]:
        """One record per scan of the judged groups, in order; what is known is read.

        Returns:
            Records of all :meth:`systems`; ``methods`` hold the entropies that
            :func:`segment_entropy_name` names, of raw means.
        """
        calibrators = {arm.name: self.calibrators(arm) for arm in self.arms}
        digest = hashlib.sha256(
            "".join(self._digest(arm) + arm.name for arm in self.arms).encode()
        ).hexdigest()
        folder = self.cache / "arms" / "records" / digest[:24]
        folder.mkdir(parents=True, exist_ok=True)
        records = []
        for scan in self.scans:
            if scan.group not in self.fitted_on:
                continue
            path = folder / f"{scan.files.id}.json"
            if not path.is_file():
                record = self._judge(scan, calibrators)
                replace_text(path, json.dumps(record_to_json(record), allow_nan=False))
                self.say(f"judged {scan.group} {scan.files.id}")
            records.append(record_from_json(json.loads(path.read_text(encoding="utf-8"))))
        return records

    def _judge(
        self, scan: GroupedScan, calibrators: Mapping[str, Mapping[tuple[str, int, str], Calibrator]]
    ) -> CaseRecord:
        labels, read, prepared = self.opened(scan)
        systems: dict[str, tuple[Tensor, Calibrator | None]] = {}
        entropies: dict[str, float | None] = {}
        for arm in self.arms:
            for size, mean in arm.means(prepared, scan.group, self.cache).items():
                raw = system_name(arm.name, size)
                systems[raw] = (mean, None)
                mask = mean.max(dim=0).indices.numpy()
                for value in range(1, len(mean)):
                    entropy = binary_segment_entropy(mean[value].numpy(), mask == value)
                    entropies[segment_entropy_name(raw, value)] = entropy
                for kind in self.kinds:
                    calibrator = calibrators[arm.name][scan.group, size, kind]
                    systems[system_name(arm.name, size, kind)] = (mean, calibrator)
        main = next(iter(systems))
        record = evaluate_case(
            scan.files.id,
            scan.files.subject,
            systems,
            labels,
            read.spacing,
            prepared.valid,
            main=main,
            assumed=assumed_spacing(read, self.arms[0].spec),
        )
        return replace(record, methods=entropies)

    def opened(self, scan: GroupedScan) -> tuple[Tensor, Scan, PreparedScan]:
        """Labels, scan and prepared image; all arms share orientation, intensity and voxel size."""
        spec = self.arms[0].spec
        read, labels = read_pair(scan.files, spec)
        return labels, read, prepare(read, spec)

    def _drawn(self, arm: Arm, group: str, size: int) -> list[CalibrationVoxels]:
        return [drawn[size] for drawn in self._all_drawn(arm, group)]

    def _all_drawn(self, arm: Arm, group: str) -> Sequence[Mapping[int, CalibrationVoxels]]:
        draws = self._kept_draws
        if (arm.name, group) not in draws:
            for other in [name for name in draws if name[0] != arm.name]:
                del draws[other]  # one arm at a time
            draws[arm.name, group] = list(self._draw(arm, group))
        return draws[arm.name, group]

    @cached_property
    def _kept_draws(self) -> dict[tuple[str, str], Sequence[Mapping[int, CalibrationVoxels]]]:
        return {}

    def _draw(self, arm: Arm, group: str) -> Iterator[dict[int, CalibrationVoxels]]:
        for index, scan in enumerate(s for s in self.scans if s.group == group):
            labels, read, prepared = self.opened(scan)
            valid, spacing = prepared.valid, assumed_spacing(read, self.arms[0].spec)
            chosen = np.random.default_rng(index).random(valid.shape) < self.share
            yield {
                size: draw_prediction(
                    mean, labels, spacing, subject=scan.files.subject, seed=index, valid=valid & chosen
                )
                for size, mean in arm.means(prepared, group, self.cache).items()
            }

    def _digest(self, arm: Arm) -> str:
        """Name what calibrators and records of an arm follow from."""
        parts = [
            _SCHEMA,
            {group: arm.key(group) for group in sorted({scan.group for scan in self.scans})},
            [
                (s.group, s.files.subject, fingerprint(s.files.image), fingerprint(s.files.label))
                for s in self.scans
            ],
            dict(self.fitted_on),
            self.kinds,
            self.share,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
