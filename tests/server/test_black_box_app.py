"""The sample app `black-box` as a real server: an exported program, and probabilities alone."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

from copied_studies import running_server
from live_server import ROOT
from phantoms import make_blob, publish_random_version, spec_of, write_scan
from segtrust.inference.members import load_member
from segtrust.inference.stored import STORED, open_predictor
from segtrust.models import open_version, publish_version

APP = ROOT / "sample-apps" / "black-box"
UNCALIBRATED = {"calibrator": {"name": "identity"}}
EXPORTED = {"_target_": "segtrust.adapters.networks.ExportedNetwork"}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return [write_scan(make_blob(seed=k, radius=4 + k), folder / f"ball{k}.nii.gz") for k in range(2)]


@pytest.fixture(scope="module")
def models(tmp_path_factory, scans):
    """A program exported from random weights, and what it says about the first scan as volumes."""
    folder, plain = tmp_path_factory.mktemp("models"), spec_of(members=1)
    weights = publish_random_version(tmp_path_factory.mktemp("plain") / plain.name, plain).members[0]
    program = torch.export.export(load_member(plain, weights), (torch.zeros(1, 1, *plain.patch),))
    torch.export.save(program, folder / "a.pt2")
    spec = spec_of(name="exported", network=EXPORTED, members=1)
    version = publish_version(folder / "exported", spec, [folder / "a.pt2"], UNCALIBRATED, {})
    probs = open_predictor(version).predict(scans[0]).probs
    publish_version(
        folder / "stored",
        spec_of(name="stored", network={"_target_": STORED}, members=0),
        [],
        UNCALIBRATED,
        {},
    )
    (folder / "stored" / "volumes").mkdir()
    np.savez(folder / "stored" / "volumes" / "ball0.npz", probabilities=probs.transpose(0, 3, 2, 1))
    mask = nib.Nifti1Image(probs.argmax(axis=0).astype(np.uint8), make_blob().affine)
    nib.save(mask, folder / "stored" / "volumes" / "ball0.nii.gz")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, scans, models):
    with running_server(
        tmp_path_factory.mktemp("server"), scans, app=APP, conf={"models_dir": models}
    ) as running:
        yield running


def mask_of(server, model, tmp_path):
    response = server.infer(model, "ball0", output="image")
    assert response.status_code == 200, response.text
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(response.content)
    return np.asanyarray(nib.load(path).dataobj)


def test_monai_label_finds_the_class_of_the_app():
    found = get_class_of_subclass_from_file("main", str(APP / "main.py"), "MONAILabelApp")
    assert found.__name__ == "BlackBoxApp"


def test_only_what_was_adopted_is_served_and_nothing_is_trained(server):
    info = server.get("/info/").json()
    masks = [name for name in info["models"] if "_" not in name]
    assert masks == ["exported", "stored"]
    assert info["trainers"] == {}


@pytest.mark.parametrize("model", ["exported", "stored"])
def test_mask_and_numbers_are_those_of_the_library(server, models, scans, model, tmp_path):
    expected = open_predictor(open_version(models / model)).predict(scans[0])
    assert np.array_equal(mask_of(server, model, tmp_path), expected.mask)
    response = server.infer(model, "ball0", output="json")
    said = response.json()["segtrust"]
    assert said["scores"]["entropy"] == pytest.approx(expected.scores.entropy, abs=1e-6)
    assert said["members"] == 1


def test_bands_come_from_the_black_box_too(server, tmp_path):
    bands = mask_of(server, "exported_uncertainty", tmp_path)
    assert set(np.unique(bands)) <= {0, 1, 2, 3}


def test_a_scan_without_stored_probabilities_is_said(server):
    response = server.infer("stored", "ball1", output="json")
    assert response.status_code in (400, 404)
    assert "there must be probabilities of 'ball1'" in response.json()["detail"]


def test_adopting_the_example_makes_a_folder_that_opens(tmp_path, monkeypatch, capsys):
    script = {"__name__": "adopt", "__file__": str(APP / "adopt.py")}
    exec(compile((APP / "adopt.py").read_text("utf-8"), "adopt.py", "exec"), script)  # a script, no module
    monkeypatch.setattr("sys.argv", ["adopt.py", "--example", "--models-dir", str(tmp_path)])
    script["main"]()
    version = open_version(tmp_path / "hippocampus-exported")
    assert [path.suffix for path in version.members] == [".pt2"]
    assert json.loads((tmp_path / "hippocampus-exported" / "spec.json").read_text())["members"] == 1
