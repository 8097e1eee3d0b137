"""The labelled folder that is replayed: which scans are offered, which are judged on, and what is junk."""

import csv
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from segtrust._files import replace_text
from segtrust.errors import SettingError
from segtrust.evaluate.shifts import corrupt, shift_seed
from segtrust.inference.scan import read_scan
from segtrust.roles import role_of
from segtrust.selection import uniform_order
from segtrust.training.cases import LabelledFiles, cases_in, read_subjects

__all__ = ["CORRUPTED", "SIBLING", "ReplayFolder", "divide_folder", "make_realistic", "scans_in"]

CORRUPTED, SIBLING = "corrupted", "sibling"
_DAMAGE = ("motion", "ghosting", "noise")
_STRENGTH = 3


@dataclass(frozen=True)
class ReplayFolder:
    """Scans with labels, divided by subject.

    ``pool``: scan -> subject, offered to the strategies; ``evaluation``: scan -> subject, never offered.
    ``junk``: scan of the pool -> ``corrupted`` (nobody can label it) or ``sibling`` (of another in the pool).
    """

    data: Path
    pool: Mapping[str, str]
    evaluation: Mapping[str, str]
    junk: Mapping[str, str] = field(default_factory=dict)

    def image(self, scan_id: str) -> Path:
        """The scan's file: all that a strategy may look at."""
        return self.files(scan_id).image

    def files(self, scan_id: str) -> LabelledFiles:
        """The scan and its label."""
        (files,) = cases_in(self.data, [scan_id])
        return files


def scans_in(data: Path) -> list[str]:
    """Ids of all scans of a data folder that have a label.

    Args:
        data: holds ``images/<id>.nii.gz`` and ``labels/<id>.nii.gz``.

    Returns:
        Sorted.

    Raises:
        SettingError: if there is none.
    """
    ids = sorted(path.name.removesuffix(".nii.gz") for path in (data / "images").glob("[!.]*.nii.gz"))
    labelled = [scan for scan in ids if (data / "labels" / f"{scan}.nii.gz").is_file()]
    if not labelled:
        raise SettingError(
            f"{data} must hold images/<id>.nii.gz and labels/<id>.nii.gz, got {len(ids)} images, "
            "none labelled."
        )
    return labelled


def divide_folder(data: Path, ids: Iterable[str], *, share: float, key: str) -> ReplayFolder:
    """Divide scans by subject into a pool and scans that strategies are judged on.

    Args:
        data: see :func:`scans_in`; ``subjects.csv`` says whose scan each is, without it each is a subject's.
        ids: which scans.
        share: of the subjects that are judged on, more or less: the keyed hash that gives roles decides.
        key: another key divides otherwise.

    Returns:
        The folder.

    Raises:
        SettingError: if one of the two parts would be empty.

    Note:
        See :func:`segtrust.roles.role_of`.
    """
    subjects = read_subjects(data)
    owners = {scan: subjects.get(scan, scan) for scan in sorted(ids)}
    roles = {
        subject: role_of(subject, key.encode(), {"train": 1 - share, "test": share})
        for subject in set(owners.values())
    }
    pool = {scan: subject for scan, subject in owners.items() if roles[subject] == "train"}
    evaluation = {scan: subject for scan, subject in owners.items() if roles[subject] == "test"}
    if not pool or not evaluation:
        raise SettingError(
            f"pool and evaluation must both hold scans, got {len(pool)} and {len(evaluation)} of "
            f"{len(roles)} subjects. Change the share ({share:g}) or the key."
        )
    return ReplayFolder(data, pool, evaluation)


def make_realistic(
    clean: ReplayFolder, folder: Path, *, corrupted: float, siblings: float, seed: int
) -> ReplayFolder:
    """Write a pool as archives are: some scans spoilt, some second scans of a subject.

    One scan of every subject is kept, drawn at random; then so many second scans of subjects that have one
    are added, and so many scans are spoilt by motion, ghosting and noise one after the other, each at the
    largest strength of the shift suite.

    Args:
        clean: of :func:`divide_folder`.
        folder: gets images, labels and ``subjects.csv``; a folder made before by the same call is kept.
        corrupted: share of the new pool that is spoilt.
        siblings: share of the new pool that are second scans.
        seed: of the draws.

    Returns:
        The new folder; evaluation is as before.

    Raises:
        SettingError: if the shares cannot be had, or ``folder`` holds something else.
    """
    of_subject: dict[str, list[str]] = {}
    for scan in uniform_order(clean.pool, seed):
        of_subject.setdefault(clean.pool[scan], []).append(scan)
    first, second = ([scans[k] for scans in of_subject.values() if len(scans) > k] for k in (0, 1))
    doubles = round(len(first) * siblings / (1 - siblings)) if 0 <= siblings < 1 else -1
    if not 0 <= doubles <= len(second) or not 0 <= corrupted <= 1 - siblings:
        raise SettingError(
            f"shares of junk must fit the pool, got {corrupted:g} corrupted and {siblings:g} siblings for "
            f"{len(first)} subjects, {len(second)} of them with a second scan."
        )
    added = second[len(second) - doubles :]  # from the end: the first ones are spoilt
    spoilt = first[: round(corrupted * (len(first) + doubles))]
    junk = {**dict.fromkeys(added, SIBLING), **dict.fromkeys(spoilt, CORRUPTED)}
    pool = {scan: clean.pool[scan] for scan in sorted({*first, *added})}
    made = ReplayFolder(folder, pool, clean.evaluation, junk)
    _write(clean, made, seed)
    return made


def _write(clean: ReplayFolder, made: ReplayFolder, seed: int) -> None:
    folder, note = made.data, made.data / "made.json"
    text = json.dumps({"pool": dict(made.pool), "junk": dict(made.junk), "seed": seed}, sort_keys=True)
    if note.is_file():
        if note.read_text(encoding="utf-8") != text:
            raise SettingError(f"{folder} must hold the same pool, got another. Use a new folder.")
        return
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    scans = {**made.pool, **made.evaluation}
    for scan in scans:
        files, there = clean.files(scan), made.files(scan)
        shutil.copyfile(files.label, there.label)
        if made.junk.get(scan) == CORRUPTED:
            _spoil(files, there.image, seed)
        else:
            shutil.copyfile(files.image, there.image)
    with (folder / "subjects.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("case", "subject"), *sorted(scans.items())])
    replace_text(note, text)


def _spoil(files: LabelledFiles, path: Path, seed: int) -> None:
    scan = read_scan(files.image)
    values = scan.data.numpy()
    for name in _DAMAGE:
        values = corrupt(values, name, _STRENGTH, shift_seed(seed, files.id, name))
    nib.save(nib.Nifti1Image(values[0].astype(np.float32), scan.affine), path)
