"""The code in README and docs runs as it stands there."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from dicom_phantoms import make_series
from phantoms import spec_of
from segtrust.evaluate import methods
from segtrust.models import open_version

ROOT = Path(__file__).parents[1]
TOY = {
    "name": "liver",
    "labels": [{"name": "liver", "value": 1, "source_value": 6, "colour": [200, 100, 80]}],
    "network": {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [4, 8],
        "strides": [2],
    },
    "patch": [16, 16, 16],
    "members": 2,
}


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)


def run(code, **given):
    names = dict(given)
    exec(compile(code, "documentation", "exec"), names)
    return names


@pytest.mark.slow
def test_library_example_of_the_readme_predicts_a_scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    voxels = np.random.default_rng(0).random((36, 50, 36), dtype=np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), "scan.nii.gz")
    (block,) = python_blocks("README.md")
    prediction = run(block)["prediction"]
    assert prediction.mask.shape == prediction.map("chance_of_error").shape == (36, 50, 36)


def test_networks_at_hand_are_published_as_the_how_to_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spec.json").write_text(json.dumps(TOY), encoding="utf-8")
    arguments = {name: value for name, value in TOY["network"].items() if name != "_target_"}
    (block,) = python_blocks("docs/how-to/own-model.md")
    run(block, networks=[UNet(**arguments), UNet(**arguments)])
    version = open_version(tmp_path / "models" / "liver")
    assert (version.id, len(version.members)) == ("0001", 2)


def test_mask_and_maps_are_written_as_dicom_as_the_how_to_says(tmp_path, monkeypatch, make_model):
    monkeypatch.chdir(tmp_path)
    make_series(Path("series"), shape=(20, 18, 16), spacing=(1.0, 1.0, 1.0))
    shutil.copytree(make_model(spec_of(name="hippocampus")), tmp_path / "models" / "hippocampus")
    (block,) = python_blocks("docs/how-to/dicom.md")
    run(block)
    assert sorted(path.name for path in tmp_path.glob("*.dcm")) == [
        "between_member.dcm",
        "chance_of_error.dcm",
        "entropy.dcm",
        "mask.dcm",
        "probability_back.dcm",
        "probability_front.dcm",
    ]


def test_measures_of_the_caller_s_own_are_judged_as_the_how_to_says(monkeypatch):
    for table in ("VOXEL_MAPS", "SCAN_SCORES"):
        monkeypatch.setattr(methods, table, dict(getattr(methods, table)))
    (block,) = python_blocks("docs/how-to/evaluate-your-model.md")
    run(block)
    probs = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).T.reshape(3, 2, 1, 1)
    found = methods.VOXEL_MAPS["entropy of the two likeliest"](probs[None])
    assert found.flatten().tolist() == pytest.approx([1.0, 0.0])
    view = methods.ScanView(probs.numpy(), np.array([1, 0], np.uint8).reshape(2, 1, 1), None, None)
    assert methods.SCAN_SCORES["predicted voxels"](view) == -1.0


@pytest.mark.parametrize("page", sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md")))
def test_shell_commands_name_files_that_exist(page):
    text = (ROOT / page).read_text("utf-8")
    for script in re.findall(r"(?<![\w-])(scripts/[\w.-]+|(?:sample-)?apps/[\w-]+)", text):
        assert (ROOT / script).exists(), script


@pytest.mark.slow
def test_a_round_runs_from_python_as_the_how_to_says(hippocampus_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = json.loads((hippocampus_dir / "splits.json").read_text("utf-8"))["splits"]["val"][0]
    shutil.copy(hippocampus_dir / "images" / f"{scan}.nii.gz", "scan_1.nii.gz")
    shutil.copy(hippocampus_dir / "labels" / f"{scan}.nii.gz", "scan_1_label.nii.gz")
    (block,) = python_blocks("docs/how-to/training.md")
    result = run(block)["result"]
    assert (result.version, result.status) == ("0002", "unproven")
    assert open_version(tmp_path / "state" / "models" / "hippocampus").id == "0002"
