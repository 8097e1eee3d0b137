"""Scans for the demo."""

import json

import nibabel as nib
import numpy as np
import pytest

from segtrust.cli.demo import cohort
from segtrust.cli.demo.cohort import gather_cohort
from segtrust.cli.demo.template_scans import CHANGES, write_template_scans
from segtrust.errors import ScanError


@pytest.fixture
def folder(tmp_path):
    scans = tmp_path / "mine"
    scans.mkdir()
    for name in ("b.nii.gz", "a.nrrd", "c.nii", "notes.txt", ".hidden.nii.gz"):
        (scans / name).write_bytes(name.encode())
    return scans


def test_scans_of_a_folder_are_copied_and_other_files_left(folder, tmp_path):
    found = gather_cohort(folder, "auto", 0, tmp_path / "studies")
    assert found.scans == ("a", "b", "c")
    assert sorted(p.name for p in (tmp_path / "studies").iterdir()) == ["a.nrrd", "b.nii.gz", "c.nii"]
    assert found.suffix["b"] == ".nii.gz"


def test_limit_takes_the_first_and_says_so(folder, tmp_path):
    found = gather_cohort(folder, "auto", 2, tmp_path / "studies")
    assert found.scans == ("a", "b")
    assert found.description == "2 of 3 scans of mine"


def test_folder_without_scans_is_an_error(tmp_path):
    with pytest.raises(ScanError, match=r"no scan was found.*\.nii\.gz"):
        gather_cohort(tmp_path, "auto", 0, tmp_path / "studies")


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ScanError, match="must be a folder"):
        gather_cohort(tmp_path / "nowhere", "auto", 0, tmp_path / "studies")


def test_test_scans_of_the_task_are_taken_where_they_lie(tmp_path, monkeypatch):
    task = tmp_path / "task"
    (task / "images").mkdir(parents=True)
    for name in ("train_1", "test_2", "test_1"):
        (task / "images" / f"{name}.nii.gz").write_bytes(b"scan")
    (task / "splits.json").write_text(
        json.dumps({"splits": {"train": ["train_1"], "test": ["test_1", "test_2"]}})
    )
    monkeypatch.setattr(cohort, "_TASK_FOLDER", task)
    assert gather_cohort(None, "auto", 0, tmp_path / "studies").scans == ("test_1", "test_2")


def test_asking_for_the_task_without_its_scans_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(cohort, "_TASK_FOLDER", tmp_path / "nowhere")
    with pytest.raises(ScanError, match="--cohort template"):
        gather_cohort(None, "task", 0, tmp_path / "studies")


@pytest.fixture(scope="module")
def template_scans(tmp_path_factory):
    return write_template_scans(tmp_path_factory.mktemp("template"))


@pytest.mark.slow
def test_template_gives_eight_crops_of_the_size_the_model_knows(template_scans):
    assert [p.name.removesuffix(".nii.gz") for p in template_scans] == [c.name for c in CHANGES]
    assert len(template_scans) == 8
    for path in template_scans:
        image = nib.load(path)
        assert image.shape == (35, 51, 36)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.asarray(image.dataobj).std() > 50


@pytest.mark.slow
def test_template_scans_are_the_same_each_time(template_scans, tmp_path):
    for first, again in zip(template_scans, write_template_scans(tmp_path), strict=True):
        np.testing.assert_array_equal(
            np.asarray(nib.load(first).dataobj), np.asarray(nib.load(again).dataobj)
        )


@pytest.mark.slow
def test_mirrored_crop_is_the_other_side_of_a_symmetric_template(template_scans):
    plain, mirrored = (np.asarray(nib.load(p).dataobj, dtype=float) for p in template_scans[:2])
    assert np.corrcoef(plain.ravel(), mirrored[::-1].ravel())[0, 1] > 0.98
    assert np.corrcoef(plain.ravel(), mirrored.ravel())[0, 1] < 0.7


@pytest.mark.slow
def test_without_other_scans_the_template_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(cohort, "_TASK_FOLDER", tmp_path / "nowhere")
    found = gather_cohort(None, "auto", 3, tmp_path / "studies")
    assert found.scans == tuple(c.name for c in CHANGES[:3])
    assert len(list((tmp_path / "studies").iterdir())) == 3
