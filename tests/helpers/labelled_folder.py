"""A made-up data folder of balls with labels: images, labels and subjects."""

import csv

import nibabel as nib
import numpy as np

from phantoms import make_blob, write_scan

__all__ = ["make_folder"]


def make_folder(folder, subjects):
    """Write one ball per entry of ``subjects`` (scan -> subject), of differing radius, and say where."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, scan_id in enumerate(sorted(subjects)):
        scan = make_blob((10, 9, 8), radius=2.5 + 0.1 * (number % 8), seed=number)
        write_scan(scan, folder / "images" / f"{scan_id}.nii.gz")
        bright = (scan.data[0].numpy() > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(bright, scan.affine), folder / "labels" / f"{scan_id}.nii.gz")
    with (folder / "subjects.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("case", "subject"), *sorted(subjects.items())])
    return folder
