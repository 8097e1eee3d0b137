"""Writing probabilities the way they were read, so that the next tool takes them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segtrust.adapters.folder import CaseFiles
from segtrust.decisions import label_type

__all__ = ["write_mask", "write_probabilities"]


def write_probabilities(files: CaseFiles, probs: Tensor, affine: NDArray[np.float64], folder: Path) -> Path:
    """Write the probabilities of one scan.

    Args:
        files: where the probabilities came from; an ``.npz`` is answered with one in nnU-Net's form, and its
            mask beside it, anything else with a NIfTI file whose fourth axis holds the classes.
        probs: ``(C, X, Y, Z)``.
        affine: voxels to RAS+ millimetres.
        folder: where to; the id is the file's name.

    Returns:
        The file.
    """
    values = probs.float().numpy()
    if files.volumes[0].suffix == ".npz":
        path = folder / f"{files.id}.npz"
        np.savez_compressed(path, probabilities=values.transpose(0, 3, 2, 1))
        mask = values.argmax(axis=0).astype(label_type(len(values)))
        write_mask(mask, affine, folder / f"{files.id}.nii.gz")
        return path
    return _write_nifti(np.moveaxis(values, 0, -1), affine, folder / f"{files.id}.nii.gz")


def write_mask(mask: NDArray[np.integer[Any]], affine: NDArray[np.float64], path: Path) -> Path:
    """Write a mask, such as flags.

    Args:
        mask: ``(X, Y, Z)``.
        affine: voxels to RAS+ millimetres.
        path: ends in ``.nii.gz``.

    Returns:
        ``path``.
    """
    return _write_nifti(mask, affine, path)


def _write_nifti(values: NDArray[Any], affine: NDArray[np.float64], path: Path) -> Path:
    import nibabel as nib  # noqa: PLC0415  # only the format that is written needs its library

    nib.save(nib.Nifti1Image(values, affine), path)
    return path
