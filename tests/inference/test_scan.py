"""Reading scans, putting them on the network's grid, and the way back."""

import itertools
import re

import itk
import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from phantoms import make_blob, spec_of, store_otherwise, world_coordinates, write_scan
from segtrust.errors import ScanError
from segtrust.inference.scan import (
    Scan,
    content_box,
    extent_mm,
    fingerprint,
    normalise_intensity,
    prepare,
    read_scan,
)
from segtrust.models import Intensity
from strategies import rotations


def nifti(path, array, affine=None):
    nib.save(
        nib.Nifti1Image(np.asarray(array, dtype=np.float32), np.eye(4) if affine is None else affine), path
    )
    return path


def noise(*shape):
    return np.random.default_rng(0).uniform(1, 2, shape)


def oblique(size=(1.0, 1.0, 1.0), degrees=20.0, shift=(5.0, -7.0, 11.0)):
    """Voxels to millimetres: turned about two axes, with voxel sizes and an origin."""
    a, b = np.deg2rad(degrees), np.deg2rad(degrees / 2)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag(size)
    affine[:3, 3] = shift
    return affine


# --- reading -----------------------------------------------------------------------------------------------


def test_a_nifti_file_is_read_in_its_own_voxel_order(tmp_path):
    array, affine = noise(4, 5, 6), oblique((1.0, 2.0, 3.0))
    scan = read_scan(nifti(tmp_path / "a.nii.gz", array, affine))
    assert scan.shape == (4, 5, 6)
    np.testing.assert_allclose(scan.data[0], array, rtol=1e-6)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-5)  # NIfTI stores float32
    assert scan.spacing == pytest.approx((1, 2, 3), abs=1e-6)


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_files_of_itk_come_with_ras_millimetres(tmp_path, suffix):
    image = itk.image_from_array(noise(6, 5, 4).astype(np.float32))  # ITK counts z first
    image.SetSpacing([1.0, 2.0, 3.0])
    image.SetOrigin([10.0, 20.0, 30.0])
    itk.imwrite(image, str(tmp_path / f"a.{suffix}"))
    scan = read_scan(tmp_path / f"a.{suffix}")
    assert scan.shape == (4, 5, 6)
    # LPS to RAS: the first two axes change sign
    expected = np.diag([-1.0, -2.0, 3.0, 1.0])
    expected[:3, 3] = [-10, -20, 30]
    np.testing.assert_allclose(scan.affine, expected, atol=1e-12)


@pytest.mark.parametrize("suffix", ["nii", "nrrd"])
def test_a_flat_image_is_one_slice(tmp_path, suffix):
    array = noise(4, 5).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    nifti(path, array) if suffix == "nii" else itk.imwrite(itk.image_from_array(array.T.copy()), str(path))
    scan = read_scan(path)
    assert scan.shape == (4, 5, 1)
    assert scan.affine.shape == (4, 4)


def test_several_channels_come_first(tmp_path):
    array = noise(4, 5, 6, 2)
    scan = read_scan(nifti(tmp_path / "a.nii", array), channels=2)
    np.testing.assert_allclose(scan.data, np.moveaxis(array, -1, 0), rtol=1e-6)


def test_one_channel_may_have_an_axis_of_its_own(tmp_path):
    assert read_scan(nifti(tmp_path / "a.nii", noise(4, 5, 6, 1))).shape == (4, 5, 6)


def test_a_dicom_series_is_read_from_its_folder(dicom_head_dir):
    scan = read_scan(dicom_head_dir)
    assert scan.shape[2] == 22
    assert scan.spacing[2] == pytest.approx(6.5, abs=0.01)


def bad(tmp_path, kind):
    path = tmp_path / "bad.nii.gz"
    if kind == "missing":
        return path
    arrays = {
        "not a number": np.where(np.arange(60).reshape(3, 4, 5) == 7, np.nan, noise(3, 4, 5)),
        "infinite": np.where(np.arange(60).reshape(3, 4, 5) == 7, np.inf, noise(3, 4, 5)),
        "all zero": np.zeros((3, 4, 5)),
        "constant": np.full((3, 4, 5), 7.0),
        "two channels": noise(3, 4, 5, 2),
        "time series": noise(3, 4, 5, 9),
        "five axes": noise(3, 4, 5, 2, 3),
    }
    nifti(path, arrays.get(kind, noise(20, 20, 20)))
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:5000])
    if kind == "cut off and not compressed":
        path = nifti(tmp_path / "bad.nii", noise(20, 20, 20))
        path.write_bytes(path.read_bytes()[:5000])
    if kind == "text":
        path.write_text("no scan")
    if kind == "empty file":
        path.write_bytes(b"")
    return path


