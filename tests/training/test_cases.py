"""Labelled scans on the network's grid, and the split by subject."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from phantoms import make_blob, spec_of, store_otherwise, write_scan
from segtrust.errors import ScanError, TrainingError
from segtrust.inference import read_scan
from segtrust.inference.scan import Scan
from segtrust.models import Head, Label
from segtrust.training import load_cases, read_splits
from segtrust.training.cases import native_labels, read_subjects

LABELS = (Label("ball", 1, 7), Label("core", 2, 9))


@pytest.fixture
def cohort(tmp_path):
    """Two scans of balls; label files hold 7 for the ball and 9 for its core."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index, name in enumerate(("a", "b")):
        put(tmp_path, name, make_blob((16, 15, 14), np.diag([1.0, 1.0, 1.5, 1.0]), seed=index))
    return tmp_path


def put(folder, name, scan, labels=None):
    write_scan(scan, folder / "images" / f"{name}.nii.gz")
    bright = scan.data[0].numpy()
    labels = np.select([bright > 95, bright > 50], [9, 7], 0) if labels is None else labels
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), scan.affine), folder / "labels" / f"{name}.nii.gz")


def split(folder, **roles):
    (folder / "splits.json").write_text(json.dumps({"splits": roles}))


def subjects(folder, **table):
    with (folder / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case", "subject"), *table.items()])


def test_cases_come_in_the_order_asked_for(cohort):
    assert [case.id for case in load_cases(cohort, ["b", "a"], spec_of(labels=LABELS))] == ["b", "a"]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 1.5, 1.5), None], ids=str)
def test_labels_lie_on_the_images_grid_where_the_image_is_bright(cohort, spacing):
    (case,) = load_cases(cohort, ["a"], spec_of(labels=LABELS, spacing=spacing))
    assert case.labels.shape == case.image.shape[1:]
    assert case.labels.dtype == torch.int64
    # z-scored brightness: foreground and background are apart by more than their spread
    bright, dark = case.image[0][case.labels > 0], case.image[0][case.labels == 0]
    assert bright.median() > 2 > 0 > dark.median()


def test_values_of_the_label_file_become_1_to_n(cohort):
    (case,) = load_cases(cohort, ["a"], spec_of(labels=LABELS))
    assert case.labels.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "how", [((2, 0, 1), (True, False, True)), ((1, 0, 2), (False, True, False))], ids=str
)
def test_image_and_label_are_turned_together(cohort, how):
    scan = make_blob((16, 15, 14), np.diag([1.0, 1.0, 1.5, 1.0]))
    put(cohort, "turned", store_otherwise(scan, *how))
    plain, turned = load_cases(cohort, ["a", "turned"], spec_of(labels=LABELS))
    assert torch.equal(turned.labels, plain.labels)
    torch.testing.assert_close(turned.image, plain.image, rtol=0, atol=1e-5)


def test_air_is_cut_off_the_label_too(cohort):
    scan = make_blob((16, 15, 14), np.diag([1.0, 1.0, 1.5, 1.0]))
    data = torch.nn.functional.pad(scan.data, (3, 0, 0, 4, 5, 1), value=float(scan.data.amin()))
    put(cohort, "padded", Scan(data, scan.affine, scan.spacing))
    plain, padded = load_cases(cohort, ["a", "padded"], spec_of(labels=LABELS))
    assert torch.equal(padded.labels, plain.labels)
    assert torch.equal(padded.image, plain.image)


def test_one_scan_is_one_subject_without_a_table(cohort):
    assert [case.subject for case in load_cases(cohort, ["a", "b"], spec_of(labels=LABELS))] == ["a", "b"]


def test_the_table_names_the_subjects(cohort):
    subjects(cohort, a="ann", b="ann")
    assert [case.subject for case in load_cases(cohort, ["a", "b"], spec_of(labels=LABELS))] == ["ann", "ann"]


def test_an_unknown_label_value_is_named(cohort):
    with pytest.raises(TrainingError, match=r"'a.nii.gz' must hold 0 and \[1, 2\], got \[7, 9\] as well"):
        load_cases(cohort, ["a"], spec_of())


def test_a_label_of_another_size_is_refused(cohort):
    scan = make_blob((16, 15, 14))
    put(cohort, "a", scan, labels=np.indices((16, 15, 13)).sum(0) % 2)
    with pytest.raises(ScanError, match=r"has 16 x 15 x 14 voxels .* the label has 16 x 15 x 13 voxels"):
        load_cases(cohort, ["a"], spec_of(labels=LABELS))


