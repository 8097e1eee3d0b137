"""Listing models and showing versions."""

import json

import pytest

from segtrust import cli
from segtrust.models import Label, ModelSpec, publish_version


@pytest.fixture
def models(tmp_path):
    spec = ModelSpec(
        name="toy",
        labels=(Label("blob", 1, 1),),
        network={"_target_": "monai.networks.nets.UNet"},
        patch=(8, 8, 8),
        members=1,
    )
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    for note in ("first", "second"):
        publish_version(tmp_path / "models" / "toy", spec, [weights], {}, {"note": note})
    return tmp_path / "models"


def test_list_names_versions_and_marks_the_one_served(models, capsys):
    assert cli.main(["versions", "list", "--models-dir", str(models)]) == 0
    assert "toy  versions 0001 [0002]  members 1  structures blob" in capsys.readouterr().out


def test_show_prints_the_card(models, capsys):
    assert cli.main(["versions", "show", "toy", "0001", "--models-dir", str(models)]) == 0
    first, _, card = capsys.readouterr().out.partition("\n")
    assert first.startswith("toy 0001: all 2 files check; digest ")
    assert json.loads(card)["note"] == "first"


def test_broken_version_is_listed_as_broken_and_fails(models, capsys):
    next((models / "toy" / "versions" / "0002" / "members").iterdir()).write_bytes(b"cut")
    assert cli.main(["versions", "list", "--models-dir", str(models)]) == 1
    assert "toy  broken: " in capsys.readouterr().out


def test_tables_need_figures_of_test_scans(models, capsys):
    assert cli.main(["versions", "show", "toy", "--tables", "--models-dir", str(models)]) == 1
    assert "must have figures of test scans for tables" in capsys.readouterr().err
