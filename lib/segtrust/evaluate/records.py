"""What was measured, kept scan by scan as JSON, so that sets are pooled and compared without a network."""

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import segtrust
from segtrust._files import replace_text
from segtrust.errors import SettingError
from segtrust.evaluate.cases import CaseRecord
from segtrust.metrics.bootstrap import finite_or_none
from segtrust.metrics.detection import ErrorHistogram
from segtrust.metrics.voxels import VoxelTotals
from segtrust.quality import StructureTruth
from segtrust.scores import ScanScores, StructureScores

__all__ = [
    "RecordSet",
    "read_records",
    "record_from_json",
    "record_to_json",
    "software_versions",
    "write_records",
]

_SCHEMA = 2
_PACKAGES = ("torch", "monai", "numpy", "scipy", "safetensors")


@dataclass(frozen=True, kw_only=True)
class RecordSet:
    """Records of one role of the data, and where they come from.

    ``protocol`` is the hash of the protocol file; ``model`` holds name, version and digest; ``condition`` is
    ``clean`` or a shift with its strength.
    """

    records: tuple[CaseRecord, ...]
    structures: tuple[str, ...]
    main: str
    protocol: str
    role: str
    condition: str
    model: Mapping[str, str]
    software: Mapping[str, str]
    command: str


def software_versions() -> dict[str, str]:
    """Versions of Python, of segtrust and of those packages at hand that figures depend on."""
    versions = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = package_version(name)
    return {**versions, "python": platform.python_version(), "segtrust": segtrust.__version__}


def write_records(path: Path, records: RecordSet) -> None:
    """Write a set as JSON.

    Args:
        path: the file; replaced if it exists.
        records: the set.
    """
    document = {
        "schema": _SCHEMA,
        **{name: value for name, value in vars(records).items() if name != "records"},
        "records": [record_to_json(record) for record in records.records],
    }
    replace_text(path, json.dumps(document, allow_nan=False))


def read_records(path: Path) -> RecordSet:
    """Read what :func:`write_records` wrote.

    Args:
        path: the file.

    Returns:
        The set, with the very same numbers.

    Raises:
        SettingError: if the file is missing or no such set.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema") != _SCHEMA:
            raise SettingError(f"{path} must hold records of schema {_SCHEMA}. Measure again.")
        return RecordSet(
            **{
                **document,
                "records": tuple(map(record_from_json, document["records"])),
                "structures": tuple(document["structures"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(
            f"{path} must hold records as segtrust writes them, but {type(error).__name__}: {error}."
        ) from error


def record_to_json(record: CaseRecord) -> dict[str, Any]:
    """One scan as plain numbers; a Dice that is not defined becomes null.

    Args:
        record: one scan.

    Returns:
        What :func:`record_from_json` reads back exactly.
    """
    scores = record.scores
    return {
        "id": record.id,
        "subject": record.subject,
        "dice": {name: [finite_or_none(v) for v in values.tolist()] for name, values in record.dice.items()},
        "totals": {
            name: {region: totals.to_json() for region, totals in regions.items()}
            for name, regions in record.totals.items()
        },
        "errors": {name: errors.to_json() for name, errors in record.errors.items()},
        "missed": list(record.missed),
        "changed": dict(record.changed),
        "scores": None
        if scores is None
        else {
            **scores.to_json(),
            "structures": {str(k): v for k, v in scores.structures.items()},
            "details": {str(k): vars(v) for k, v in scores.details.items()},
        },
        "maps": {name: errors.to_json() for name, errors in record.maps.items()},
        "methods": {name: v if v is None else finite_or_none(v) for name, v in record.methods.items()},
        "features": {name: list(values) for name, values in record.features.items()},
        "truth": {str(value): truth.to_json() for value, truth in record.truth.items()},
        "surfaces": {
            system: {name: [finite_or_none(v) for v in values.tolist()] for name, values in figures.items()}
            for system, figures in record.surfaces.items()
        },
    }


def record_from_json(document: Mapping[str, Any]) -> CaseRecord:
    """Read one scan.

    Args:
        document: what :func:`record_to_json` made.

    Returns:
        The record.
    """
    scores = document["scores"]
    missed, reference = document["missed"]
    return CaseRecord(
        id=document["id"],
        subject=document["subject"],
        dice={name: np.array(values, dtype=np.float64) for name, values in document["dice"].items()},
        totals={
            name: {region: VoxelTotals.from_json(totals) for region, totals in regions.items()}
            for name, regions in document["totals"].items()
        },
        errors={name: ErrorHistogram.from_json(e) for name, e in document["errors"].items()},
        missed=(missed, reference),
        changed=document["changed"],
        scores=None
        if scores is None
        else ScanScores(
            **{
                **scores,
                "structures": {int(k): v for k, v in scores["structures"].items()},
                "details": {int(k): StructureScores(**v) for k, v in scores.get("details", {}).items()},
            }
        ),
        maps={name: ErrorHistogram.from_json(e) for name, e in document.get("maps", {}).items()},
        methods=document.get("methods", {}),
        features={name: tuple(values) for name, values in document.get("features", {}).items()},
        truth={int(v): StructureTruth.from_json(t) for v, t in document.get("truth", {}).items()},
        surfaces={name: _surfaces(figures) for name, figures in document.get("surfaces", {}).items()},
    )


def _surfaces(document: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """JSON holds no infinity: a distance is infinite where only one of the masks has the structure."""
    figures = {name: np.array(values, dtype=np.float64) for name, values in document.items()}
    figures["hd95"][np.isnan(figures["hd95"]) & (figures["surface_dice"] == 0)] = np.inf
    return figures
