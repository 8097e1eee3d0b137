"""Probability volumes of other programs: turned where their files say how, refused where nobody knows."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.adapters import find_cases, named, read_case, volume_files
from segtrust.adapters.folder import find_volumes
from segtrust.errors import ProbabilityError, ScanError
from segtrust.files import FileLimits, use_limits
from segtrust.files.probabilities import read_probability_volume
from volume_folders import AFFINE, FORMS, made_volume, write_cohort

PROBS, TRUTH = made_volume(3)
MASK = PROBS.argmax(axis=0).astype(np.uint8)
ORDERS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def turned(array, axes, flips):
    """An array ``(..., X, Y, Z)`` with its last three axes in another order, as a writer may leave them."""
    lead = tuple(range(array.ndim - 3))
    moved = array.transpose(*lead, *(len(lead) + axis for axis in axes))
    return moved[(..., *(slice(None, None, -1 if flip else 1) for flip in flips))]


def turned_affine(shape, axes, flips, affine=AFFINE):
    out = affine.copy()
    out[:3, :3] = affine[:3, list(axes)]
    for k, flip in enumerate(flips):
        if flip:
            out[:3, 3] += out[:3, k] * (shape[axes[k]] - 1)
            out[:3, k] *= -1
    return out


def write_npz(folder, probs, mask, *, key="probabilities", affine=AFFINE, dtype=np.float32, name="case"):
    """``probs`` (C, X, Y, Z) as nnU-Net stores it; a mask beside it unless ``None``."""
    np.savez_compressed(folder / f"{name}.npz", **{key: probs.transpose(0, 3, 2, 1).astype(dtype)})
    if mask is None:
        return folder / f"{name}.npz", None
    nib.save(nib.Nifti1Image(mask, affine), folder / f"{name}.nii.gz")
    return folder / f"{name}.npz", folder / f"{name}.nii.gz"


def read_npz(path, mask, **options):
    return read_probability_volume("case", [path], mask=mask, **options)


# --- .npz and its mask -------------------------------------------------------------------------------------


@given(order=st.sampled_from(ORDERS), half=st.booleans(), key=st.sampled_from(["probabilities", "softmax"]))
@settings(max_examples=48)
def test_an_npz_in_any_order_comes_out_in_that_of_its_mask(tmp_path_factory, order, half, key):
    axes, flips = order
    files = write_npz(
        tmp_path_factory.mktemp("npz"),
        turned(PROBS, axes, flips),
        MASK,
        key=key,
        dtype=np.float16 if half else np.float32,
    )
    volume = read_npz(*files)
    assert torch.allclose(volume.probs, torch.from_numpy(PROBS), atol=1e-3 if half else 1e-6)
    assert np.allclose(volume.grid.affine, AFFINE)


def test_a_mask_without_any_structure_keeps_the_stored_order(tmp_path):
    probs = np.stack([np.full((4, 4, 4), 0.9), np.linspace(0.01, 0.09, 64).reshape(4, 4, 4)])
    probs[0] = 1 - probs[1]
    volume = read_npz(*write_npz(tmp_path, probs.astype(np.float32), np.zeros((4, 4, 4), np.uint8)))
    assert torch.allclose(volume.probs, torch.from_numpy(probs).float())


def test_a_mask_that_several_orders_fit_is_refused(tmp_path):
    best = np.zeros((4, 4, 4))
    best[0] = 1  # one face; as a mask another face, to which four turns lead
    probs = np.stack([1 - 0.9 * best, 0.9 * best]).astype(np.float32)
    files = write_npz(tmp_path, probs, np.moveaxis(best, 0, 2).astype(np.uint8))
    with pytest.raises(
        ScanError, match=r"the order of voxels in the \.npz of 'case' is not known: \d+ reord"
    ):
        read_npz(*files)


def test_a_mask_that_is_another_one_s_is_refused(tmp_path):
    mask = MASK.copy()
    mask[tuple(np.argwhere(mask == 1)[0])] = 2
    with pytest.raises(ScanError, match=r"case\.nii\.gz with 12 x 10 x 8 voxels is not the likeliest class"):
        read_npz(*write_npz(tmp_path, PROBS, mask))


def test_a_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(ScanError, match="12 x 10 x 7 voxels is not the likeliest class of its 12 x 10 x 8"):
        read_npz(*write_npz(tmp_path, PROBS, MASK[..., 1:]))


def test_without_a_mask_nobody_knows_where_the_voxels_lie(tmp_path):
    files = write_npz(tmp_path, PROBS, None)
    with pytest.raises(ScanError, match=r"case\.npz does not say where its voxels lie\. Put the mask"):
        read_npz(*files)
    trusted = read_npz(*files, trust_order=True)
    assert trusted.grid is None
    with pytest.raises(ScanError, match="does not say where"):
        trusted.known_grid()


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p * 0.95, "sum to 1"),
        (lambda p: np.where(p > 0.9, np.nan, p), "finite and within"),
        (lambda p: np.where(p > 0.9, np.inf, p), "finite and within"),
        (lambda p: p * 1.2 - 0.1, "within"),
        (lambda p: np.log(p + 1e-9), "Were logits passed"),
        (lambda p: p * 255, "within"),
        (lambda p: p[:1], "class axis of length >= 2"),
        (np.zeros_like, "sum to 1"),
    ],
    ids=["sum", "NaN", "infinity", "negative", "logits", "0 to 255", "one class", "zeros"],
)
def test_what_is_no_softmax_is_refused(change, message, tmp_path):
    with pytest.raises(ProbabilityError, match=rf"'case' are none of a softmax: .*{message}"):
        read_npz(*write_npz(tmp_path, change(PROBS), MASK))


def test_damage_is_seen_wherever_it_is(tmp_path):
    path, mask = write_npz(tmp_path, PROBS, MASK)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-5], b"no zip", b"\0\5\26\7" * 40):
        path.write_bytes(content)
        with pytest.raises(ScanError, match=r"case\.npz"):
            read_npz(path, mask)
    np.savez(path, probabilities=PROBS.transpose(0, 3, 2, 1))  # not compressed: only the checksum tells
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(ScanError, match="CRC"):
        read_npz(path, mask)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": PROBS}, "must hold one of probabilities, softmax, got logits"),
        ({}, "got nothing"),
        ({"probabilities": np.array([{"a": 1}], dtype=object)}, "must hold numbers, got object"),
        ({"probabilities": PROBS[0, 0]}, r"must hold \(C, Z, Y, X\), got shape \(10, 8\)"),
        ({"probabilities": np.zeros((3, 0, 4, 4), np.float32)}, "got shape"),
    ],
    ids=["other name", "empty", "objects", "flat", "no voxels"],
)
def test_an_npz_of_something_else_is_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "case.npz", **arrays)
    with pytest.raises(ScanError, match=message):
        read_npz(tmp_path / "case.npz", None, trust_order=True)


def test_claims_are_bounded_before_memory_is_asked_for(tmp_path):
    files = write_npz(tmp_path, PROBS, MASK)
    for bound in ("max_classes", "max_voxels"):
        with use_limits(FileLimits(**{bound: 2})), pytest.raises(ScanError, match=bound):
            read_npz(*files)


# --- volumes with a header ---------------------------------------------------------------------------------


def test_a_header_in_another_order_is_turned_onto_the_label(tmp_path):
    pred, labels = write_cohort(tmp_path, 1, form="nifti")
    truth = np.asarray(nib.load(labels / "scan00.nii.gz").dataobj)
    probs, _ = made_volume(0)
    for axes, flips in ORDERS[:: len(ORDERS) // 8]:
        image = np.moveaxis(turned(probs, axes, flips), 0, -1)
        affine = turned_affine(probs.shape[1:], axes, flips)
        nib.save(nib.Nifti1Image(image, affine), pred / "scan00.nii.gz")
        case = read_case(find_cases([pred], labels).cases[0])
        assert torch.allclose(case.probs, torch.from_numpy(probs), atol=1e-6)
        assert np.array_equal(case.labels.numpy(), truth)


@pytest.mark.parametrize(
    "move",
    [
        lambda a: a + np.eye(4, k=3) * 100,
        lambda a: a * [[1], [1], [1.5], [1]],
        lambda a: a * [[-1], [1], [1], [1]],
    ],
    ids=["elsewhere", "other voxel size", "mirrored"],
)
def test_a_header_of_another_place_is_refused_with_both_grids(move, tmp_path):
    pred, labels = write_cohort(tmp_path, 1, form="nifti")
    image = np.moveaxis(made_volume(0)[0], 0, -1)
    nib.save(nib.Nifti1Image(image, move(AFFINE)), pred / "scan00.nii.gz")
    with pytest.raises(
        ScanError, match=r"must lie on the grid of the label .* voxels of .*, got .* voxels of"
    ):
        read_case(find_cases([pred], labels).cases[0])


def test_the_files_of_the_classes_must_lie_on_one_grid(tmp_path):
    paths = []
    for k, one in enumerate(PROBS):
        order = ORDERS[5 * k]
        paths.append(tmp_path / f"case_{k}.nii.gz")
        affine = turned_affine(one.shape, *order)
        nib.save(nib.Nifti1Image(np.ascontiguousarray(turned(one, *order)), affine), paths[-1])
    volume = read_probability_volume("case", paths)
    assert torch.allclose(volume.probs, torch.from_numpy(PROBS), atol=1e-6)
    nib.save(nib.Nifti1Image(PROBS[2], np.eye(4)), paths[2])
    with pytest.raises(
        ScanError, match=r"all files of 'case' must lie on one grid, got .* for class 0 and .*2"
    ):
        read_probability_volume("case", paths)


@pytest.mark.parametrize("values", [[0, 0.5, 1], [0, np.nan, 1]], ids=["half", "NaN"])
def test_a_label_must_hold_whole_numbers(values, tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    label = np.resize(np.array(values, np.float32), MASK.shape)
    nib.save(nib.Nifti1Image(label, AFFINE), labels / "scan00.nii.gz")
    with pytest.raises(ScanError, match="must hold whole numbers from 0 to 65535, got values from 0 to"):
        read_case(find_cases([pred], labels).cases[0])


def test_a_label_that_readers_put_at_different_places_is_refused(tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    image = nib.Nifti1Image(MASK, AFFINE)
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] += 30
    image.set_qform(elsewhere, code=1)
    nib.save(image, labels / "scan00.nii.gz")
    with pytest.raises(ScanError, match="qform"):
        read_case(find_cases([pred], labels).cases[0])


# --- many classes ------------------------------------------------------------------------------------------


def many_classes(count=300):
    label = np.zeros((6, 6, 6), np.int16)
    label[1:3, 1:4, 1:4], label[3:5, 1:4, 1:4] = 1, count - 1
    probs = np.zeros((count, 6, 6, 6), np.float32)
    np.put_along_axis(probs, label[None].astype(int), 0.9, 0)
    probs[0] += 1 - probs.sum(axis=0)
    return probs, label


@pytest.mark.parametrize("form", ["nifti", "npz", "nrrd"])
def test_more_than_255_classes_are_read(form, tmp_path):
    probs, label = many_classes()
    pred, labels = tmp_path / "pred", tmp_path / "labels"
    pred.mkdir()
    labels.mkdir()
    if form == "npz":
        write_npz(pred, probs, label, name="a")
    else:
        FORMS[form](pred, "a", probs)
    nib.save(nib.Nifti1Image(label, AFFINE), labels / "a.nii.gz")
    case = read_case(find_cases([pred], labels).cases[0])
    assert np.array_equal(case.probs.argmax(dim=0).numpy(), label)
    assert int(case.labels.max()) == 299


def test_more_classes_than_the_bound_are_refused_in_words(tmp_path):
    probs, _ = many_classes(40)
    nib.save(nib.Nifti1Image(np.moveaxis(probs, 0, -1), AFFINE), tmp_path / "a.nii.gz")
    with use_limits(FileLimits(max_classes=39)), pytest.raises(ScanError, match="max_classes"):
        read_probability_volume("a", [tmp_path / "a.nii.gz"])


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "case_{}",
        "case-{}",
        "case.{}",
        "case_{:04d}",
        "case_class{}",
        "case_class_{}",
        "case_prob{}",
        "case_prob_class_{:02d}",
        "case_{}_prob",
        "case_label-{}_probseg",
        "prob_{}_case",
        "class{}-case",
        "Softmax_{}_case",
        "case/{}",
        "case/class{}",
        "case/prob_{}",
        "case/anything_{}",
    ],
)
@pytest.mark.parametrize("case", ["case", "p.1", "1.2.840.10", "sub-01_ses-2", "site_7"])
def test_files_per_class_are_found_under_many_names(template, case, tmp_path):
    paths = []
    for number in range(11):  # in order of their numbers, not of their letters
        path = tmp_path / f"{template.format(number).replace('case', case)}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        paths.append(path)
    assert find_volumes(tmp_path)[case] == tuple(paths)


def test_a_missing_class_is_named(tmp_path):
    for k in (0, 1, 3):
        nib.save(nib.Nifti1Image(PROBS[0], AFFINE), tmp_path / f"case_{k}.nii.gz")
    (files,) = volume_files(tmp_path)
    with pytest.raises(ScanError, match=r"'case_0 \(class 2\)' does not exist"):
        read_probability_volume(files.id, files.volumes)


def test_two_files_of_one_class_are_refused(tmp_path):
    for name in ("case_0", "case_1", "case_01"):
        (tmp_path / f"{name}.nii.gz").touch()
    with pytest.raises(ScanError, match=r"one file per class, got case_01\.nii\.gz and case_1\.nii\.gz"):
        find_volumes(tmp_path)


@pytest.mark.parametrize("volume", ["case", "case_0000"])
@pytest.mark.parametrize("label", ["case", "case_0000"])
def test_names_of_nnu_net_s_images_are_those_of_its_cases(volume, label, tmp_path):
    pred, labels = tmp_path / "pred", tmp_path / "labels"
    pred.mkdir()
    labels.mkdir()
    write_npz(pred, PROBS, MASK, name=volume)
    nib.save(nib.Nifti1Image(TRUTH, AFFINE), labels / f"{label}.nii.gz")
    (files,) = find_cases([pred], labels).cases
    assert files.id == label
    assert read_case(files).probs.shape == PROBS.shape


def test_a_scan_s_own_name_counts_before_others():
    volumes = {"case": 1, "case_0000": 2}
    assert (named("case", volumes), named("case_0000", volumes), named("other", volumes)) == (1, 2, None)


def test_hidden_files_are_nobody_s_volumes(tmp_path):
    write_npz(tmp_path, PROBS, MASK)
    for name in ("._case.npz", "._case.nii.gz", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    (tmp_path / ".cache").mkdir()
    for k in (0, 1):
        (tmp_path / ".cache" / f"x_{k}.nii.gz").touch()
    assert [files.id for files in volume_files(tmp_path)] == ["case"]
