"""What nnU-Net trained becomes a model folder, or nothing is published and the error says why."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from segtrust.adapters.nnunet_results import read_nnunet
from segtrust.errors import ModelError
from segtrust.files.channels import group_channels
from segtrust.inference.predictor import Predictor
from segtrust.models import open_version, published_versions, why_unpublished
from segtrust.release.adopt import adopt_again, adopt_nnunet
from segtrust.training.cases import LabelledFiles
from tiny_nnunet import dataset, label_of, nnunet_answer, plans, random_network, write_results, write_scan


@pytest.fixture
def folder(tmp_path):
    return write_results(tmp_path, plans(), dataset())


def adopted(folder, models, **options):
    return adopt_nnunet(read_nnunet(folder), models, name="tiny", **options)


def with_validation(folder, scans, *, wrong=False):
    """Each fold's own prediction of a scan where nnU-Net leaves it."""
    files = write_scan(scans, "left_out")
    for fold in (0, 1):
        mask, probs = nnunet_answer(folder, files, folds=(fold,))
        validation = folder / f"fold_{fold}" / "validation"
        validation.mkdir()
        shown = mask[::-1] if wrong else mask
        nib.save(nib.Nifti1Image(np.ascontiguousarray(shown), np.eye(4)), validation / "left_out.nii.gz")
        np.savez(validation / "left_out.npz", probabilities=probs.transpose(0, 3, 2, 1))
    return group_channels(scans.glob("left_out*.nii.gz"))


def test_model_folder_holds_safetensors_and_plain_json_and_no_pickle(folder, tmp_path):
    version = adopted(folder, tmp_path / "models")
    names = {path.suffix for path in (tmp_path / "models").rglob("*") if path.is_file()}
    assert names == {".json", ".safetensors", ""}  # `current` has no ending
    assert version.documents["plans.json"] == json.loads((folder / "plans.json").read_text())
    assert version.card["source"]["folds"] == ["0", "1"]
    weights = random_network(plans(), dataset(), seed=1).state_dict()
    stored = load_file(version.members[1])
    assert all(torch.equal(stored[name], weights[name]) for name in stored)
    shutil.rmtree(folder)
    files = write_scan(tmp_path / "scans")
    assert Predictor(open_version(tmp_path / "models" / "tiny")).predict(files[0]).members == 2


def test_folds_are_compared_with_their_own_validation(folder, tmp_path):
    images = with_validation(folder, tmp_path / "scans")
    lines = []
    version = adopted(folder, tmp_path / "models", images=images, say=lines.append)
    assert [line for line in lines if "masks differ" in line] == version.card["folds_checked"]
    assert version.card["folds_checked"][0].startswith(
        "fold 0: masks differ from nnU-Net's own validation in 0 of"
    )


def test_fold_that_answers_otherwise_than_in_nnunet_is_refused(folder, tmp_path):
    images = with_validation(folder, tmp_path / "scans", wrong=True)
    with pytest.raises(
        ModelError, match="each fold must answer as it did in nnU-Net, but fold 0: masks differ"
    ):
        adopted(folder, tmp_path / "models", images=images)
    assert not (tmp_path / "models").exists()


def test_checkpoint_of_another_network_is_refused_and_nothing_is_published(folder, tmp_path):
    other = plans()
    other["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [6, 8]
    strange = write_results(tmp_path / "other", other, dataset())
    shutil.copy(strange / "fold_1" / "checkpoint_final.pth", folder / "fold_1" / "checkpoint_final.pth")
    with pytest.raises(
        ModelError, match=r"fold_1/checkpoint_final\.pth must fit the network that plans\.json"
    ):
        adopted(folder, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_checkpoint_of_another_configuration_is_refused(folder, tmp_path):
    path = folder / "fold_1" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)  # noqa: TID251  # the file was made here
    content["init_args"]["configuration"] = "3d_lowres"
    torch.save(content, path)
    with pytest.raises(ModelError, match="of the configuration 3d_fullres as its folder says, got 3d_lowres"):
        adopted(folder, tmp_path / "models")


def test_name_that_is_taken_is_refused(folder, tmp_path):
    adopted(folder, tmp_path / "models")
    with pytest.raises(ModelError, match="holds a model already"):
        adopted(folder, tmp_path / "models")
    assert published_versions(tmp_path / "models" / "tiny") == ["0001"]


@pytest.mark.slow
@pytest.mark.parametrize("worse", [False, True], ids=["the same folds", "folds that know nothing"])
def test_new_folds_go_through_the_gate(folder, tmp_path, worse):
    adopted(folder, tmp_path / "models", mirroring=False)
    scans = []
    for number in range(8):
        image = write_scan(tmp_path / "scans", f"s{number}", seed=number)[0]
        scans.append(LabelledFiles(f"s{number}", f"s{number}", image, label_of(folder, image)))
    if worse:
        for fold in (0, 1):
            path = folder / f"fold_{fold}" / "checkpoint_final.pth"
            content = torch.load(path, weights_only=False)  # noqa: TID251  # the file was made here
            content["network_weights"] = random_network(plans(), dataset(), seed=50 + fold).state_dict()
            torch.save(content, path)
    version, reason = adopt_again(read_nnunet(folder), tmp_path / "models" / "tiny", scans)
    served = open_version(tmp_path / "models" / "tiny")
    assert (version.id, served.id) == ("0002", "0001" if worse else "0002")
    # equal folds do no harm, which eight patients cannot prove
    assert reason.startswith(
        "kept: may be inferior" if worse else "unproven: nothing is proven with fewer than"
    )
    assert bool(why_unpublished(tmp_path / "models" / "tiny", "0002")) is worse
    assert version.calibration["calibrator"]["name"] in ("distance_temperature", "identity")


def test_next_version_must_have_the_same_labels(folder, tmp_path):
    adopted(folder, tmp_path / "models")
    document = json.loads((folder / "dataset.json").read_text())
    document["labels"] = {"background": 0, "left": 1, "right": 2}
    (folder / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"must have the same labels.*under another --name"):
        adopt_again(read_nnunet(folder), tmp_path / "models" / "tiny", [])
