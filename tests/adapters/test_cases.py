"""Probability volumes of every form give the same numbers, and wrong ones are refused in words."""

import nibabel as nib
import numpy as np
import pytest
import torch

from segtrust.adapters import find_cases, read_case, read_probabilities, volume_files, write_probabilities
from segtrust.errors import ProbabilityError, ScanError, SettingError
from volume_folders import AFFINE, FORMS, made_volume, write_cohort, write_volume_as


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_probabilities_on_the_label_s_grid(form, tmp_path):
    probs, truth = made_volume(0)
    pred, labels = write_cohort(tmp_path, 1, form=form)
    (files,) = find_cases([pred], labels).cases
    case = read_case(files)
    assert torch.allclose(case.probs, torch.from_numpy(probs), atol=1e-6)
    assert np.array_equal(case.labels.numpy(), truth)
    assert case.spacing == (1.0, 1.5, 2.0)
    assert np.allclose(case.affine, AFFINE)
    assert files.image == tmp_path / "imagesTr" / "scan00_0000.nii.gz"


@pytest.mark.parametrize("form", ["npz", "nifti"])
def test_what_is_written_is_read_back(form, tmp_path):
    probs, _ = made_volume(1)
    write_volume_as(form, tmp_path / "pred", "scan", probs)
    (files,) = volume_files(tmp_path / "pred")
    volume = read_probabilities(files)
    (tmp_path / "out").mkdir()
    path = write_probabilities(files, volume.probs, volume.known_grid().affine, tmp_path / "out")
    assert path.suffix == (".npz" if form == "npz" else ".gz")
    again = read_probabilities(volume_files(tmp_path / "out")[0])
    assert torch.allclose(again.probs, torch.from_numpy(probs), atol=1e-6)
    assert np.allclose(again.known_grid().affine, AFFINE)


def test_labels_without_probabilities_are_told(tmp_path):
    pred, labels = write_cohort(tmp_path, 3)
    (pred / "scan01.npz").unlink()
    (pred / "scan01.nii.gz").unlink()
    cohort = find_cases([pred], labels)
    assert [case.id for case in cohort.cases] == ["scan00", "scan02"]
    assert cohort.without == ("scan01",)


def test_a_scan_in_two_folds_is_refused(tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    with pytest.raises(SettingError, match="must lie in one folder only, got 'scan00' in two"):
        find_cases([pred, pred], labels)


def test_masks_in_the_place_of_probabilities_are_named_as_such(tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    (pred / "scan00.npz").unlink()
    with pytest.raises(ScanError, match="Is it a mask\\? nnU-Net writes probabilities with --npz"):
        read_case(find_cases([pred], labels).cases[0])


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    _, labels = write_cohort(tmp_path, 1)
    (tmp_path / "none").mkdir()
    with pytest.raises(ScanError, match=r"looked for scan00\.npz.*--save_probabilities"):
        find_cases([tmp_path / "none"], labels)


def test_an_npz_that_would_be_unpickled_is_refused(tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    np.savez(pred / "scan00.npz", probabilities=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ScanError, match=r"scan00\.npz must hold numbers, got object"):
        read_case(find_cases([pred], labels).cases[0])


def test_another_grid_is_refused(tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    probs, _ = made_volume(0)
    np.savez(pred / "scan00.npz", probabilities=probs.transpose(0, 3, 2, 1)[:, 1:])
    (pred / "scan00.nii.gz").unlink()
    (files,) = find_cases([pred], labels).cases
    with pytest.raises(ScanError, match=r"grid of the label .*12 x 10 x 8 voxels of .*, got 12 x 10 x 7"):
        read_case(files, trust_order=True)


def test_a_flipped_header_is_refused(tmp_path):
    pred, labels = write_cohort(tmp_path, 1, form="nifti")
    flipped = AFFINE.copy()
    flipped[0, 0] = 1
    probs, _ = made_volume(0)
    nib.save(nib.Nifti1Image(np.moveaxis(probs, 0, -1), flipped), pred / "scan00.nii.gz")
    with pytest.raises(ScanError, match=r"axes LAS, .*, got .*axes RAS, the first at"):
        read_case(find_cases([pred], labels).cases[0])


def test_sigmoid_outputs_are_refused(tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    np.savez(pred / "scan00.npz", probabilities=np.full((3, 8, 10, 12), 0.9, np.float32))
    with pytest.raises(ProbabilityError, match=r"'scan00' are none of a softmax.*region-based"):
        read_case(find_cases([pred], labels).cases[0])


def test_ignored_voxels_take_no_part(tmp_path):
    pred, labels = write_cohort(tmp_path, 1)
    path = labels / "scan00.nii.gz"
    values = np.asarray(nib.load(path).dataobj).copy()
    values[:2] = 3
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    (files,) = find_cases([pred], labels).cases
    with pytest.raises(ProbabilityError, match="the label of 'scan00' does not fit its 3 classes"):
        read_case(files)
    case = read_case(files, ignore=3)
    assert not case.valid[:2].any()
    assert case.valid[2:].all()
    assert int(case.labels.max()) == 2
