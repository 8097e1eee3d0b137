"""Three data sets in one form: a folder of scans and labels with roles, and a model without its network."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import heart
import nibabel as nib
import numpy as np
from lung_nodules import Slices
from lung_nodules import spec_of as nodule_spec

from segtrust._files import replace_text
from segtrust.evaluate.shifts import corrupt, shift_seed
from segtrust.inference.scan import Scan
from segtrust.models import ModelSpec
from segtrust.training.cases import read_splits, read_subjects
from segtrust.training.run import Recipe

__all__ = ["CONSENSUS", "PER_PATIENT", "DataSet", "open_data", "shifted"]

CONSENSUS = 2
"""Raters of four who must have marked a pixel: half of them, as is usual for this data set."""
PER_PATIENT = {"train": 3, "val": 1, "test": 1}
"""Slices of lung nodules that are used of each patient, the first in the file."""


@dataclass(frozen=True)
class DataSet:
    """A folder with images, labels, ``splits.json`` and ``subjects.csv``; ``spec`` lacks a network."""

    name: str
    folder: Path
    spec: ModelSpec

    def role(self, name: str) -> list[str]:
        """Scans of ``train``, ``val`` or ``test``."""
        return read_splits(self.folder)[name]

    def subject(self, scan: str) -> str:
        """Whose scan it is."""
        return read_subjects(self.folder).get(scan, scan)

    def spec_with(self, network: Mapping[str, Any], patch: tuple[int, ...]) -> ModelSpec:
        """The model with a network; what is common to all networks is filled in."""
        given = {
            **network,
            "spatial_dims": self.spec.spatial_dims,
            "in_channels": len(self.spec.channels),
            "out_channels": self.spec.n_classes,
        }
        return replace(self.spec, network=given, patch=patch)


def open_data(name: str, data: Path, work: Path) -> DataSet:
    """Find a data set, and bring it into form if it is not.

    Args:
        name: ``hippocampus``, ``heart`` or ``lung nodules``.
        data: folder of the data sets.
        work: gets the folders ``heart-128-80`` and ``lung-nodules-consensus``.

    Returns:
        The data set.
    """
    if name == "hippocampus":
        return DataSet(name, data / "hippocampus", Recipe.read("hippocampus").spec)
    if name == "heart":
        return DataSet(name, heart.prepare(data / "heart", work), heart.spec_of())
    return DataSet(name, _write_nodules(data / "lung_nodules", work), nodule_spec("lung-nodules"))


def _write_nodules(data: Path, work: Path) -> Path:
    folder = work / "lung-nodules-consensus"
    if (folder / "splits.json").is_file():
        return folder
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[str]] = {}
    whose: dict[str, str] = {}
    for role, count in PER_PATIENT.items():
        slices = Slices.read(role, data)
        for patient in np.unique(slices.patients):
            for index in np.flatnonzero(slices.patients == patient)[:count]:
                scan = f"{role}-{index:05d}"
                splits.setdefault(role, []).append(scan)
                whose[scan] = str(patient)
                label = slices.masks[index].sum(axis=0) >= CONSENSUS
                for kind, values in (("images", 255 * slices.images[index]), ("labels", label)):
                    pixels = np.rint(values).astype(np.uint8)[..., None]
                    nib.save(nib.Nifti1Image(pixels, np.eye(4)), folder / kind / f"{scan}.nii.gz")
    with (folder / "subjects.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("case", "subject"))
        rows.writerows(whose.items())
    replace_text(folder / "splits.json", json.dumps({"splits": splits}))
    return folder


def shifted(scan: Scan, scan_id: str, kind: str, strength: int, seed: int) -> Scan:
    """The scan under one shift of suite v1; its seed follows from the scan and the kind.

    Args:
        scan: as read.
        scan_id: the scan.
        kind: name of the shift.
        strength: 1, 2 or 3.
        seed: of the benchmark.

    Returns:
        Other values on the same grid.
    """
    values = corrupt(scan.data.numpy(), kind, strength, shift_seed(seed, scan_id, kind))
    return replace(scan, data=scan.data.new_tensor(values))
