"""Labelled scans, read once and kept on the network's grid."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing
from torch import Tensor

from segtrust.errors import TrainingError
from segtrust.files.label import LabelFile, read_label_file
from segtrust.files.subjects import read_subject_table
from segtrust.inference.scan import (
    PreparedScan,
    Scan,
    pixdim,
    prepare,
    read_scan,
    shifted,
    turn,
)
from segtrust.models import ModelSpec

__all__ = [
    "Case",
    "LabelledFiles",
    "cases_in",
    "load_case",
    "load_cases",
    "native_labels",
    "read_labelled",
    "read_pair",
    "read_splits",
    "read_subjects",
]


@dataclass(frozen=True)
class Case:
    """One labelled scan: ``image`` ``(C, *grid)`` normalised, ``labels`` ``(*grid)`` int64, values 0..N."""

    id: str
    subject: str
    image: Tensor
    labels: Tensor


@dataclass(frozen=True)
class LabelledFiles:
    """Where one labelled scan lies, and whose it is."""

    id: str
    subject: str
    image: Path
    label: Path


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Read which scans are for training, calibration (val) and test.

    Args:
        folder: holds ``splits.json`` with the lists under ``splits``.

    Returns:
        ``train``, ``val`` and ``test`` -> scan ids.

    Raises:
        TrainingError: if the file is missing, or a subject is in two lists.
    """
    path = folder / "splits.json"
    if not path.is_file():
        raise TrainingError(f"{path} must list the scans of train, val and test. See docs/how-to.")
    splits: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))["splits"]
    subjects = read_subjects(folder)
    seen: dict[str, str] = {}
    for role, ids in splits.items():
        for scan in ids:
            subject = subjects.get(scan, scan)
            if seen.setdefault(subject, role) != role:
                raise TrainingError(
                    f"subject {subject!r} must be in one list only, got {seen[subject]} and {role}."
                )
    return {role: sorted(ids) for role, ids in splits.items()}


def read_subjects(folder: Path) -> dict[str, str]:
    """Read which subject each scan of a data folder belongs to.

    Args:
        folder: holds ``images``, and ``subjects.csv`` if a subject has several scans.

    Returns:
        Scan -> subject; empty without that file: then one scan is one subject.

    Raises:
        SettingError: if the table cannot be used, see :func:`segtrust.files.subjects.read_subject_table`.
    """
    path = folder / "subjects.csv"
    if not path.is_file():
        return {}
    table = read_subject_table(path)
    scans = [file.name.removesuffix(".nii.gz") for file in (folder / "images").glob("[!.]*.nii.gz")]
    return table.owners(scans or (row.case for row in table.rows))


def cases_in(folder: Path, ids: Iterable[str]) -> tuple[LabelledFiles, ...]:
    """Name the files of some scans of a data folder.

    Args:
        folder: holds ``images/<id>.nii.gz``, ``labels/<id>.nii.gz`` and, if it has one, ``subjects.csv``.
        ids: which scans.

    Returns:
        One entry per id, in order; nothing is opened.
    """
    subjects = read_subjects(folder)
    return tuple(
        LabelledFiles(
            scan_id,
            subjects.get(scan_id, scan_id),
            folder / "images" / f"{scan_id}.nii.gz",
            folder / "labels" / f"{scan_id}.nii.gz",
        )
        for scan_id in ids
    )


def load_cases(folder: Path, ids: Iterable[str], spec: ModelSpec) -> list[Case]:
    """Read labelled scans of a data folder and put them on the network's grid.

    Args:
        folder: see :func:`cases_in`.
        ids: which scans.
        spec: the model's specification; ``source_value`` of its labels is what the label files hold.

    Returns:
        One case per id, in order.

    Raises:
        ScanError: if a file cannot be used.
        TrainingError: if a scan does not fit the model, see :func:`load_case`.
    """
    return [load_case(files, spec) for files in cases_in(folder, ids)]