def test_native_labels_keep_the_files_voxel_order(cohort):
    scan = read_scan(cohort / "images" / "a.nii.gz")
    labels = native_labels(cohort / "labels" / "a.nii.gz", scan, spec_of(labels=LABELS))
    file = np.asarray(nib.load(cohort / "labels" / "a.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, np.select([file == 7, file == 9], [1, 2], 0))


def test_a_nested_region_may_hold_several_values_of_the_file(cohort):
    scan, path = read_scan(cohort / "images" / "a.nii.gz"), cohort / "labels" / "a.nii.gz"
    head = Head("sigmoid", (2, 1), structures="nested")  # 2 is the outer region here
    spec = spec_of(labels=(Label("core", 1, 9), Label("ball", 2, (7, 9))), head=head)
    file = np.asarray(nib.load(path).dataobj)
    labels = native_labels(path, scan, spec)
    np.testing.assert_array_equal(labels, np.select([file == 7, file == 9], [2, 1], 0))
    core, ball = head.rule.sets_of(labels, 2).numpy()
    assert (file == 9).any()
    np.testing.assert_array_equal(core, file == 9)
    np.testing.assert_array_equal(ball, np.isin(file, (7, 9)))


SHARED = spec_of(
    labels=(Label("left", 1, (7, 9)), Label("tumour", 2, (9, 11)), Label("rest", 3, 12)),
    head=Head("sigmoid", (1, 2, 3)),
)


def test_regions_that_share_values_without_being_nested_are_read_as_sets(cohort):
    scan, path = read_scan(cohort / "images" / "a.nii.gz"), cohort / "labels" / "a.nii.gz"
    values = np.asarray(nib.load(path).dataobj).astype(np.uint8)
    values[0, 0, :3] = (11, 12, 12)
    nib.save(nib.Nifti1Image(values, scan.affine), path)
    sets = native_labels(path, scan, SHARED).numpy()
    assert sets.dtype == bool
    for got, held in zip(sets, ((7, 9), (9, 11), (12,)), strict=True):
        np.testing.assert_array_equal(got, np.isin(values, held))
    with pytest.raises(TrainingError, match="regions that are nested or share no value"):
        load_cases(cohort, ["a"], SHARED)


def test_splits_are_read_in_order(cohort):
    split(cohort, train=["b", "a"], val=[], test=["c"])
    assert read_splits(cohort) == {"train": ["a", "b"], "val": [], "test": ["c"]}


def test_a_subject_in_two_splits_is_refused(cohort):
    subjects(cohort, a="ann", b="ann")
    split(cohort, train=["a"], val=[], test=["b"])
    with pytest.raises(TrainingError, match="subject 'ann' must be in one list only, got train and test"):
        read_splits(cohort)


def test_missing_splits_are_named(cohort):
    with pytest.raises(TrainingError, match=r"splits\.json must list the scans of train, val and test"):
        read_splits(cohort)


def test_without_a_table_there_are_no_subjects(tmp_path):
    assert read_subjects(tmp_path) == {}


def test_the_real_split_keeps_each_person_in_one_list(hippocampus_dir):
    splits, people = read_splits(hippocampus_dir), read_subjects(hippocampus_dir)
    assert {role: len(ids) for role, ids in splits.items()} == {"train": 130, "val": 26, "test": 39}
    assert len({people[scan] for scan in splits["test"]}) == 33


FLAT = spec_of(labels=LABELS, spatial_dims=2, patch=(16, 16), spacing=None)


def test_a_flat_model_learns_from_a_file_of_one_slice(cohort):
    image = make_blob((12, 10, 3)).data[:, :, :, 1:2]
    put(cohort, "slice", Scan(image, np.eye(4), (1.0, 1.0, 1.0)), labels=np.full((12, 10, 1), 7))
    (case,) = load_cases(cohort, ["slice"], FLAT)
    assert (tuple(case.image.shape), tuple(case.labels.shape)) == ((1, 12, 10), (12, 10))
    assert case.labels.unique().tolist() == [1]


def test_a_flat_model_refuses_a_file_of_several_slices(cohort):
    with pytest.raises(TrainingError, match=r"files of one slice along the third axis, 'a.nii.gz' has 14"):
        load_cases(cohort, ["a"], FLAT)
