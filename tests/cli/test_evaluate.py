"""`segtrust evaluate`, `calibrate`, `report` and `compare` on a folder as nnU-Net leaves it."""

import json
import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from segtrust import cli
from segtrust.evaluate.records import read_records
from volume_folders import write_cohort

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six scans, what `segtrust evaluate` made of them, and which packages it imported."""
    root = tmp_path_factory.mktemp("nnunet")
    pred, labels = write_cohort(root, 6)
    words = ["evaluate", "--pred", str(pred), "--labels", str(labels), "--out", str(root / "out")]
    code = (
        f"import sys; from segtrust.cli import main; assert main({words!r}) == 0; "
        "print({'monai', 'monailabel', 'itk', 'nrrd', 'sklearn'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (root / "printed").write_text(done.stdout)
    return root


def test_a_folder_needs_neither_monai_nor_monailabel(folder):
    assert (folder / "printed").read_text().rstrip().endswith("set()")


def test_figures_carry_the_protocol_and_the_names_of_dataset_json(folder):
    found = json.loads((folder / "out" / "evaluation.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", found["origin"]["protocol"])
    assert found["structures"] == ["lower", "upper"]
    assert found["card"]["scans"] == 6
    assert set(found["ranking"]) >= {"entropy", "segment entropy"}
    assert [case["mean_dice"] for case in found["cases"]] == sorted(c["mean_dice"] for c in found["cases"])


def test_dice_is_that_of_masks_and_labels(folder):
    found = json.loads((folder / "out" / "evaluation.json").read_text())
    case = next(c for c in found["cases"] if c["id"] == "scan03")
    mask, truth = (
        np.asarray(nib.load(folder / name / "scan03.nii.gz").dataobj) for name in ("pred", "labelsTr")
    )
    for value, dice in enumerate(case["dice"], start=1):
        both = np.count_nonzero((mask == value) & (truth == value))
        assert dice == pytest.approx(2 * both / (np.sum(mask == value) + np.sum(truth == value)))


@pytest.mark.slow
def test_records_of_two_models_on_the_same_labels_are_compared(folder, tmp_path, capsys):
    records = folder / "out" / "records.json"
    assert len(read_records(records).records) == 6
    assert cli.main(["compare", str(folder / "out"), str(records)]) == 0
    assert "| +0.0000 (n too small) |" in capsys.readouterr().out
    changed = json.loads(records.read_text())
    changed["protocol"] = "0" * 64
    (tmp_path / "records.json").write_text(json.dumps(changed))
    assert cli.main(["compare", str(records), str(tmp_path)]) == 1
    assert "both sets must be of one protocol" in capsys.readouterr().err


def test_the_page_is_written_again_from_the_figures(folder, capsys):
    first = (folder / "out" / "report.html").read_text()
    assert cli.main(["report", str(folder / "out"), "--out", str(folder / "again.html")]) == 0
    assert (folder / "again.html").read_text() == first
    assert first.count("How to read it.") >= 4
    assert not re.search(r"(src|href)=\"https?:", first)


@pytest.mark.slow
def test_calibration_is_kept_measured_and_applied(folder, capsys):
    pred, labels, out = folder / "pred", folder / "labelsTr", folder / "calibrated"
    words = ["--pred", str(pred), "--labels", str(labels), "--out", str(out)]
    assert cli.main(["calibrate", *words, "--kinds", "pooled_temperature", "--apply", str(pred)]) == 0
    card = json.loads((out / "evaluation.json").read_text())["card"]["systems"]["calibration"]
    assert card["pooled_temperature"]["volume"]["nll"]["value"] < card["raw"]["volume"]["nll"]["value"]
    with np.load(pred / "scan00.npz") as raw, np.load(out / "calibrated" / "scan00.npz") as after:
        before, calibrated = raw["probabilities"], after["probabilities"]
    assert np.array_equal(before.argmax(axis=0), calibrated.argmax(axis=0))
    assert calibrated.max(axis=0).mean() < before.max(axis=0).mean()
    again = ["--calibration", str(out / "calibration.json"), "--out", str(folder / "with")]
    assert cli.main(["evaluate", *words[:4], *again]) == 0
    assert "| calibrated |" in capsys.readouterr().out


def test_a_wrong_number_of_names_is_refused(folder, capsys):
    words = ["--pred", str(folder / "pred"), "--labels", str(folder / "labelsTr"), "--names", "one"]
    assert cli.main(["evaluate", *words]) == 1
    assert "one name per structure, got one for volumes of 2 structures" in capsys.readouterr().err


def test_views_need_a_network(folder, capsys):
    words = ["--pred", str(folder / "pred"), "--labels", str(folder / "labelsTr"), "--views"]
    assert cli.main(["evaluate", *words]) == 1
    assert "--views needs a network to run: give --model and --images" in capsys.readouterr().err
