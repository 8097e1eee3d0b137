"""Cine MRI of the heart (ACDC, 60 patients, two phases each): the second organ of the benchmarks.

The voxel sizes in the files are nominal, so every figure is measured in voxels, never in millimetres. Weights
that were trained on these scans are not shipped (CC BY-NC-SA 4.0).
"""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrust._files import replace_text
from segtrust.models import Label, ModelSpec
from segtrust.training.cases import LabelledFiles, cases_in, read_splits
from segtrust.training.loop import Budget

__all__ = ["BUDGET", "FOLDER", "SIDE", "cases", "prepare", "spec_of"]

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "data" / "heart"
LONG, SIDE = 128, 80
"""Pixels along the longer side of a slice after resampling, and of the middle that is kept."""
BUDGET = Budget(epochs=16, batch=2, learning_rate=4e-3, average=0.98, augment="light")


def prepare(data: Path, work: Path) -> Path:
    """Write the middle of every slice, coarser, one voxel being one unit; what is there is kept.

    On every *train* scan the middle holds the whole heart.

    Args:
        data: ACDC as ``images``, ``labels`` and ``splits.json``; a scan is ``<patient>_<frame>``.
        work: gets the folder ``heart-128-80``.

    Returns:
        That folder, with ``subjects.csv``: both frames of a patient are one subject's.
    """
    folder, splits = work / f"heart-{LONG}-{SIDE}", read_splits(data)
    if (folder / "splits.json").is_file():
        return folder
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for scan in (scan for role in splits.values() for scan in role):
            values = np.asarray(nib.load(data / kind / f"{scan}.nii.gz").dataobj)
            small = middle(values, order=1 if kind == "images" else 0)
            nib.save(nib.Nifti1Image(small, np.eye(4)), folder / kind / f"{scan}.nii.gz")
    with (folder / "subjects.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("case", "subject"))
        rows.writerows((scan, scan.partition("_")[0]) for role in splits.values() for scan in role)
    replace_text(folder / "splits.json", json.dumps({"splits": splits}))
    return folder


def middle(values: NDArray[np.number], *, order: int) -> NDArray[np.number]:
    """The middle of every slice, its longer side resampled to 128 pixels before; slices stay as they are."""
    share = LONG / max(values.shape[:2])
    small = ndimage.zoom(values, (share, share, 1), order=order)
    x, y = ((n - SIDE) // 2 for n in small.shape[:2])
    return np.ascontiguousarray(small[x : x + SIDE, y : y + SIDE])


def cases(folder: Path, role: str) -> tuple[LabelledFiles, ...]:
    """Files of a role (``train``, ``val``, ``test``) in a folder that :func:`prepare` made."""
    return cases_in(folder, read_splits(folder)[role])


def spec_of(*, dropout: float = 0.0, **network: object) -> ModelSpec:
    """A small 3-D U-Net that never joins slices; ``network`` replaces ``_target_`` or arguments of it."""
    return ModelSpec(
        name="heart",
        labels=(
            Label("right ventricle", 1, 1, (230, 159, 0)),
            Label("myocardium", 2, 2, (86, 180, 233)),
            Label("left ventricle", 3, 3, (0, 158, 115)),
        ),
        network={
            "_target_": "monai.networks.nets.UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 4,
            "channels": [16, 32, 64],
            "strides": [[2, 2, 1], [2, 2, 1]],
            "num_res_units": 1,
            "norm": "batch",
            "dropout": dropout,
            **network,
        },
        patch=(64, 64, 8),
        channels=("cine MRI",),
        modality="MR cine",
    )
