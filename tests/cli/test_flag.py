"""`segtrust flag` on folders of probability volumes, with and without labels."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from segtrust import cli
from segtrust.error_flags import probability_scores
from volume_folders import AFFINE, FORMS, made_volume, write_cohort, write_volume_as


def flags_of(folder, name):
    return np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj)


@pytest.mark.parametrize("form", FORMS)
def test_flags_of_every_form_of_volume_are_the_voxels_above_the_threshold(form, tmp_path):
    probs, _ = made_volume(3)
    write_volume_as(form, tmp_path / "pred", "scan", probs)
    words = ["--pred", str(tmp_path / "pred"), "--score", "margin", "--rule", "fixed:0.5"]
    assert cli.main(["flag", *words, "--out", str(tmp_path / "out")]) == 0
    expected = probability_scores(probs)["margin"] > 0.5
    flags = flags_of(tmp_path / "out", "scan")
    assert 0 < flags.sum() < flags.size
    assert np.mean(flags != expected) < 0.005  # volumes may be stored with fewer digits
    np.testing.assert_allclose(nib.load(tmp_path / "out" / "scan.nii.gz").affine, AFFINE, atol=1e-5)
    assert not (tmp_path / "out" / "flags.json").exists()


def test_with_labels_the_flags_are_measured(tmp_path, capsys):
    pred, labels = write_cohort(tmp_path, 4)
    words = ["flag", "--pred", str(pred), "--labels", str(labels), "--rule", "budget:0.1"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "flags.json").read_text())
    assert (found["scans"], found["subjects"]) == (4, 4)
    assert found["flags"]["entropy"]["budget:0.1"]["flagged"]["pooled"]["value"] == pytest.approx(
        0.1, abs=0.02
    )
    assert "| budget:0.1 |" in capsys.readouterr().out
    # the scans are small: their band is the whole scan, so recall is that of the written masks
    wrong = [flags_of(pred, f"scan{k:02d}") != flags_of(labels, f"scan{k:02d}") for k in range(4)]
    caught = sum((flags_of(tmp_path / "out", f"scan{k:02d}") * bad).sum() for k, bad in enumerate(wrong))
    recall = found["flags"]["entropy"]["budget:0.1"]["recall"]["pooled"]["value"]
    assert recall == pytest.approx(caught / sum(bad.sum() for bad in wrong), abs=1e-6)


def test_a_calibrated_threshold_learns_from_labelled_scans_and_is_judged_on_other_subjects(tmp_path):
    pred, labels = write_cohort(tmp_path, 4)
    (labels / "scan03.nii.gz").unlink()  # flagged like the others, by what those say
    with (tmp_path / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case", "subject"), *((f"scan0{k}", f"s{k // 2}") for k in range(4))])
    words = ["flag", "--pred", str(pred), "--labels", str(labels), "--rule", "calibrated:0.9"]
    words += ["--subjects", str(tmp_path / "subjects.csv"), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    found = json.loads((tmp_path / "out" / "flags.json").read_text())
    assert (found["scans"], found["subjects"]) == (3, 2)
    masks = [flags_of(tmp_path / "out", f"scan{k:02d}") for k in range(4)]
    assert masks[3].any()
    wrong = [flags_of(pred, f"scan{k:02d}") != flags_of(labels, f"scan{k:02d}") for k in range(3)]
    caught = sum((mask * bad).sum() for mask, bad in zip(masks, wrong, strict=False))
    assert caught / sum(bad.sum() for bad in wrong) >= 0.9  # on the scans it was learnt from


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rule", "calibrated"], "learns from labelled scans: give --labels"),
        (["--rule", "guess"], "a flag rule must be one of fixed, mean"),
    ],
    ids=["no labels", "unknown rule"],
)
def test_what_cannot_be_done_is_said(words, said, tmp_path, capsys):
    write_cohort(tmp_path, 1)
    assert cli.main(["flag", "--pred", str(tmp_path / "pred"), *words]) == 1
    assert said in capsys.readouterr().err


def test_a_volume_without_geometry_is_refused(tmp_path, capsys):
    pred, _ = write_cohort(tmp_path, 1)
    (pred / "scan00.nii.gz").unlink()
    assert cli.main(["flag", "--pred", str(pred), "--out", str(tmp_path / "out")]) == 1
    assert "scan00.npz does not say where its voxels lie" in capsys.readouterr().err
