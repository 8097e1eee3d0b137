"""What is adopted was loaded and predicted a scan; what is wrong is named, and leaves nothing behind."""

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from phantoms import publish_random_version, spec_of
from segtrust.inference.members import load_member, save_weights
from segtrust.inference.trial import try_members
from segtrust.models import open_version, publish_version
from volume_folders import made_volume, write_volume_as

ADOPT = Path(__file__).resolve().parents[2] / "sample-apps" / "black-box" / "adopt.py"
SPEC = spec_of(members=1)


def adopt(monkeypatch, *words):
    """The exit status of adopt.py, run as a script."""
    monkeypatch.setattr("sys.argv", ["adopt.py", *map(str, words)])
    return runpy.run_path(str(ADOPT))["main"]()


def export(network, path, patch=SPEC.patch, channels=1):
    program = torch.export.export(network.eval(), (torch.zeros(1, channels, *patch),))
    torch.export.save(program, path)
    return path


def small(out=3, channels=1):
    torch.manual_seed(0)
    return nn.Conv3d(channels, out, 1)


@pytest.fixture
def spec_file(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC.to_json()))
    return path


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def volumes(tmp_path):
    write_volume_as("nifti", tmp_path / "volumes", "scan", made_volume(0)[0])
    return tmp_path / "volumes"


def test_a_network_that_predicts_is_published(spec_file, models, tmp_path, monkeypatch, capsys):
    path = export(small(), tmp_path / "a.pt2")
    assert adopt(monkeypatch, "--networks", path, "--spec", spec_file, "--models-dir", models) == 0
    assert open_version(models / "tiny").id == "0001"
    assert "tiny: version 0001" in capsys.readouterr().out


class Pair(nn.Module):
    def forward(self, window):
        return window, window


class Unsure(nn.Module):
    def forward(self, window):
        return torch.cat([window] * 3, dim=1) * float("nan")


def weights(path):
    torch.save(small().state_dict(), path)
    return path


