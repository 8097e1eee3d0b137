"""Scans for the demo: a folder of yours, the test scans of the hippocampus task, or crops of a template."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segtrust.cli.demo.template_scans import write_template_scans
from segtrust.errors import ScanError

__all__ = ["CohortKind", "DemoCohort", "gather_cohort"]

CohortKind = Literal["auto", "task", "template"]
_TASK_FOLDER = Path("..") / "shared" / "data" / "hippocampus"
_SUFFIXES = (".nii.gz", ".nii", ".nrrd")


@dataclass(frozen=True, kw_only=True)
class DemoCohort:
    """Scans ready to be served; ids are file names without suffix, as MONAI Label makes them."""

    description: str
    scans: tuple[str, ...]
    suffix: dict[str, str]


def gather_cohort(studies: Path | None, kind: CohortKind, limit: int, target: Path) -> DemoCohort:
    """Copy the demo's scans into a folder that the server may write into.

    Args:
        studies: folder of scans to use; ``None`` for the demo's own.
        kind: the demo's own scans: those of the task, those of the template, or the first at hand.
        limit: at most so many scans; 0 for all.
        target: folder to copy into; made if missing.

    Returns:
        What was gathered.

    Raises:
        ScanError: if there is no scan.
    """
    target.mkdir(parents=True, exist_ok=True)
    if studies is not None:
        return _copied(_scans_in(studies), limit, target, f"scans of {studies.name}")
    if kind == "task" or (kind == "auto" and (_TASK_FOLDER / "splits.json").is_file()):
        return _copied(
            _task_test_scans(), limit, target, "test scans of the Medical Segmentation Decathlon, Task04"
        )
    return _copied(
        write_template_scans(target),
        limit,
        target,
        "hippocampal crops of the MNI152 T1 template, acquisition altered",
    )


def _scans_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ScanError(f"--studies must be a folder, got {folder}.", "scan_missing")
    return [path for path in sorted(folder.iterdir()) if _suffix(path) and not path.name.startswith(".")]


def _task_test_scans() -> list[Path]:
    splits = _TASK_FOLDER / "splits.json"
    if not splits.is_file():
        raise ScanError(
            f"the scans of the task must lie in {_TASK_FOLDER}. Use --cohort template.", "scan_missing"
        )
    images = {path.name.removesuffix(_suffix(path)): path for path in _scans_in(_TASK_FOLDER / "images")}
    return [images[name] for name in json.loads(splits.read_text("utf-8"))["splits"]["test"]]


def _copied(paths: list[Path], limit: int, target: Path, description: str) -> DemoCohort:
    chosen = paths[: limit or None]
    if not chosen:
        raise ScanError(
            f"no scan was found ({description}). Expected {', '.join(_SUFFIXES)} files.", "scan_missing"
        )
    for path in chosen:
        if path.parent != target:
            shutil.copyfile(path, target / path.name)
    for path in paths[len(chosen) :]:
        if path.parent == target:
            path.unlink()
    suffix = {path.name.removesuffix(_suffix(path)): _suffix(path) for path in chosen}
    of = f" of {len(paths)}" if len(paths) > len(chosen) else ""
    return DemoCohort(description=f"{len(chosen)}{of} {description}", scans=tuple(suffix), suffix=suffix)


def _suffix(path: Path) -> str:
    return next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), "")
