"""An answer lies over its scan for every reader, or the scan is refused with what to mend."""

import contextlib
import itertools
import tempfile
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segtrust.errors import ScanError
from segtrust.files import nifti
from segtrust.files.scan import read_scan_file
from segtrust.inference.volumes import write_volume

NEAR_MM = 0.01
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (5, 6, 7)


def turn(a, b, c):
    rotations = []
    for axis, angle in enumerate((a, b, c)):
        matrix = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        matrix[i, i] = matrix[j, j] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        rotations.append(matrix)
    return rotations[0] @ rotations[1] @ rotations[2]


def corners(affine, shape=SHAPE):
    index = np.array(list(itertools.product(*((0, n - 1) for n in shape))), float)
    return index @ affine[:3, :3].T + affine[:3, 3]


def by_itk(path):
    image = itk.imread(str(path), itk.F)  # ITK for Python has no images of 64-bit integers
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS @ affine


def by_simple_itk(path):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS @ affine


def by_nibabel(path):
    return nib.load(path).affine


READERS = {"itk": by_itk, "SimpleITK": by_simple_itk, "nibabel": by_nibabel}


@pytest.fixture(autouse=True)
def quiet():
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    with contextlib.suppress(ImportError):
        import SimpleITK  # noqa: PLC0415

        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


def check_answer_lies_over(scan_path, folder):
    """Write an answer as the server does, and read scan and answer with every reader that reads both."""
    scan = read_scan_file(scan_path)
    answer = np.zeros(scan.grid.shape, np.uint8)
    for suffix in (".nii.gz", ".nrrd"):
        path = write_volume(answer, scan.grid.affine, Path(folder) / f"answer{suffix}")
        for name, read in READERS.items():
            if name == "nibabel" and suffix == ".nrrd":
                continue
            try:
                place = by_nibabel(scan_path) if name == "nibabel" else read(scan_path)
            except nib.filebasedimages.ImageFileError:
                place = scan.grid.affine  # NRRD and MetaImage, which nibabel does not read
            apart = np.abs(corners(read(path)) - corners(place)).max()
            assert apart < NEAR_MM, (name, suffix, apart)


def refusal(path, folder):
    """Why a scan is refused; ``None`` if it is read, and then its answers lie over it."""
    try:
        check_answer_lies_over(path, folder)
    except ScanError as error:
        return error
    return None


angles = st.tuples(*[st.floats(-3.1, 3.1)] * 3)
sizes = st.tuples(*[st.floats(0.2, 8)] * 3)
origins = st.tuples(*[st.floats(-300, 300)] * 3)
flips = st.tuples(*[st.sampled_from([1, -1])] * 3)
orders = st.permutations(range(3))
shears = st.sampled_from([0.0, 0.0, 0.0, 1e-6, 1e-3, 0.2])


@st.composite
def affines(draw):
    affine = np.eye(4)
    shear = np.eye(3)
    shear[0, 1] = draw(shears)
    steps = turn(*draw(angles)) @ shear @ np.diag(draw(sizes)) @ np.diag(draw(flips))
    affine[:3, :3] = steps[:, draw(orders)]
    affine[:3, 3] = draw(origins)
    return affine


FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.slow
@given(
    sform=affines(),
    other=st.one_of(st.none(), affines()),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    units=st.sampled_from([0, 2, 2, 2, 1, 3, 10]),
    negative=st.sampled_from([False, False, False, True]),
    dtype=st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8", "i8"]),
)
@FEW
def test_nifti_answers_lie_over_their_scans_or_the_scan_is_refused(
    write_nifti, sform, other, codes, units, negative, dtype
):
    values = np.random.default_rng(0).integers(1, 99, SHAPE).astype(dtype)
    pixdim = np.linalg.norm((sform if other is None else other)[:3, :3], axis=0)
    if negative:
        pixdim[0] *= -1
    qform = sform if other is None else other
    path = write_nifti(values=values, sform=sform, qform=qform, codes=codes, pixdim=pixdim, units=units)
    with tempfile.TemporaryDirectory() as folder:
        refused = refusal(path, folder)
    assert refused is None or (
        refused.code in {"scan_geometry", "scan_unreadable"} and "scan.nii" in str(refused)
    )


