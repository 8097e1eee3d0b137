"""Writes crops of lung nodules as NIfTI files of one slice, for the sample app `stochastic`.

    python benchmarks/papers/make_nodule_crops.py FOLDER

One crop of each of so many patients of the role test.
"""

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from lung_nodules import FOLDER, Slices, scan_of


def main() -> int:
    """Write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="made if it is missing")
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--count", type=int, default=12)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    slices = Slices.read("test", args.data)
    _, first = np.unique(slices.patients, return_index=True)
    for index in first[: args.count]:
        scan = scan_of(slices.images[index])
        path = args.folder / f"{slices.patients[index]}.nii.gz"
        nib.save(nib.Nifti1Image(scan.data[0].numpy().astype(np.uint8), scan.affine), path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
