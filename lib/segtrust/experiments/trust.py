"""The trust benchmark: calibrators compared, scores ranked, on clean scans and on each shift by itself."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segtrust._files import replace_text
from segtrust.calibrators import (
    CANDIDATES,
    CalibrationVoxels,
    Calibrator,
    Choice,
    choose_calibrator,
)
from segtrust.calibrators.covariate import PARTS
from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import REGIONS, CaseRecord, draw_scan, evaluate_case
from segtrust.evaluate.pools import mean_dice
from segtrust.evaluate.protocol import Protocol
from segtrust.evaluate.ranking import ranking_table
from segtrust.evaluate.records import RecordSet, record_from_json, record_to_json, software_versions
from segtrust.evaluate.shifts import SHIFT_SUITE, corrupt, shift_seed
from segtrust.experiments.endpoints import Measured, check_endpoints
from segtrust.experiments.targets import check_targets
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan, fingerprint
from segtrust.metrics.bootstrap import finite_or_none
from segtrust.metrics.voxels import pooled
from segtrust.models import ModelVersion
from segtrust.release.quality import quality_case
from segtrust.training.cases import read_labelled, read_subjects

__all__ = ["CLEAN", "Condition", "TrustBenchmark", "shift_conditions"]

Say = Callable[[str], None]
_SCHEMA = 4
_SERVED = "served"


@dataclass(frozen=True)
class Condition:
    """Clean scans, or one corruption at one strength."""

    shift: str | None = None
    strength: int = 0

    def __str__(self) -> str:
        return f"{self.shift}-{self.strength}" if self.shift else "clean"

    def of(self, scan: Scan, scan_id: str, seed: int) -> Scan:
        """A scan under this condition; the seed is that of the suite."""
        if not self.shift:
            return scan
        values = corrupt(scan.data.numpy(), self.shift, self.strength, shift_seed(seed, scan_id, self.shift))
        return Scan(torch.from_numpy(values), scan.affine, scan.spacing)


CLEAN = Condition()
"""Scans as they are."""


def shift_conditions() -> tuple[Condition, ...]:
    """Every corruption of the suite at every strength."""
    return tuple(Condition(name, strength) for name in SHIFT_SUITE for strength in (1, 2, 3))


class TrustBenchmark:
    """Measures one version of a model; stopped at any time, it goes on where it was.

    Args:
        version: the version.
        protocol: the protocol that the data was checked against.
        data: folder with images, labels and splits.
        calibration: scans of ``val``, which calibrators are fitted to.
        cache: folder for what was measured of each scan.
        say: called with one plain line per scan.
    """

    def __init__(
        self,
        version: ModelVersion,
        protocol: Protocol,
        data: Path,
        *,
        calibration: Sequence[str],
        cache: Path,
        say: Say = lambda _line: None,
    ) -> None:
        self.version, self.protocol, self.data, self.cache, self.say = version, protocol, data, cache, say
        self.calibration = tuple(calibration)
        self.predictor = Predictor(version)
        self._subjects = read_subjects(data)
        cache.mkdir(parents=True, exist_ok=True)

    @cached_property
    def voxels(self) -> list[CalibrationVoxels]:
        """Voxels of the calibration scans, uncalibrated."""
        return [self._drawn(scan_id, index) for index, scan_id in enumerate(self.calibration)]

    @cached_property
    def choice(self) -> Choice:
        """The comparison of calibrators on the calibration scans, one subject left out at a time."""
        self.say(f"comparing calibrators on {len(self.calibration)} scans")
        return choose_calibrator(self.voxels)

    @cached_property
    def calibrators(self) -> dict[str, Calibrator]:
        """Every kind, fitted to all calibration scans."""
        return {name: fit(self.voxels) for name, fit in CANDIDATES.items()}

    def records(self, ids: Sequence[str], condition: Condition) -> tuple[CaseRecord, ...]:
        """Measure scans under one condition.

        Args:
            ids: scans.
            condition: clean, or a shift.

        Returns:
            One record per scan; systems are ``ensemble``, ``served`` and, on clean scans, every kind of
            calibrator.
        """
        records = []
        for index, scan_id in enumerate(ids, start=1):
            path = self._path("record", scan_id, str(condition), self._calibration_digest)
            is_stored = path.is_file()
            if is_stored:
                record = record_from_json(json.loads(path.read_text(encoding="utf-8")))
            else:
                record = self._measure(scan_id, condition)
                replace_text(path, json.dumps(record_to_json(record), allow_nan=False))
            dice = float(np.nanmean(record.dice[_SERVED]))
            self.say(
                f"{condition} {index}/{len(ids)} {scan_id} Dice {dice:.3f}{' (known)' if is_stored else ''}"
            )
            records.append(record)
        return tuple(records)

    def record_set(self, records: Sequence[CaseRecord], *, role: str, command: str) -> RecordSet:
        """Clean records with their origin, as `segtrust compare` reads them."""
        return RecordSet(
            records=tuple(records),
            structures=tuple(label.name for label in self.version.spec.labels),
            main=_SERVED,
            role=role,
            condition=str(CLEAN),
            **self._origin(command),
        )

    def result(
        self,
        clean: Sequence[CaseRecord],
        shifted: Mapping[Condition, Sequence[CaseRecord]],
        *,
        role: str,
        command: str,
        targets: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Figures of a run.

        Args:
            clean: records of clean scans.
            shifted: records of each shift.
            role: role of the scans in the splits.
            command: how to do this again.
            targets: of the quality part (``benchmarks/targets.json``); not judged unless given.

        Returns:
            JSON: the calibrator comparison (cross-fitted on ``val``, and as a card on the scans of ``role``),
            the ranking on clean scans and on every shift by itself, plain figures of every shift
            and its share of missed voxels; ``quality``: its targets, see
            :func:`segtrust.experiments.targets.check_targets`.
        """
        structures = [label.name for label in self.version.spec.labels]
        card = make_card(clean, structures, main=_SERVED)
        return {
            **self._origin(command),
            "role": role,
            "in_sample": role == "val",
            "scans": len(clean),
            "endpoints": check_endpoints(self.protocol, Measured(card, clean, _SERVED, self.version)),
            "calibrators": {
                "cross_fitted_on_val": self.choice.to_json(),
                "fitted_on_val": {name: c.to_json() for name, c in self.calibrators.items()},
                "card": card,
            },
            "ranking": {
                "clean": ranking_table(clean, _SERVED),
                "shifts": {str(c): ranking_table(records, _SERVED) for c, records in shifted.items()},
            },
            "shifts": {str(c): _plain_figures(records) for c, records in shifted.items()},
            **self._quality(targets, clean, shifted),
        }

    def _quality(
        self,
        targets: Mapping[str, Any] | None,
        clean: Sequence[CaseRecord],
        shifted: Mapping[Condition, Sequence[CaseRecord]],
    ) -> dict[str, Any]:
        quality = self.predictor.quality
        if targets is None or quality is None:
            return {}
        names = {str(condition): records for condition, records in shifted.items()}
        return {"quality": check_targets(targets, quality, self.version.spec, clean, names, system=_SERVED)}

    def _origin(self, command: str) -> dict[str, Any]:
        return {
            "protocol": self.protocol.hash,
            "model": {
                "name": self.version.spec.name,
                "version": self.version.id,
                "digest": self.version.digest,
            },
            "software": software_versions(),
            "command": command,
        }

    def _path(self, kind: str, scan_id: str, *more: str) -> Path:
        image = self._image(scan_id)
        parts = [_SCHEMA, self.protocol.hash, self._digest, kind, scan_id, fingerprint(image), *more]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.cache / f"{kind}-{scan_id}-{digest[:24]}.{'json' if kind == 'record' else 'npz'}"

    @cached_property
    def _digest(self) -> str:
        """Name of all that a record depends on: another quality part leaves records as they are."""
        version = self.version
        members = [hashlib.sha256(path.read_bytes()).hexdigest() for path in version.members]
        parts = [version.spec.to_json(), members, self.predictor.calibrator.to_json()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _calibration_digest(self) -> str:
        fitted = {name: c.to_json() for name, c in self.calibrators.items()}
        return hashlib.sha256(json.dumps(fitted, sort_keys=True).encode()).hexdigest()

    def _image(self, scan_id: str) -> Path:
        return self.data / "images" / f"{scan_id}.nii.gz"

    def _subject(self, scan_id: str) -> str:
        return self._subjects.get(scan_id, scan_id)

    def _drawn(self, scan_id: str, index: int) -> CalibrationVoxels:
        path = self._path("voxels", scan_id, str(index), *([] if PARTS is None else [f"parts {PARTS}"]))
        subject = self._subject(scan_id)
        if path.is_file():
            with np.load(path) as stored:
                arrays = {name: stored[name] for name in stored.files}
                unit, parts = str(arrays.pop("unit", "mm")), PARTS if "covariate" in arrays else None
                pivot = tuple(arrays.pop("pivot", np.empty(0)).tolist())
                return CalibrationVoxels(**arrays, subject=subject, unit=unit, parts=parts, pivot=pivot)
        scan, labels = read_labelled(self.data, scan_id, self.version.spec)
        drawn = draw_scan(self.predictor, scan, labels, subject=subject, seed=index)
        partial = path.with_suffix(".partial.npz")
        arrays = {
            name: value
            for name, value in vars(drawn).items()
            if name not in ("subject", "parts") and value is not None
        }
        np.savez_compressed(partial, **arrays)
        partial.replace(path)
        self.say(f"calibration {index + 1}/{len(self.calibration)} {scan_id} {len(drawn.weight)} voxels")
        return drawn

    def _measure(self, scan_id: str, condition: Condition) -> CaseRecord:
        scan, labels = read_labelled(self.data, scan_id, self.version.spec)
        scan = condition.of(scan, scan_id, self.protocol.shift_seed)
        prepared, statistics, _ = self.predictor.sample(scan)
        prediction = self.predictor.conclude(scan, prepared, statistics)
        systems: dict[str, tuple[Tensor, Calibrator | None]] = {
            "ensemble": (statistics.mean, None),
            _SERVED: (statistics.mean, self.predictor.calibrator),
        }
        if condition == CLEAN:  # calibrators are compared on clean scans only
            systems |= {name: (statistics.mean, c) for name, c in self.calibrators.items()}
        record = evaluate_case(
            scan_id,
            self._subject(scan_id),
            systems,
            labels,
            scan.spacing,
            prediction.valid,
            main=_SERVED,
            scores=prediction.scores,
            assumed=self.predictor.spacing_of(scan),
        )
        judged = quality_case(
            prediction, prepared.image.numpy(), labels.numpy(), subject=record.subject, ordinary=False
        )
        return replace(record, features=judged.features, truth=judged.truth)


def _plain_figures(records: Sequence[CaseRecord]) -> dict[str, Any]:
    everyone = range(len(records))
    worst = max(records, key=lambda record: record.missed[0] / max(1, record.missed[1]))
    return {
        "dice": mean_dice(records, everyone, _SERVED, None),
        "missed": {
            "share": sum(r.missed[0] for r in records) / max(1, sum(r.missed[1] for r in records)),
            "worst": {"scan": worst.id, "voxels": worst.missed[0], "of": worst.missed[1]},
        },
        **{
            system: {
                region: {
                    name: finite_or_none(value)
                    for name, value in pooled([r.totals[system][region] for r in records]).figures().items()
                }
                for region in REGIONS
            }
            for system in ("ensemble", _SERVED)
        },
    }
