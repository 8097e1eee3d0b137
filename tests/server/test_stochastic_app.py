"""The sample app `stochastic` as a real server, on crops written as NIfTI files of one slice."""

import shutil

import nibabel as nib
import numpy as np
import pytest
from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

from copied_studies import running_server
from live_server import ROOT
from segtrust.inference import Predictor
from segtrust.models import open_version

APP = ROOT / "sample-apps" / "stochastic"
SCAN = ROOT.parent / "shared" / "data" / "hippocampus" / "images" / "hippocampus_003.nii.gz"


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Crops that nobody took: a bright disc on dark noise, and three more that come last."""
    folder = tmp_path_factory.mktemp("crops")
    rows, columns = np.mgrid[:64, :64]
    for name, radius in (("small", 4), ("large", 9)):
        disc = np.hypot(rows - 32, columns - 32) < radius
        noise = np.random.default_rng(radius).integers(20, 40, (64, 64))
        image = np.where(disc, 180, noise).astype(np.uint8)[..., None]
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"{name}.nii.gz")
    moved = np.eye(4)
    moved[:3, 3] = 7
    others = {
        "z-copy": (np.asanyarray(nib.load(folder / "large.nii.gz").dataobj), moved),
        "z-unit": (image.astype(np.float32) / 255, np.eye(4)),
        "z-wide": (np.pad(image, ((32, 32), (32, 32), (0, 0)), mode="reflect"), np.eye(4)),
    }
    for name, (values, affine) in others.items():
        nib.save(nib.Nifti1Image(values, affine), folder / f"{name}.nii.gz")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def server(tmp_path_factory, crops):
    """The app with one of its models."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(APP / "models" / "lung-nodules", models / "lung-nodules")
    conf = {"models_dir": models}
    with running_server(tmp_path_factory.mktemp("stochastic"), crops, app=APP, conf=conf) as running:
        yield running


def answer(server, tmp_path, scan="large", **params):
    response = server.infer("lung-nodules_samples", scan, output="image", **params)
    assert response.status_code == 200, response.text
    path = tmp_path / "answer.nii.gz"
    path.write_bytes(response.content)
    return np.asanyarray(nib.load(path).dataobj)


def said_of(server, scan, **params):
    response = server.infer("lung-nodules_samples", scan, output="json", **params)
    assert response.status_code == 200, response.text
    return response.json()["segtrust"]


def test_monai_label_finds_the_class_of_the_app():
    found = get_class_of_subclass_from_file("main", str(APP / "main.py"), "MONAILabelApp")
    assert found.__name__ == "StochasticApp"


def test_the_app_offers_the_task_with_its_option(server):
    info = server.get("/info/").json()
    assert list(info["models"]) == [
        "lung-nodules",
        "lung-nodules_uncertainty",
        "lung-nodules_with_uncertainty",
        "lung-nodules_samples",
    ]
    assert info["models"]["lung-nodules_samples"]["config"]["show"][0] == "agreement"
    assert info["labels"].index("share of samples up to 25 %") < info["labels"].index("lung nodule")


def test_agreement_and_samples_come_on_the_grid_of_the_crop(server, tmp_path):
    levels = answer(server, tmp_path)
    assert levels.shape == (64, 64, 1)
    assert set(np.unique(levels)) <= {0, 2, 3, 4, 5}
    samples = [answer(server, tmp_path, show=str(number)) for number in range(1, 6)]
    sizes = [np.count_nonzero(sample) for sample in samples]
    assert sizes == sorted(sizes)
    assert not np.any((samples[4] > 0) & (levels == 0))  # where a sample is, some samples agree


def test_the_same_request_draws_the_same_samples(server, tmp_path):
    assert np.array_equal(answer(server, tmp_path, show="2"), answer(server, tmp_path, show="2"))


def test_the_same_voxels_under_another_name_draw_the_same_and_another_crop_does_not(server, tmp_path):
    one, copy = (said_of(server, name) for name in ("large", "z-copy"))
    assert one["samples"] == copy["samples"]
    drawn = answer(server, tmp_path, show="2")
    assert np.array_equal(drawn, answer(server, tmp_path, "z-copy", show="2"))


def test_the_smallest_draw_that_is_shown_is_empty_only_where_all_are(server):
    for name in ("large", "small", "z-wide"):
        samples = said_of(server, name)["samples"]
        assert (samples["1"]["voxels"] > 0) == (samples["empty"] < samples["drawn"])


@pytest.mark.parametrize(
    ("name", "flag"), [("large", None), ("z-wide", "field_of_view"), ("z-unit", "intensity")]
)
def test_a_crop_unlike_those_of_training_is_answered_with_a_flag(server, name, flag):
    codes = {flag["code"] for flag in said_of(server, name)["flags"]}
    assert codes & {"field_of_view", "intensity"} == ({flag} if flag else set())


def test_another_option_is_answered_with_the_known_ones(server):
    response = server.infer("lung-nodules_samples", "large", output="json", show="9")
    assert response.status_code == 400
    assert "`show` must be one of agreement, 1, 2, 3, 4, 5" in response.json()["detail"]


def test_a_sample_can_be_submitted_as_the_label(server, tmp_path):
    sample = answer(server, tmp_path, show="5")
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image((sample > 0).astype(np.uint8), np.eye(4)), path)
    info = '{"label_info": [{"name": "lung nodule", "idx": 1}]}'
    with path.open("rb") as file:
        response = server.put(
            "/datastore/label",
            params={"image": "large", "tag": "final"},
            data={"params": info},
            files={"label": (path.name, file)},
        )
    assert response.status_code == 200, response.text
    stored = server.get("/datastore/label", params={"label": "large", "tag": "final"})
    (tmp_path / "stored.nii.gz").write_bytes(stored.content)
    assert np.array_equal(np.asanyarray(nib.load(tmp_path / "stored.nii.gz").dataobj), sample > 0)


def test_the_model_that_ships_draws_a_nodule_where_a_bright_disc_is(crops):
    prediction = Predictor(open_version(APP / "models" / "lung-nodules")).predict(crops[1])  # the small disc
    share = prediction.samples.share[..., 0]
    assert share[30:35, 30:35].mean() > 0.5
    assert share[:16].mean() < 0.05


@pytest.mark.skipif(not SCAN.is_file(), reason=f"no real scans: {SCAN.parent} is missing")
def test_the_3d_model_that_ships_offers_a_small_a_middle_and_a_large_hippocampus():
    samples = Predictor(open_version(APP / "models" / "hippocampus-stochastic")).predict(SCAN).samples
    small, _, middle, _, large = (int(np.count_nonzero(mask)) for mask in samples.masks)
    assert 1000 < small < middle < large < 8000  # mm3; a hippocampus has 2000 to 5000
