"""Folders of volumes whose files are unusual but right: figures are as of plain ones, or it is said."""

import json

import nibabel as nib
import numpy as np
import pytest

from segtrust import cli
from volume_folders import AFFINE, made_volume, write_cohort

pytestmark = pytest.mark.slow


def evaluated(pred, labels, out, *words):
    assert (
        cli.main(["evaluate", "--pred", str(pred), "--labels", str(labels), "--out", str(out), *words]) == 0
    )
    return json.loads((out / "evaluation.json").read_text())


def test_dice_does_not_depend_on_the_order_of_voxels(tmp_path):
    pred, labels = write_cohort(tmp_path / "plain", 3)
    plain = evaluated(pred, labels, tmp_path / "out")
    turned, _ = write_cohort(tmp_path / "turned", 3)
    for k in range(3):
        probs, _ = made_volume(k)
        np.savez(turned / f"scan{k:02d}.npz", probabilities=probs[:, ::-1, ::-1].transpose(0, 3, 2, 1))
    found = evaluated(turned, labels, tmp_path / "again")
    assert [case["dice"] for case in found["cases"]] == [case["dice"] for case in plain["cases"]]
    assert plain["cases"][0]["mean_dice"] > 0.6


def test_volumes_without_a_place_need_to_be_trusted_and_the_page_says_so(tmp_path, capsys):
    pred, labels = write_cohort(tmp_path, 3)
    for path in pred.glob("*.nii.gz"):
        path.unlink()
    words = ["evaluate", "--pred", str(pred), "--labels", str(labels), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 1
    assert "does not say where its voxels lie" in capsys.readouterr().out
    document = evaluated(pred, labels, tmp_path / "trusted", "--trust-order")
    assert document["card"]["scans"] == 3
    (note,) = document["notes"]
    assert note.startswith("Of 3 scans no file says where the voxels of the probabilities lie.")
    assert note in (tmp_path / "trusted" / "report.html").read_text()


@pytest.mark.parametrize("command", ["evaluate", "flag"])
def test_a_perfect_prediction_of_300_classes_has_a_dice_of_one(command, tmp_path, capsys):
    pred, labels = tmp_path / "pred", tmp_path / "labels"
    pred.mkdir()
    labels.mkdir()
    for k in range(2):
        label = np.zeros((12, 12, 12), np.int16)
        label[2:5, 3:9, 3:9], label[5 + k : 9, 3:9, 3:9] = 1, 299
        probs = np.zeros((*label.shape, 300), np.float32)
        np.put_along_axis(probs, label[..., None].astype(int), 0.9, -1)
        probs[..., 0] += 1 - probs.sum(axis=-1)
        nib.save(nib.Nifti1Image(probs, AFFINE), pred / f"s{k}.nii.gz")
        nib.save(nib.Nifti1Image(label, AFFINE), labels / f"s{k}.nii.gz")
    if command == "evaluate":
        document = evaluated(pred, labels, tmp_path / "out")
        assert [(case["dice"][0], case["dice"][42], case["dice"][298]) for case in document["cases"]] == [
            (1.0, None, 1.0)
        ] * 2
        return
    words = [command, "--pred", str(pred), "--labels", str(labels), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert "missed_component (0)" in capsys.readouterr().out
