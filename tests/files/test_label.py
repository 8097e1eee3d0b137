"""Labels as other programs write them: read, turned onto their scan, or refused with the reason."""

import itertools

import nibabel as nib
import nrrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.errors import ScanError
from segtrust.files import Grid, Reordering
from segtrust.files.label import read_label_file
from segtrust.files.scan import read_scan_file, scan_grid

SHAPE = (5, 6, 7)


@pytest.fixture
def case(data_dir):
    """A file of the collected cases, or a skip that names it."""

    def find(name):
        path = data_dir.parent / "cases" / name
        if not path.exists():
            pytest.skip(f"no {name} among the collected cases")
        return path

    return find


def save(path, values, affine=None):
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def numbered(dtype=np.uint8):
    return (np.arange(210).reshape(SHAPE) % 3).astype(dtype)


def test_a_label_in_another_voxel_order_lies_on_its_scan_afterwards(case):
    scan = scan_grid(case("01-label-voxel-order/scan.nii.gz"))
    stored = read_label_file(case("01-label-voxel-order/label.nii.gz"))
    as_scan = read_label_file(case("01-label-voxel-order/label_ras.nii.gz"))
    assert stored.grid.reordering_to(scan) != as_scan.grid.reordering_to(scan)
    assert np.array_equal(stored.on(scan, "scan").values, as_scan.on(scan, "scan").values)


@pytest.mark.parametrize("name", ["L07_shape.nii.gz", "L08_other_place.nii.gz"])
def test_a_label_elsewhere_is_refused_with_both_grids(case, name):
    scan = scan_grid(case("02-label-elsewhere/g01_base.nii.gz"))
    label = read_label_file(case(f"02-label-elsewhere/{name}"))
    with pytest.raises(ScanError) as refused:
        label.on(scan, "g01")
    assert scan.describe() in str(refused.value)
    assert label.grid.describe() in str(refused.value)
    assert refused.value.code == "label_grid"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("04-truncated-label/L50.nii.gz", "cannot be read to its end"),
        ("11-non-integer-labels/L21_half.nii.gz", "must hold whole numbers"),
    ],
    ids=str,
)
def test_a_label_that_is_none_is_refused(case, name, words):
    with pytest.raises(ScanError, match=words):
        read_label_file(case(name))


def test_a_label_of_numpys_own_integers_is_read(case):
    path = case("19-int64-label/L13c_int64.nii.gz")
    expected = np.asarray(nib.load(path).dataobj)
    assert np.array_equal(read_label_file(path).values, expected)


def test_the_names_in_the_header_of_a_segmentation_are_read(case):
    label = read_label_file(case("15-seg-nrrd-names/L10_seg_swapped.seg.nrrd"))
    assert label.names == {1: "posterior hippocampus", 2: "anterior hippocampus"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("06-sform-qform/g02_sq_shift.nii.gz", "make `sform`, `qform` and `pixdim` agree"),
        ("06-sform-qform/g04_nocodes.nii.gz", "set `sform` and `qform` with a code above 0"),
        ("07-sheared-affine/g06_shear15.nii.gz", "shear"),
        ("08-complex/g12_complex64.nii.gz", "complex numbers. Save their magnitude"),
        ("16-huge-grid/g19_micron.nii.gz", "counts in micron"),
    ],
    ids=str,
)
def test_a_scan_of_which_the_place_is_not_clear_is_refused(case, name, words):
    with pytest.raises(ScanError, match=words):
        read_scan_file(case(name))


def test_an_unknown_voxel_size_stays_unknown(case):
    assert read_scan_file(case("21-unknown-voxel-size/g23c_nospace.nrrd")).grid.spacing is None


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd"])
def test_every_type_of_number_is_read_if_its_values_are_whole(tmp_path, dtype, suffix):
    values, path = numbered(dtype), tmp_path / f"label.{suffix}"
    if suffix == "nrrd":
        nrrd.write(
            str(path), values, {"space": "RAS", "space directions": np.eye(3), "space origin": [0, 0, 0]}
        )
    else:
        nib.save(nib.Nifti1Image(values, np.eye(4), dtype=values.dtype), path)
    label = read_label_file(path)
    assert np.array_equal(label.values, values)
    assert label.values.dtype == np.uint8


@pytest.mark.parametrize("value", [256, 299, 65535])
def test_values_above_255_stay_what_they_are(tmp_path, value):
    values = numbered(np.uint16)
    values[0, 0, 0] = value
    label = read_label_file(save(tmp_path / "label.nii", values))
    assert label.values[0, 0, 0] == value


@pytest.mark.parametrize("value", [-1, 65536, 0.5, np.nan, np.inf])
def test_a_value_that_is_no_label_is_refused(tmp_path, value):
    values = numbered(np.float64)
    values[0, 0, 0] = value
    with pytest.raises(ScanError, match="must hold whole numbers from 0 to 65535"):
        read_label_file(save(tmp_path / "label.nii", values))


def test_layers_are_refused(tmp_path):
    path = save(tmp_path / "label.nii", np.zeros((5, 6, 7, 2), np.uint8))
    with pytest.raises(ScanError, match="Export the segments into one layer"):
        read_label_file(path)


@given(
    order=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    angle=st.floats(-3, 3),
    size=st.tuples(*[st.floats(0.3, 5)] * 3),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_order_of_voxels_is_turned_back_exactly(order, flips, angle, size):
    affine = np.eye(4)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    affine[:3, :3], affine[:3, 3] = np.array(turn) @ np.diag(size), (10, -20, 30)
    grid = Grid(SHAPE, affine, size)
    values = np.arange(210).reshape(SHAPE)
    stored = Reordering(tuple(order), flips)
    other = stored.grid(grid)
    back = other.reordering_to(grid)
    assert back is not None
    assert np.array_equal(back.apply(stored.apply(values)), values)
    np.testing.assert_allclose(back.grid(other).affine, affine, atol=1e-9)


def test_all_48_orders_of_a_cube_are_told_apart():
    grid = Grid((4, 4, 4), np.eye(4), (1.0, 1.0, 1.0))
    turns = [
        Reordering(order, flips)
        for order in itertools.permutations(range(3))
        for flips in itertools.product([False, True], repeat=3)
    ]
    assert len({grid.reordering_to(turn.grid(grid)) for turn in turns}) == 48


@pytest.mark.parametrize("shift", [0.3, 0.5, 1.0, 100.0])
def test_a_shift_is_no_reordering(shift):
    affine = np.eye(4)
    affine[0, 3] = shift
    here, there = Grid(SHAPE, np.eye(4), (1.0,) * 3), Grid(SHAPE, affine, (1.0,) * 3)
    assert here.reordering_to(there) is None


def test_rounding_in_a_header_is_no_other_place():
    affine = np.eye(4)
    affine[0, 3] = 0.004
    here, there = Grid(SHAPE, np.eye(4), (1.0,) * 3), Grid(SHAPE, affine, (1.0,) * 3)
    assert here.reordering_to(there) == Reordering((0, 1, 2), (False, False, False))
