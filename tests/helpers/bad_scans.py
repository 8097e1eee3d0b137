"""Scans that a server refuses, each with the code and the words of the refusal."""

import gzip

import nibabel as nib
import numpy as np

__all__ = ["BAD_SCANS", "NOISE", "nifti"]


def nifti(array, suffix=".nii"):
    content = nib.Nifti1Image(array, np.eye(4)).to_bytes()
    return gzip.compress(content) if suffix == ".nii.gz" else content


NOISE = np.random.default_rng(0).normal(100, 20, (32, 40, 32)).astype(np.float32)
HOLED = NOISE.copy()
HOLED[5, 5, 5] = np.nan

BAD_SCANS = {
    "wrong number of channels": (
        nifti(np.stack([NOISE] * 2, axis=-1)),
        "scan_channels",
        "must have 1 channel",
    ),
    "not a number inside": (nifti(HOLED), "scan_not_finite", "1 voxels with NaN"),
    "all zeros": (nifti(np.zeros_like(NOISE)), "scan_constant", "is 0 everywhere"),
    "cut off": (nifti(NOISE, ".nii.gz")[:3000], "scan_unreadable", "cut off"),
    "no scan at all": (b"hello", "scan_unreadable", "cannot be read"),
    "nothing": (b"", "scan_unreadable", "cannot be read"),
}