def load_case(files: LabelledFiles, spec: ModelSpec) -> Case:
    """Read one labelled scan and put it on the network's grid.

    Args:
        files: where it lies.
        spec: the model's specification; ``source_value`` of its labels is what the label file holds.

    Returns:
        The case; of a 2-D model without the third axis.

    Raises:
        ScanError: if a file cannot be used.
        TrainingError: if the label map has another size than its image or unknown values, or if the model is
            2-D and the file has more than one slice; or if regions share values without being nested.
    """
    if spec.shares_values:
        raise TrainingError(
            f"a network learns here from regions that are nested or share no value, those of {spec.name!r} "
            "overlap otherwise. Train it elsewhere, and calibrate it here."
        )
    scan, labels = read_pair(files, spec)
    prepared = prepare(scan, spec)
    image, on_grid = prepared.image, _labels_on_grid(labels, scan, prepared, spec)
    if spec.spatial_dims == 3:
        return Case(files.id, files.subject, image, on_grid)
    if (slices := image.shape[-1]) != 1:
        raise TrainingError(
            f"the 2-D model {spec.name!r} learns from files of one slice along the third axis, "
            f"{files.image.name!r} has {slices}. Save every labelled slice as a file of its own."
        )
    return Case(files.id, files.subject, image[..., 0], on_grid[..., 0])


def read_labelled(folder: Path, scan_id: str, spec: ModelSpec) -> tuple[Scan, Tensor]:
    """Read one scan of a data folder and its labels; see :func:`read_pair`."""
    (files,) = cases_in(folder, [scan_id])
    return read_pair(files, spec)


def read_pair(files: LabelledFiles, spec: ModelSpec) -> tuple[Scan, Tensor]:
    """Read one scan and its labels, both in the file's own voxel order.

    Args:
        files: where they lie.
        spec: the model's specification.

    Returns:
        The scan, and its labels, see :func:`native_labels`.

    Raises:
        ScanError: if a file cannot be used.
        TrainingError: if the label map has another size than its image, or unknown values.
    """
    scan = read_scan(files.image, channels=len(spec.channels))
    return scan, native_labels(files.label, scan, spec)


def native_labels(path: Path, scan: Scan, spec: ModelSpec) -> Tensor:
    """Read a label map in the scan's own voxel order.

    Args:
        path: the label file.
        scan: the scan it belongs to.
        spec: the model's specification.

    Returns:
        ``(X, Y, Z)`` int64, values 0..N; where regions share values without being nested, the voxels of each,
        ``(N, X, Y, Z)`` booleans.

    Raises:
        ScanError: if the label cannot be used, or does not lie on the scan's grid.
        TrainingError: if a value, or the name that the file gives it, is unknown.
    """
    label = read_label_file(path).on(scan.grid, "the scan")
    rounded = torch.from_numpy(label.values.astype(np.int64))
    if label.names:
        shown = _by_names(rounded, label, spec)
        if not spec.shares_values:
            return shown
        rounded = torch.tensor([0, *(one.source_values[0] for one in spec.labels)])[shown]
    values = sorted({value for label in spec.labels for value in label.source_values})
    unknown = sorted(set(np.unique(rounded.numpy()).tolist()) - {0, *values})
    if unknown:
        raise TrainingError(
            f"the label {path.name!r} must hold 0 and {values}, got {unknown} as well. "
            "Set `source_value` of the model's labels."
        )
    if spec.shares_values:
        return torch.stack([torch.isin(rounded, torch.tensor(one.source_values)) for one in spec.labels])
    labels = torch.zeros_like(rounded)
    of_value = {label.value: label for label in spec.labels}
    for value in spec.head.priority or of_value:  # of regions that share values the innermost is painted last
        for source in of_value[value].source_values:
            labels[rounded == source] = value
    return labels


def _by_names(values: Tensor, label: LabelFile, spec: ModelSpec) -> Tensor:
    """Values 0..N by the names in the file's header, which says what its values mean."""
    structures = {one.name.strip().lower(): one.value for one in spec.labels}
    labels = torch.zeros_like(values)
    for value in np.unique(label.values[label.values > 0]).tolist():
        name = label.names.get(value, "")
        if name.strip().lower() not in structures:
            raise TrainingError(
                f"the label {label.name!r} must name its segments {sorted(structures)}, got {name!r} for "
                f"{value}. "
                "Rename the segments."
            )
        labels[values == value] = structures[name.strip().lower()]
    return labels


def _labels_on_grid(labels: Tensor, scan: Scan, prepared: PreparedScan, spec: ModelSpec) -> Tensor:
    affine = torch.as_tensor(shifted(scan.affine, prepared.box))
    moved: Tensor = MetaTensor(labels[prepared.box].unsqueeze(0).float(), affine=affine)
    if spec.orientation:
        moved = turn(spec)(moved)
    if spec.spacing is not None and scan.spacing is not None:
        moved = Spacing(pixdim=pixdim(spec), mode="nearest", padding_mode="border")(moved)
    return torch.as_tensor(moved)[0].round().long()
