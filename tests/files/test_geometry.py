"""Volumes keep their voxel order; turning moves voxels only."""

import nibabel as nib
import numpy as np
import pytest

from segtrust.files import ras_axes, read_volume, toward_ras
from volume_folders import AFFINE


@pytest.mark.parametrize("code", ["RAS", "LPS", "SPL", "ASR", "PIR"])
def test_turning_is_nibabel_s_closest_canonical(code):
    data = np.random.default_rng(0).random((3, 4, 5))
    turned = nib.orientations.axcodes2ornt(tuple(code))
    affine = np.diag([2.0, 3.0, 4.0, 1.0]) @ nib.orientations.inv_ornt_aff(turned, data.shape)
    expected = nib.as_closest_canonical(nib.Nifti1Image(data, affine))
    assert np.array_equal(toward_ras(data, affine), np.asarray(expected.dataobj))
    steps = np.linalg.norm(affine[:3, :3], axis=0)[list(ras_axes(affine))]
    assert np.allclose(steps, expected.header.get_zooms())


def test_a_flat_image_is_one_slice(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5), np.uint8), AFFINE), tmp_path / "flat.nii.gz")
    assert read_volume(tmp_path / "flat.nii.gz").stored.shape == (4, 5, 1)