BAD = {
    "missing": ("scan_missing", "does not exist"),
    "cut off": (
        "scan_unreadable",
        "to its end: its compressed content is damaged (it ends before",
    ),
    "cut off and not compressed": (
        "scan_unreadable",
        "to its end: its header claims 32,000 bytes of values",
    ),
    "text": (
        "scan_unreadable",
        "must be compressed NIfTI (.nii.gz), but its content is of",
    ),
    "empty file": ("scan_unreadable", "cannot be read: it is empty. Copy it again."),
    "not a number": ("scan_not_finite", "must hold finite numbers, got 1 voxels with NaN or infinity"),
    "infinite": ("scan_not_finite", "got 1 voxels with NaN or infinity"),
    "all zero": ("scan_constant", "channel 0 is 0 everywhere"),
    "constant": ("scan_constant", "must not be empty, but channel 0 is 7 everywhere"),
    "two channels": ("scan_channels", "must have 1 channel(s), got 2. Give one file"),
    "time series": ("scan_channels", "must have 1 channel(s), got 9"),
    "five axes": (
        "scan_dimensions",
        "must be one volume, got shape (3, 4, 5, 2, 3). Split time series first.",
    ),
}


@pytest.mark.parametrize(("kind", "code", "words"), [(k, *v) for k, v in BAD.items()], ids=BAD)
def test_a_bad_scan_is_refused_with_its_name_and_the_reason(tmp_path, kind, code, words):
    with pytest.raises(ScanError, match=re.escape(words)) as caught:
        read_scan(bad(tmp_path, kind))
    assert caught.value.code == code
    assert "bad.nii" in str(caught.value)


def test_too_few_channels_are_refused(tmp_path):
    with pytest.raises(ScanError, match=r"must have 2 channel\(s\), got 1"):
        read_scan(nifti(tmp_path / "a.nii", noise(3, 4, 5)), channels=2)


def test_one_constant_channel_is_named(tmp_path):
    array = np.stack([noise(3, 4, 5), np.full((3, 4, 5), 2.0)], axis=-1)
    with pytest.raises(ScanError, match="channel 1 is 2 everywhere"):
        read_scan(nifti(tmp_path / "a.nii", array), channels=2)


def test_a_file_that_itk_cannot_read_is_refused(tmp_path):
    (tmp_path / "a.nrrd").write_text("NRRD0004\nnothing")
    with pytest.raises(ScanError, match=r"its header does not end\. Was it cut off") as caught:
        read_scan(tmp_path / "a.nrrd")
    assert caught.value.code == "scan_unreadable"


# --- fingerprint -------------------------------------------------------------------------------------------


def test_the_fingerprint_changes_with_the_content(tmp_path):
    path = nifti(tmp_path / "a.nii", noise(3, 4, 5))
    first = fingerprint(path)
    assert fingerprint(path) == first
    nifti(path, noise(3, 4, 6))
    assert fingerprint(path) != first


