"""`segtrust adopt` recognises what lies at a path, and says in words what it cannot take."""

import pytest
import torch

from segtrust import cli
from segtrust.cli.adopt import default_name
from segtrust.models import open_version
from tiny_nnunet import HIPPOCAMPUS, dataset, label_of, plans, write_results, write_scan


@pytest.fixture
def dataset_folder(tmp_path):
    return write_results(tmp_path, plans(), dataset()).parent


def adopt(*words):
    return cli.main(["adopt", *map(str, words)])


def test_dataset_becomes_a_model_in_one_command(dataset_folder, tmp_path, capsys):
    assert adopt(dataset_folder, "--models-dir", tmp_path / "models") == 0
    version = open_version(tmp_path / "models" / "Dataset999_Tiny")
    assert len(version.members) == 2
    out = capsys.readouterr().out
    assert "structures: front, back; channels: T1" in out
    assert "not calibrated yet: segtrust calibrate --model Dataset999_Tiny" in out


def test_model_of_a_site_goes_where_its_server_looks(dataset_folder, tmp_path, capsys):
    (tmp_path / "scans").mkdir()
    assert adopt(dataset_folder, "--studies", tmp_path / "scans", "--folds", "1", "--name", "one") == 0
    assert len(open_version(tmp_path / "scans/.segtrust/models/one").members) == 1
    assert "One member: nothing is known between members." in capsys.readouterr().out


def test_images_beside_the_results_are_used_without_being_named(
    dataset_folder, tmp_path, capsys, monkeypatch
):
    raw = tmp_path / "raw" / "Dataset999_Tiny" / "imagesTr"
    (image,) = write_scan(raw, "left_out")
    label = label_of(dataset_folder / "nnUNetTrainer__nnUNetPlans__3d_fullres", image)
    for fold in (0, 1):
        validation = next(dataset_folder.glob("*__*")) / f"fold_{fold}" / "validation"
        validation.mkdir()
        (validation / label.name).write_bytes(label.read_bytes())
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    status = adopt(dataset_folder, "--models-dir", tmp_path / "models", "--no-mirroring")
    assert status == 1  # the label is that of both folds together, not of one
    assert "each fold must answer as it did in nnU-Net" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weights.pth", "holds weights alone"),
        ("notes.txt", "none of the kinds that are recognised"),
        ("network.pt2", "does not say its labels"),
        ("missing", "there is nothing at"),
    ],
)
def test_what_is_none_of_the_kinds_is_refused_in_words(tmp_path, capsys, name, words):
    if name != "missing":
        torch.save({"a": torch.ones(1)}, tmp_path / name)
    assert adopt(tmp_path / name, "--models-dir", tmp_path / "models") == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_model_folder_is_told_from_what_can_be_adopted(dataset_folder, tmp_path, capsys):
    adopt(dataset_folder, "--models-dir", tmp_path / "models")
    assert adopt(tmp_path / "models" / "Dataset999_Tiny") == 1
    assert "is a model folder of segtrust already" in capsys.readouterr().err


def test_again_needs_scans_that_no_fold_saw(dataset_folder, tmp_path, capsys):
    assert adopt(dataset_folder, "--models-dir", tmp_path, "--again") == 1
    assert "--images and --labels of scans that no fold saw" in capsys.readouterr().err


def test_names_are_those_that_a_model_may_have(tmp_path):
    assert default_name(tmp_path / "my bundle (1)") == "my-bundle--1"
    assert default_name(tmp_path / "ü.pt2") == "adopted"


@pytest.mark.slow
def test_results_that_nnunet_trained_are_adopted_and_each_fold_answers_as_it_did(data_dir, tmp_path, capsys):
    if not HIPPOCAMPUS.is_dir():
        pytest.skip("no results of nnU-Net in ../shared/data/nnunet_hippocampus")
    images = data_dir / "hippocampus" / "images"
    assert adopt(HIPPOCAMPUS.parent, "--models-dir", tmp_path, "--images", images, "--name", "nn") == 0
    out = capsys.readouterr().out
    for fold in (0, 1):  # trained and validated on a processor, so that not one voxel moves
        assert f"fold {fold}: masks differ from nnU-Net's own validation in 0 of" in out
