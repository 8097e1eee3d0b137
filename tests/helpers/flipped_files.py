"""Files with flipped bytes, as a bad cable or a bad intention makes them."""

import random
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np

from dicom_phantoms import make_series

__all__ = ["FORMATS", "flipped", "whole_files"]

FORMATS = {"NIfTI": 352, "NRRD": 300, "DICOM": 900}
"""Format -> how many bytes of a file are header, about."""

_SHAPE = (20, 18, 16)


def whole_files(folder: Path) -> dict[str, list[tuple[str, bytes]]]:
    """Name and content of the files of one scan in each format, as they are before a byte is flipped."""
    values = np.random.default_rng(0).normal(100, 20, _SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "scan.nii")
    geometry = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3),
        "space origin": np.zeros(3),
    }
    nrrd.write(str(folder / "scan.nrrd"), values, {**geometry, "encoding": "raw"})
    make_series(folder / "series")
    single = {"NIfTI": "scan.nii", "NRRD": "scan.nrrd"}
    files = {kind: [(name, (folder / name).read_bytes())] for kind, name in single.items()}
    return files | {
        "DICOM": [(file.name, file.read_bytes()) for file in sorted((folder / "series").iterdir())]
    }


def flipped(files: list[tuple[str, bytes]], kind: str, rng: random.Random) -> list[tuple[str, bytes]]:
    """The files with one to four bytes of one of them changed, most of them in its header."""
    which = rng.randrange(len(files))
    name, content = files[which]
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        reach = FORMATS[kind] if rng.random() < 0.9 else len(changed)
        changed[rng.randrange(min(reach, len(changed)))] = rng.randrange(256)
    return [*files[:which], (name, bytes(changed)), *files[which + 1 :]]