WRONG = {
    "weights": (
        lambda d: weights(d / "a.pth"),
        r"a\.pth must be a network of its own \(\.pt2 or \.onnx\).*got \.pth",
    ),
    "missing": (lambda d: d / "none.pt2", r"there must be a file .*none\.pt2"),
    "no program": (lambda d: weights(d / "a.pt2"), r"a\.pt2 must be a program of torch\.export"),
    "other classes": (
        lambda d: export(small(4), d / "a.pt2"),
        r"a\.pt2 must .* put out \(1, 3, .*got \(1, 4, .*Does spec\.json name every class",
    ),
    "other channels": (
        lambda d: export(small(channels=2), d / "a.pt2", channels=2),
        r"a\.pt2 must take a window \(1, 1, .*, but .*Do `channels` and `patch`",
    ),
    "other patch": (lambda d: export(small(), d / "a.pt2", patch=(8, 8, 8)), r"a\.pt2 must take a window"),
    "two outputs": (lambda d: export(Pair(), d / "a.pt2"), r"but TypeError.*got tuple"),
    "NaN": (lambda d: export(Unsure(), d / "a.pt2"), r"in finite numbers, got NaN"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_network_is_named_and_leaves_nothing(name, spec_file, models, tmp_path, monkeypatch, capsys):
    make, message = WRONG[name]
    words = ["--networks", make(tmp_path), "--spec", spec_file, "--models-dir", models]
    assert adopt(monkeypatch, *words) == 1
    said = capsys.readouterr().err
    assert "adopt.py: nothing was adopted: " in said
    assert re.search(message, said, flags=re.DOTALL)
    assert not models.exists() or not list(models.rglob("*"))


def test_a_failure_leaves_the_version_before_served(spec_file, models, tmp_path, monkeypatch):
    good, bad = export(small(), tmp_path / "a.pt2"), export(small(4), tmp_path / "b.pt2")
    assert adopt(monkeypatch, "--networks", good, "--spec", spec_file, "--models-dir", models) == 0
    before = sorted(models.rglob("*"))
    assert adopt(monkeypatch, "--networks", bad, "--spec", spec_file, "--models-dir", models) == 1
    assert sorted(models.rglob("*")) == before


@pytest.mark.parametrize("text", ["{", "[1]", '{"labels": 3}'], ids=["half", "list", "no specification"])
def test_a_wrong_specification_is_named(text, models, tmp_path, monkeypatch, capsys):
    (tmp_path / "s.json").write_text(text)
    path = export(small(), tmp_path / "a.pt2")
    assert adopt(monkeypatch, "--networks", path, "--spec", tmp_path / "s.json", "--models-dir", models) == 1
    assert "json must" in capsys.readouterr().err
    assert not models.exists()


def test_a_calibration_that_is_none_is_refused(spec_file, models, tmp_path, monkeypatch, capsys):
    (tmp_path / "c.json").write_text('{"calibrator": {"name": "magic"}}')
    words = ["--networks", export(small(), tmp_path / "a.pt2"), "--spec", spec_file, "--models-dir", models]
    assert adopt(monkeypatch, *words, "--calibration", tmp_path / "c.json") == 1
    assert "magic" in capsys.readouterr().err
    assert not models.exists()


def test_weights_of_another_network_are_refused_before_they_are_published(tmp_path):
    version = publish_random_version(tmp_path / "tiny", SPEC)
    try_members(SPEC, version.members, version.calibration)
    save_weights(small(), tmp_path / "other.safetensors")
    with pytest.raises(Exception, match=r"other\.safetensors must fit the network of 'tiny'"):
        try_members(SPEC, [tmp_path / "other.safetensors"], version.calibration)
    assert load_member(SPEC, version.members[0]) is not None


def test_volumes_are_read_before_they_are_served(spec_file, volumes, models, monkeypatch):
    assert adopt(monkeypatch, "--volumes", volumes, "--spec", spec_file, "--models-dir", models) == 0
    assert [path.name for path in (models / "tiny" / "volumes").iterdir()] == ["scan.nii.gz"]
    write_volume_as("npz", volumes.parent / "more", "other", made_volume(1)[0])
    more = volumes.parent / "more"
    assert adopt(monkeypatch, "--volumes", more, "--spec", spec_file, "--models-dir", models) == 0
    assert {path.stem for path in (models / "tiny" / "volumes").glob("*.npz")} == {"other"}
    assert (models / "tiny" / "volumes" / "scan.nii.gz").is_file()
    assert not list((models / "tiny").glob(".volumes-*"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "scan.nii.gz").write_bytes(b""), "'scan.nii.gz'"),
        (
            lambda d: write_volume_as("nifti", d, "two", np.full((2, 4, 4, 4), 0.5, np.float32)),
            "'two' must have 3",
        ),
        (lambda d: np.savez(d / "x.npz", probabilities=np.zeros((3, 2, 2, 2))), r"x.npz does not say where"),
        (lambda d: (d / "scan.nii.gz").unlink(), "got none"),
    ],
    ids=["damaged", "other classes", "no place", "nothing there"],
)
def test_wrong_volumes_are_named_and_nothing_is_copied(
    spoil, message, spec_file, volumes, models, monkeypatch, capsys
):
    spoil(volumes)
    assert adopt(monkeypatch, "--volumes", volumes, "--spec", spec_file, "--models-dir", models) == 1
    assert message in capsys.readouterr().err
    assert not models.exists()


def test_a_version_that_cannot_be_written_leaves_no_folder_of_a_model(models, tmp_path):
    with pytest.raises(FileNotFoundError):
        publish_version(
            models / "tiny", SPEC, [tmp_path / "none.pt2"], {"calibrator": {"name": "identity"}}, {}
        )
    assert not (models / "tiny" / "spec.json").exists()


@pytest.mark.slow
def test_the_example_is_adopted(models, monkeypatch):
    assert adopt(monkeypatch, "--example", "--models-dir", models) == 0
    version = open_version(models / "hippocampus-exported")
    assert [path.suffix for path in version.members] == [".pt2"]
    assert [path.name for path in models.iterdir()] == ["hippocampus-exported"]