def test_the_fingerprint_of_a_folder_changes_with_its_files(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    first = fingerprint(tmp_path)
    (tmp_path / "b").unlink()
    assert fingerprint(tmp_path) != first


@pytest.mark.parametrize("name", ["nothing.nii", "empty"])
def test_nothing_has_no_fingerprint(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match=r"cannot be opened|must hold the files of a scan") as caught:
        fingerprint(tmp_path / name)
    assert caught.value.code == "scan_missing"


# --- content and intensity ---------------------------------------------------------------------------------


def test_the_content_box_by_hand():
    data = torch.full((1, 6, 5, 4), -3.0)
    data[0, 1:4, 2, 3] = 1.0
    assert content_box(data) == (slice(1, 4), slice(2, 3), slice(3, 4))


def ct(shape=(9, 8, 7)):
    """Air and tissue of a CT, nowhere constant."""
    return torch.from_numpy(np.random.default_rng(0).uniform(-1024, 1500, (1, *shape))).float()


@pytest.mark.parametrize("value", [0.0, -1024.0, -2000.0, -3024.0])
@pytest.mark.parametrize("sides", [(1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 3), (2, 1, 1, 2, 3, 1)], ids=str)
def test_a_ct_filled_up_with_any_value_has_the_content_of_the_ct(value, sides):
    wide = torch.nn.functional.pad(ct(), sides, value=value)
    z0, z1, y0, y1, x0, x1 = sides  # PyTorch counts the last axis first
    assert content_box(wide) == (slice(x0, x0 + 9), slice(y0, y0 + 8), slice(z0, z0 + 7))
    assert wide.shape[1:] == (9 + x0 + x1, 8 + y0 + y1, 7 + z0 + z1)


def test_each_side_may_be_filled_up_with_a_value_of_its_own():
    wide = torch.nn.functional.pad(ct(), (2, 0, 0, 0, 0, 0), value=0.0)
    wide = torch.nn.functional.pad(wide, (0, 1, 1, 0, 0, 0), value=-1024.0)
    wide = torch.nn.functional.pad(wide, (0, 0, 0, 0, 3, 3), value=-500.0)
    assert content_box(wide) == (slice(3, 12), slice(1, 9), slice(2, 9))


def test_air_above_a_round_field_of_view_is_no_content():
    # outside its circle the scanner wrote -3024; a program added slices of air at -1024
    x, y = np.meshgrid(np.arange(12), np.arange(12), indexing="ij")
    data = ct((12, 12, 5))
    data[0, torch.from_numpy((x - 5.5) ** 2 + (y - 5.5) ** 2 > 36)] = -3024
    wide = torch.nn.functional.pad(data, (2, 1), value=-1024.0)
    assert content_box(wide) == (slice(0, 12), slice(0, 12), slice(2, 7))


def test_a_border_that_is_saturated_is_content():
    data = ct()
    data[0, 0] = data[0, 1] = 3071
    assert content_box(data) == (slice(0, 9), slice(0, 8), slice(0, 7))


def test_few_voxels_of_one_value_are_no_padding():
    line = torch.tensor([5.0, 0, 9, 1, 7]).view(1, 5, 1, 1)
    assert content_box(line) == (slice(0, 5), slice(0, 1), slice(0, 1))


def test_filling_must_be_constant_in_every_channel():
    data = torch.cat([ct(), ct() * 0.5])
    both = torch.nn.functional.pad(data, (0, 0, 0, 0, 2, 0), value=7.0)
    assert content_box(both)[0] == slice(2, 11)
    both[1, 0] = ct((1, 8, 7))[0, 0]
    assert content_box(both)[0] == slice(0, 11)


def test_a_voxel_of_any_channel_is_content():
    data = torch.zeros(2, 5, 5, 5)
    data[0, 1, 1, 1] = data[1, 3, 3, 3] = 1
    assert content_box(data) == (slice(1, 4),) * 3


def test_the_extent_is_that_of_the_content_in_millimetres():
    data = torch.zeros(1, 6, 6, 6)
    data[0, 1:4, 0:2, 5] = 1
    assert extent_mm(Scan(data, np.eye(4), (1.0, 2.0, 3.0))) == (3.0, 4.0, 3.0)
    assert extent_mm(Scan(data, np.eye(4), None)) is None


def test_zscore_by_hand():
    # 1, 3: mean 2, population standard deviation 1
    got = normalise_intensity(torch.tensor([[[[1.0, 3.0]]]]), Intensity())
    np.testing.assert_allclose(got.flatten(), [-1, 1], atol=1e-6)


def test_every_channel_is_normalised_by_itself():
    image = torch.stack([torch.arange(8.0), 1000 * torch.arange(8.0) + 5]).view(2, 2, 2, 2)
    got = normalise_intensity(image, Intensity())
    torch.testing.assert_close(got[0], got[1], rtol=0, atol=1e-5)


def test_a_window_by_hand():
    # (-100, 300): 100 is in the middle, beyond the ends is clipped
    got = normalise_intensity(torch.tensor([[[[-500.0, 100.0, 900.0]]]]), Intensity("window", -100.0, 300.0))
    assert got.flatten().tolist() == [0.0, 0.5, 1.0]


def test_large_intensities_are_normalised_in_float64():
    image = 1.7e6 + torch.arange(64.0).view(1, 4, 4, 4)
    got = normalise_intensity(image, Intensity()).double()
    assert got.mean().item() == pytest.approx(0, abs=1e-6)
    assert got.std(correction=0).item() == pytest.approx(1, abs=1e-6)


# --- the grid and the way back -----------------------------------------------------------------------------

GEOMETRIES = {
    "1 mm": np.eye(4),
    "anisotropic": np.diag([0.8, 0.8, 3.0, 1.0]),
    "oblique": oblique(),
    "oblique and anisotropic": oblique((0.7, 0.9, 2.5)),
    "flipped": np.diag([-1.0, -1.2, 1.0, 1.0]),
}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 1.0, 2.0), None], ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("slices", [1, 2, 3, 10])
def test_probabilities_come_back_on_the_very_same_grid(geometry, slices, spacing):
    scan = make_blob((14, 12, slices), GEOMETRIES[geometry])
    prepared = prepare(scan, spec_of(spacing=spacing))
    constant = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1).expand(2, *prepared.image.shape[1:])
    got = prepared.to_native(constant, background=0)
    assert got.shape == (2, *scan.shape)
    torch.testing.assert_close(got[1], torch.full(scan.shape, 0.75), rtol=0, atol=1e-6)


