"""Eight scans made on the spot: both hippocampi of the MNI152 T1 template, with altered acquisition.

The template ships with nilearn, so that the demo runs without any data. It is an average of 152 heads and
smoother than a scan of one; the scans show how masks and maps react to an acquisition, not their accuracy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["CHANGES", "write_template_scans"]

Volume = NDArray[np.float32]

_CENTRE_MM = (-27.0, -21.0, -15.0)  # middle of the hippocampus on the template's negative side
_SHAPE = (35, 51, 36)  # voxels of 1 mm, like the scans the model was trained on
_SEED = 20240521


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """One scan: which side of the template, turned by how much, and what happened to its intensities."""

    name: str
    mirrored: bool
    degrees: float = 0.0
    alter: Callable[[Volume, np.random.Generator], Volume] = lambda crop, _: crop


def _gamma(power: float) -> Callable[[Volume, np.random.Generator], Volume]:
    return lambda crop, _: crop**power


def _blur(millimetres: float) -> Callable[[Volume, np.random.Generator], Volume]:
    return lambda crop, _: ndimage.gaussian_filter(crop, millimetres)


def _noise(share: float) -> Callable[[Volume, np.random.Generator], Volume]:
    return lambda crop, random: np.abs(crop + share * random.standard_normal(crop.shape, dtype=np.float32))


def _bias(strength: float) -> Callable[[Volume, np.random.Generator], Volume]:
    def alter(crop: Volume, _: np.random.Generator) -> Volume:
        steps = [np.linspace(-1, 1, n, dtype=np.float32) for n in crop.shape]
        ramp = steps[0][:, None, None] + steps[1][None, :, None] * 0.5 - steps[2][None, None, :] * 0.5
        shaded: Volume = crop * np.exp(strength * ramp)
        return shaded

    return alter


CHANGES: tuple[Alteration, ...] = (
    Alteration(name="template_plain", mirrored=False),
    Alteration(name="template_plain_mirrored", mirrored=True),
    Alteration(name="template_turned", mirrored=True, degrees=8.0),
    Alteration(name="template_contrast", mirrored=False, alter=_gamma(0.6)),
    Alteration(name="template_bias_field", mirrored=True, alter=_bias(0.5)),
    Alteration(name="template_blurred", mirrored=False, alter=_blur(1.5)),
    Alteration(name="template_noisy", mirrored=True, alter=_noise(0.05)),
    Alteration(name="template_very_noisy", mirrored=False, degrees=-8.0, alter=_noise(0.15)),
)
"""The scans in the order of their making. Powers and shares refer to intensities from 0 to 1, blur to mm."""


def write_template_scans(folder: Path) -> list[Path]:
    """Make the scans of :data:`CHANGES`; the same bytes of image each time.

    Args:
        folder: where the ``.nii.gz`` files go.

    Returns:
        The files.

    Source:
        Template: Fonov et al. 2011, "Unbiased average age-appropriate atlases for pediatric studies".
    """
    from nilearn.datasets import load_mni152_template  # noqa: PLC0415 -- slow, and only needed without other scans

    template = load_mni152_template(resolution=1)
    head = np.asarray(template.dataobj, dtype=np.float32)
    head = np.clip(head / np.percentile(head, 99.9), 0, 1)
    files = []
    for number, change in enumerate(CHANGES):
        centre = np.array(_CENTRE_MM) * (-1.0 if change.mirrored else 1.0, 1.0, 1.0)
        crop, affine = _crop(head, template.affine, centre, change)
        crop = change.alter(crop, np.random.default_rng((_SEED, number))).astype(np.float32)
        image = nib.Nifti1Image(np.round(crop * 1000).astype(np.int16), affine)
        image.header.set_xyzt_units("mm")
        file = folder / f"{change.name}.nii.gz"
        nib.save(image, file)
        files.append(file)
    return files


def _crop(
    head: Volume, affine: NDArray[np.float64], centre_mm: NDArray[np.float64], change: Alteration
) -> tuple[Volume, NDArray[np.float64]]:
    """Sample 1 mm voxels around a point, turned about the left-right axis; the header keeps its place."""
    angle = np.deg2rad(change.degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    crop_to_mm = np.eye(4)
    crop_to_mm[:3, :3] = turn
    crop_to_mm[:3, 3] = centre_mm - turn @ ((np.array(_SHAPE) - 1) / 2)
    crop_to_voxel = np.linalg.inv(affine) @ crop_to_mm
    crop: Volume = ndimage.affine_transform(
        head, crop_to_voxel[:3, :3], crop_to_voxel[:3, 3], output_shape=_SHAPE, order=1
    )
    return crop, crop_to_mm