@pytest.mark.slow
@given(affine=affines(), suffix=st.sampled_from(["nrrd", "mha"]), compressed=st.booleans())
@FEW
def test_nrrd_and_metaimage_answers_lie_over_their_scans_or_the_scan_is_refused(affine, suffix, compressed):
    values = np.random.default_rng(0).integers(1, 99, SHAPE).astype(np.int16)
    lps = LPS @ affine
    size = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(values.T.copy())
    image.SetSpacing(size.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(lps[:3, :3] / size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan.{suffix}"
        itk.imwrite(image, str(path), compression=compressed)
        refused = refusal(path, folder)
    assert refused is None or refused.code == "scan_geometry"


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior", None])
@pytest.mark.parametrize("directions", [True, False])
def test_each_space_of_nrrd_is_read_as_itk_reads_it(tmp_path, space, directions):
    lines = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 5 6 7", "encoding: raw"]
    lines += [f"space: {space}"] if space else []
    if directions and space:
        lines += ["space directions: (0,2,0) (3,0,0) (0,0,-1)", "space origin: (1,2,3)"]
    elif not space:
        lines += ["spacings: 2 3 4"]
    path = tmp_path / "scan.nrrd"
    path.write_bytes("\n".join([*lines, "", ""]).encode() + bytes(range(210)))
    np.testing.assert_allclose(read_scan_file(path).grid.affine, by_itk(path), atol=1e-9)


@pytest.mark.parametrize("codes", list(itertools.product(range(4), range(4))), ids=str)
@pytest.mark.parametrize("shear", [0.0, 0.3])
def test_what_itk_reads_from_a_nifti_header_is_known(write_nifti, codes, shear):
    # held against ITK itself: a wrong guess would let a mask lie beside its scan
    size = np.diag([1.0, 2.0, 3.0])
    lean = np.eye(3)
    lean[0, 1] = shear
    sform, qform = np.eye(4), np.eye(4)
    sform[:3, :3], sform[:3, 3] = turn(0.3, 0.2, 0.1) @ lean @ size, (1, 2, 3)
    qform[:3, :3], qform[:3, 3] = turn(-0.5, 0.4, 0.3) @ size, (7, 8, 9)
    path = write_nifti(sform=sform, qform=qform, codes=codes, pixdim=(1, 2, 3))
    with path.open("rb") as file:
        geometry = nifti.geometry_of(file, path.name, compressed=False)
    expected = geometry.itk_affine("scan")
    if expected is None:
        with pytest.raises(RuntimeError, match="orthonormal"):
            by_itk(path)
    else:
        np.testing.assert_allclose(by_itk(path), expected, atol=1e-5)


@pytest.mark.parametrize("qfac", [-2.0, -0.5, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("codes", [(0, 1), (1, 1), (2, 1)], ids=str)
def test_a_third_axis_that_readers_turn_differently_is_refused(write_nifti, tmp_path, qfac, codes):
    # ITK looks at the sign of pixdim[0], nibabel for -1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn(0.3, 0.2, 0.1) @ np.diag([1, 2, 3]), (7, 8, 9)
    path = write_nifti(sform=affine, qform=affine, codes=codes, patch=[("<f", 76, qfac)])
    refused = refusal(path, tmp_path)
    assert (refused is not None) == (qfac < 0 and codes != (1, 1))
    assert refused is None or "nibabel and ITK read it" in str(refused)


@pytest.mark.parametrize(("slope", "intercept"), [(0, 5), (np.nan, 5), (0, 0), (np.nan, np.nan), (1, 0)])
def test_values_that_readers_scale_differently_are_refused(write_nifti, slope, intercept):
    path = write_nifti(patch=[("<2f", 112, slope, intercept)])
    if intercept == 5:
        with pytest.raises(ScanError, match=r"adds 5 to every value \(`scl_inter`\)"):
            read_scan_file(path)
    else:
        read = read_scan_file(path).values[0]
        np.testing.assert_array_equal(read, itk.array_from_image(itk.imread(str(path), itk.F)).T)


NRRD_ALONG = ["spacings: 1 1.5 2"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*NRRD_ALONG, "axis mins: 10 20 30"], "`axis mins`"),
        ([*NRRD_ALONG, "axismins: 0 0 0", "centerings: cell cell cell"], "`axismins`"),
        (["axis mins: 0 0 0", "axis maxs: 4 5 6"], "`axis mins`"),
        ([*NRRD_ALONG, "axis mins: nan nan nan"], ""),
        ([*NRRD_ALONG, "space: RAS"], "`spacings` in a `space`"),
        ([*NRRD_ALONG, "space dimension: 3", "space origin: (1,2,3)"], "`spacings` in a `space`"),
        ([*NRRD_ALONG, 'units: "cm" "cm" "cm"'], "not in mm"),
        ([*NRRD_ALONG, 'units: "mm" "" "mm"'], ""),
    ],
    ids=str,
)
def test_places_of_nrrd_that_itk_reads_otherwise_are_refused(tmp_path, lines, words):
    head = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 5 6 7", "encoding: raw"]
    path = tmp_path / "scan.nrrd"
    path.write_bytes("\n".join([*head, *lines, "", ""]).encode() + bytes(range(210)))
    if words:
        with pytest.raises(ScanError, match=words):
            read_scan_file(path)
    else:
        check_answer_lies_over(path, tmp_path)


@pytest.mark.parametrize("units", ["um um um", '"um" "um" "um"', '"mm" "mm" "um"'])
def test_lengths_of_nrrd_in_other_units_are_refused(tmp_path, units):
    head = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 5 6 7", "encoding: raw", "space: LPS"]
    head += ["space directions: (1,0,0) (0,1,0) (0,0,1)", f"space units: {units}", "", ""]
    path = tmp_path / "scan.nrrd"
    path.write_bytes("\n".join(head).encode() + bytes(range(210)))
    with pytest.raises(ScanError, match="not in mm"):
        read_scan_file(path)