def tilted_plane(scan, direction=(0.011, -0.007, 0.004)):
    """A value that is linear in world millimetres: linear interpolation must keep it exactly."""
    world = world_coordinates(scan.shape, scan.affine)
    middle = world.reshape(-1, 3).mean(0)
    return torch.from_numpy(0.5 + (world - middle) @ np.array(direction)).float()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.6, 1.1, 1.4), None], ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_plane_in_world_millimetres_survives_there_and_back(geometry, spacing):
    # an oracle without any resampling: the plane, evaluated at the native voxels
    scan = make_blob((15, 14, 13), GEOMETRIES[geometry])
    plane = tilted_plane(scan)
    as_image = Scan(plane[None], scan.affine, scan.spacing)
    spec = spec_of(spacing=spacing, intensity=Intensity("window", 0.0, 1.0))
    prepared = prepare(as_image, spec)
    p = torch.cat([1 - prepared.image, prepared.image])
    got = prepared.to_native(p, background=None)[1]
    inner = (slice(3, -3),) * 3  # at the border the grid's last voxel stands for what lies beyond it
    torch.testing.assert_close(got[inner], plane[inner], rtol=0, atol=2e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), None], ids=str)
@given(rotations())
@hypothesis_settings(max_examples=12)
def test_the_grid_is_bit_identical_however_the_voxels_are_stored(spacing, how):
    scan, spec = make_blob((11, 9, 7), oblique((1.0, 1.2, 1.5), 10.0)), spec_of(spacing=spacing)
    plain, otherwise = prepare(scan, spec).image, prepare(store_otherwise(scan, *how), spec).image
    # the affine is recomputed from flipped ends: coordinates differ in the last bits of float64
    torch.testing.assert_close(otherwise, plain, rtol=0, atol=1e-5)


def test_all_48_ways_to_store_a_scan_are_turned_to_one():
    scan, spec = make_blob((5, 4, 3), np.diag([1.0, 2.0, 3.0, 1.0])), spec_of(spacing=None)
    plain = prepare(scan, spec).image
    for order in itertools.permutations(range(3)):
        for flips in itertools.product([False, True], repeat=3):
            assert torch.equal(prepare(store_otherwise(scan, order, flips), spec).image, plain)


def test_padding_is_cut_off_and_comes_back_as_certain_background():
    scan = make_blob((8, 7, 6))
    data = torch.full((1, 12, 9, 10), float(scan.data.amin()))
    data[:, 2:10, 1:8, 3:9] = scan.data
    affine = np.eye(4)
    affine[:3, 3] = [-2, -1, -3]
    prepared = prepare(Scan(data, affine, scan.spacing), spec_of())
    assert torch.equal(prepared.image, prepare(scan, spec_of()).image)
    got = prepared.to_native(torch.full((2, *prepared.image.shape[1:]), 0.5), background=0)
    assert got[1].sum() == pytest.approx(0.5 * 8 * 7 * 6)
    assert got[:, 0, 0, 0].tolist() == [1.0, 0.0]


def test_padding_of_a_sigmoid_head_is_zero_in_every_channel():
    data = torch.zeros(1, 6, 6, 6)
    data[0, 2:5, 2:5, 2:5] = torch.from_numpy(noise(3, 3, 3)).float()
    prepared = prepare(Scan(data, np.eye(4), (1.0, 1.0, 1.0)), spec_of())
    got = prepared.to_native(torch.full((2, *prepared.image.shape[1:]), 0.5), background=None)
    assert got[:, 0, 0, 0].tolist() == [0.0, 0.0]


def test_a_scan_without_voxel_sizes_is_used_as_it_is_stored():
    scan = make_blob((9, 8, 7))
    flat = scan.affine.copy()
    flat[2, 2] = 0
    prepared = prepare(Scan(scan.data, flat, None), spec_of())
    assert prepared.image.shape == (1, 9, 8, 7)
    assert prepared.to_native(torch.full((2, 9, 8, 7), 0.5), background=0).shape == (2, 9, 8, 7)


def test_a_file_written_by_us_is_read_back_the_same(tmp_path):
    scan = make_blob((6, 5, 4), oblique())
    again = read_scan(write_scan(scan, tmp_path / "a.nii.gz"))
    assert torch.equal(again.data, scan.data)
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-5)


def test_vectors_on_the_fifth_axis_are_channels(tmp_path):
    voxels = noise(3, 4, 5, 1, 2)
    scan = read_scan(nifti(tmp_path / "vectors.nii", voxels), channels=2)
    np.testing.assert_array_equal(scan.data, np.moveaxis(voxels[:, :, :, 0], -1, 0).astype(np.float32))
