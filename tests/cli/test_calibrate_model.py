"""`segtrust calibrate --model` of an adopted nnU-Net publishes its next version."""

import pytest

from segtrust import cli
from segtrust.models import open_version
from tiny_nnunet import dataset, label_of, plans, write_results, write_scan


@pytest.fixture
def site(tmp_path):
    folder = write_results(tmp_path, plans(), dataset())
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


def test_images_are_needed(site, capsys):
    words = ["calibrate", "--model", "tiny", "--models-dir", str(site / "models"), "--labels", str(site)]
    assert cli.main(words) == 1
    assert "must come with --images" in capsys.readouterr().err


def test_results_without_these_scans_are_refused(site, capsys, tmp_path):
    other = write_results(tmp_path / "other", plans(), dataset())
    assert calibrate(site, "--cross-validation", other) == 1
    assert "must hold the validation of scans among --labels, got 0 other scans" in capsys.readouterr().err
