"""Deleting all that a site has of one patient; what was learnt from the patient is listed, not unlearnt."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segtrust._files import replace_text
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.models import find_models, list_versions
from segtrust.store import StateStore

__all__ = ["Forgotten", "forget_patient", "trained_on"]


@dataclass
class Forgotten:
    """What was deleted: scans, files, rows of the state file; and versions that learnt from the patient."""

    scans: list[str] = field(default_factory=list)
    files: int = 0
    rows: int = 0
    versions: list[str] = field(default_factory=list)


def forget_patient(
    patient: str, store: StateStore, datastore: SafeDatastore | None, copies: Path | None, by: str
) -> Forgotten:
    """Delete files, labels, labels of the past, scores and copies of a patient's scans.

    Args:
        patient: name of the patient, as roles know it: PatientID, what the rule ``subjects`` gives, or,
            without either, the id of the scan.
        store: state file of the site.
        datastore: folder of the scans; ``None`` for a PACS, in which nothing is deleted.
        copies: folder with copies of what a PACS has.
        by: who forgets.

    Returns:
        What was deleted. The audit trail keeps keyed hashes alone, and a record of this.

    Raises:
        StoreError: if the state file cannot be written; to be called again then.
    """
    state_dir, hashed = store.path.parent, store.patient_hash(patient)
    done = Forgotten(scans=store.scans_of(hashed), versions=trained_on(state_dir / "models", hashed))
    for scan in done.scans:
        if datastore is not None and scan in datastore.list_images():
            datastore.remove_image(scan, by=by)
            done.files += 1
        done.files += _remove(state_dir / "history" / scan)
        for copy in _copies(copies, scan):
            done.files += _remove(copy)
        done.rows += store.forget_scan(scan)
    done.rows += store.unwatch(hashed)
    names = set(done.scans)
    for record in (state_dir / "training").glob("*.json"):
        _strike(record, names)
    if datastore is not None:
        _strike(datastore.snapshot_path, names)
    if done.scans:
        store.scrub()
    facts = {"patient": hashed, "scans": [store.scan_hash(scan) for scan in done.scans]}
    store.append("patient forgotten", by, {**facts, "versions": done.versions}, durable=True)
    return done


def trained_on(models_dir: Path, patient: str) -> list[str]:
    """Versions whose cards say that they learnt from a patient, or were calibrated or tested on one.

    Args:
        models_dir: the site's models.
        patient: keyed hash of the name.

    Returns:
        ``model/version`` with how the patient was used.
    """
    found = []
    for name, folder in find_models(models_dir).items() if models_dir.is_dir() else ():
        for version in list_versions(folder):
            with suppress(OSError, ValueError):
                card = json.loads((folder / "versions" / version / "card.json").read_text("utf-8"))
                roles = [role for role, hashes in card.get("patients", {}).items() if patient in hashes]
                learnt = any(patient in seen for seen in card.get("learnt", ()))
                uses = sorted({*roles, *(["train"] if learnt else [])})
                if uses:
                    found.append(f"{name}/{version} ({', '.join(uses)})")
    return found


def _copies(folder: Path | None, scan: str) -> Iterator[Path]:
    if folder is not None and folder.is_dir():
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.name == scan or path.name.startswith(f"{scan}."):
                yield path


def _remove(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return len(files)


def _strike(path: Path, names: set[str]) -> None:
    """Take entries under these names out of a JSON document."""
    with suppress(FileNotFoundError, ValueError):
        document = json.loads(path.read_text("utf-8"))
        kept = _without(document, names)
        if kept != document:
            replace_text(path, json.dumps(kept, indent=1) + "\n")


def _without(value: Any, names: set[str]) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, dict):
        return {key: _without(entry, names) for key, entry in value.items() if key not in names}
    if isinstance(value, list):
        return [_without(entry, names) for entry in value if not (isinstance(entry, str) and entry in names)]
    return value
