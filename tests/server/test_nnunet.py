"""A real server serves what nnU-Net trained like any model of ours, and says that it learns elsewhere."""

import nibabel as nib
import numpy as np
import pytest

from copied_studies import running_server
from segtrust.adapters.nnunet_results import read_nnunet
from segtrust.release.adopt import adopt_nnunet
from tiny_nnunet import dataset, nnunet_answer, plans, write_results, write_scan
from training_client import Trainee, halves


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"), plans(channels=2), dataset(channels=2))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return [file for k in range(2) for file in write_scan(folder, f"case{k}", channels=2, seed=k)]


@pytest.fixture(scope="module")
def server(tmp_path_factory, results, scans):
    models = tmp_path_factory.mktemp("models")
    adopt_nnunet(read_nnunet(results), models, name="tiny")
    with running_server(
        tmp_path_factory.mktemp("server"), scans, conf={"models_dir": models, "models": "tiny"}
    ) as running:
        yield running


def test_two_files_are_one_scan_and_its_mask_is_that_of_nnunet(server, results, scans, tmp_path):
    assert len(server.get("/datastore/?output=all").json()["objects"]) == 2
    answer = server.infer("tiny", "case0_0000", output="image", result_extension=".nii.gz")
    (tmp_path / "mask.nii.gz").write_bytes(answer.content)
    mask, _ = nnunet_answer(results, scans[:2])
    assert np.array_equal(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj), mask)


def test_answer_has_numbers_bands_and_slices(server):
    params = server.infer("tiny", "case1_0000", output="json").json()["segtrust"]
    assert params["members"] == 2
    assert params["scores"]["entropy"] > 0
    assert {structure["name"] for structure in params["structures"]} == {"front", "back"}
    assert server.infer("tiny_uncertainty", "case1_0000", output="image").status_code == 200


def test_next_scan_is_one_of_the_two(server):
    chosen = server.post("/activelearning/entropy", json={"client_id": "ann"}).json()
    assert chosen["id"] in ("case0_0000", "case1_0000")


def test_training_says_that_nnunet_trains_elsewhere(server):
    trainee = Trainee(server, "tiny", seconds=300)
    assert trainee.submit("case0_0000", halves((20, 14, 16))).status_code == 200
    trainee.start()
    trainee.ended()
    assert "learns in nnU-Net alone" in str(trainee.record())
