"""Written volumes carry the geometry of their scan."""

import nibabel as nib
import numpy as np
import pytest

from phantoms import make_blob, store_otherwise
from segtrust.errors import ScanError
from segtrust.inference import read_scan, write_volume

TURNED = np.array([[0.9, -0.3, 0.0, 5.0], [0.27, 0.85, -0.4, -7.0], [0.12, 0.38, 1.8, 11.0], [0, 0, 0, 1.0]])


def turned(size):
    """A rotation near TURNED, scaled to voxel sizes."""
    u, _, v = np.linalg.svd(TURNED[:3, :3])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = (u @ v) * size, TURNED[:3, 3]
    return affine


GEOMETRIES = {
    "1 mm": np.eye(4),
    "anisotropic": np.diag([0.43, 0.43, 6.5, 1.0]),
    "flipped": np.diag([-1.0, -2.0, 3.0, 1.0]),
    "mirrored": np.diag([-1.0, 2.0, 3.0, 1.0]),
    "oblique": turned((0.7, 0.9, 2.5)),
    "permuted": store_otherwise(
        make_blob((4, 5, 6), turned((1, 2, 3))), (2, 0, 1), (True, False, True)
    ).affine,
}


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "nii"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_volume_is_read_back_with_its_values_and_geometry(tmp_path, geometry, suffix):
    array = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    path = write_volume(array, GEOMETRIES[geometry], tmp_path / f"map.{suffix}")
    again = read_scan(path)
    np.testing.assert_array_equal(again.data[0].numpy(), array)
    # NIfTI keeps float32 and a quaternion
    np.testing.assert_allclose(again.affine, GEOMETRIES[geometry], atol=2e-5)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 5, 2), (1, 5, 6)], ids=str)
def test_thin_volumes_keep_their_shape(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = write_volume(array, np.eye(4), tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj).reshape(shape), array)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_type_of_the_voxels_is_kept(tmp_path, dtype):
    path = write_volume(np.ones((3, 3, 3), dtype), np.eye(4), tmp_path / "map.nii")
    assert nib.load(path).get_data_dtype() == dtype


def test_a_direction_that_a_header_has_rounded_is_made_right(tmp_path):
    affine = turned((1.0, 1.0, 1.0))
    affine[:3, :3] = affine[:3, :3].round(4)
    again = read_scan(
        write_volume(np.ones((3, 3, 3), np.uint8) * np.arange(3, dtype=np.uint8), affine, tmp_path / "m.nrrd")
    )
    np.testing.assert_allclose(again.affine, affine, atol=1e-4)


@pytest.mark.parametrize("damage", [0.0, np.nan], ids=["zero", "not a number"])
def test_a_header_without_voxel_size_cannot_be_written(tmp_path, damage):
    affine = np.eye(4)
    affine[:3, 2] = damage
    with pytest.raises(ScanError, match="must give every voxel axis a length above 0"):
        write_volume(np.ones((3, 3, 3), np.uint8), affine, tmp_path / "m.nrrd")
    assert not (tmp_path / "m.nrrd").exists()
