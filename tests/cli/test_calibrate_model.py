"""`segtrust calibrate --model` of an adopted nnU-Net publishes its next version."""

import numpy as np
import pytest

from segtrust import cli
from segtrust.files.label import read_label_file
from segtrust.inference.predictor import Predictor
from segtrust.models import open_version
from segtrust.training.cases import LabelledFiles, read_pair
from tiny_nnunet import dataset, label_of, plans, write_results, write_scan


def make(tmp_path, described):
    folder = write_results(tmp_path, plans(), described)
    for number in range(6):
        (image,) = write_scan(tmp_path / "scans", f"s{number}", seed=number)
        label = label_of(folder, image)
        validation = folder / f"fold_{number % 2}" / "validation"
        validation.mkdir(exist_ok=True)
        (validation / label.name).touch()  # which fold left it out; the labels are elsewhere
    words = [
        "adopt",
        str(folder),
        "--models-dir",
        str(tmp_path / "models"),
        "--no-mirroring",
        "--name",
        "tiny",
    ]
    assert cli.main(words) == 0
    return tmp_path


@pytest.fixture
def site(tmp_path):
    return make(tmp_path, dataset())


def calibrate(site, *more):
    words = ["calibrate", "--model", "tiny", "--models-dir", site / "models", "--images", site / "scans"]
    return cli.main([*map(str, [*words, "--labels", site / "scans" / "labels", *more])])


@pytest.mark.slow
def test_adopted_model_is_calibrated_on_labelled_scans(site, capsys):
    assert calibrate(site) == 0
    version = open_version(site / "models" / "tiny")
    assert version.id == "0002"
    assert "calibrated on 6 scans of 6 subjects" in capsys.readouterr().out
    assert set(version.documents) == {"plans.json", "dataset.json"}


@pytest.mark.slow
def test_cross_validation_takes_the_fold_that_left_a_scan_out(site, capsys):
    results = next((site / "Dataset999_Tiny").glob("*__*"))
    assert calibrate(site, "--cross-validation", results) == 0
    version = open_version(site / "models" / "tiny")
    assert version.calibration["fitted_on"]["role"] == "out-of-fold scans"
    assert "too cautious" in capsys.readouterr().out


REGIONS = {
    "nested": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": [3]},
    "shared": {"background": 0, "left": [1, 2], "right": [3, 2], "both": [2]},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nested", "shared"])
def test_regions_are_calibrated_as_the_sets_that_they_are(tmp_path, kind):
    order = [1, 2, 3] if kind == "nested" else [1, 3, 2]
    site = make(tmp_path, dataset(labels=REGIONS[kind], regions_class_order=order))
    before = Predictor(open_version(site / "models" / "tiny"))
    assert calibrate(site) == 0
    version = open_version(site / "models" / "tiny")
    assert version.spec.head.structures == ("nested" if kind == "nested" else "independent")
    assert version.calibration["observed"]["subjects"] == 6
    # of what nnU-Net itself said (the label is its mask) each region is found where its values are
    files = LabelledFiles(
        "s0", "s0", site / "scans" / "s0_0000.nii.gz", site / "scans" / "labels" / "s0.nii.gz"
    )
    scan, labels = read_pair(files, version.spec)
    values = read_label_file(files.label).values
    truth = version.spec.head.rule.sets_of(labels, 3).numpy()
    for got, held in zip(truth, list(REGIONS[kind].values())[1:], strict=True):
        np.testing.assert_array_equal(got, np.isin(values, held))
    old, new = before.predict_scan(scan), Predictor(version).predict_scan(scan)
    np.testing.assert_array_equal(old.mask, new.mask)
    np.testing.assert_array_equal(old.sets, new.sets)
    assert [s.voxels for s in new.structures] == [np.count_nonzero(one) for one in new.sets]


def test_images_are_needed(site, capsys):
    words = ["calibrate", "--model", "tiny", "--models-dir", str(site / "models"), "--labels", str(site)]
    assert cli.main(words) == 1
    assert "must come with --images" in capsys.readouterr().err


def test_results_without_these_scans_are_refused(site, capsys, tmp_path):
    other = write_results(tmp_path / "other", plans(), dataset())
    assert calibrate(site, "--cross-validation", other) == 1
    assert "must hold the validation of scans among --labels, got 0 other scans" in capsys.readouterr().err
