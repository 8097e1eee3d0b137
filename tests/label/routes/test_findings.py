"""What the panel is told, against the prediction itself."""

from types import SimpleNamespace

import itk
import numpy as np
import pytest
from fastapi import FastAPI

from asgi import Client
from segtrust.inference import EXCESS, SliceHint
from segtrust.label.routes import findings
from segtrust.models import publish_version
from segtrust.quality import Quality, UsualError


class _Host:
    def __init__(self, served, scan):
        self.answering, self.asked = {served.name: served}, []
        self.drift = SimpleNamespace(marked=lambda _model, numbers: dict(numbers))  # nothing is stale
        self._scan = scan

    def prediction(self, model, image):
        self.asked.append((model, image))
        return self.answering[model].predict(self._scan)


@pytest.fixture
def prediction(served, tiny_scan):
    return served.predict(tiny_scan)


@pytest.fixture
def client(served, tiny_scan, monkeypatch):
    monkeypatch.setattr(findings, "serving_app", lambda: _Host(served, tiny_scan))
    server = FastAPI()
    server.include_router(findings.router)
    return Client(server)


def test_models_come_with_structures_measures_and_both_notices(client, served):
    answer = client.get("/segtrust/models").json()
    (model,) = answer["models"]
    assert (model["name"], model["structures"]) == ("tiny", {"front": 1, "back": 2})
    several = len(served.version().members) > 1
    always = [m.name for m in findings.MEASURES if m.name != EXCESS]
    expected = [name for name in always if several or name not in findings._OF_SEVERAL]
    assert [measure["name"] for measure in model["measures"]] == expected
    assert answer["notices"] == [findings.BLIND_SPOT, findings.RESEARCH_ONLY]


def test_the_excess_is_offered_where_the_version_knows_the_usual_chance_of_error(client, served):
    version = served.version()
    quality = Quality({}, None, UsualError(((0.125,) * 20,) * 3, 5), 5).to_json()
    publish_version(
        served.folder, version.spec, version.members, {**version.calibration, "quality": quality}, {}
    )
    assert EXCESS in [m["name"] for m in client.get("/segtrust/models").json()["models"][0]["measures"]]
    assert client.get(f"/segtrust/maps/tiny?image=ball&map={EXCESS}").status_code == 200


def test_every_measure_is_a_map_with_values_below_one(prediction):
    for measure in (m for m in findings.MEASURES if m.name != EXCESS):
        assert 0 <= prediction.map(measure.name).min() <= prediction.map(measure.name).max() <= 1


def test_findings_are_the_numbers_of_the_answer(client, prediction):
    answer = client.get("/segtrust/findings/tiny?image=ball").json()
    for hint in answer["slices"]:
        del hint["position"]
    assert answer == prediction.params()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_position_is_the_most_doubtful_voxel_of_the_slice_in_patient_coordinates(prediction, axis):
    index = prediction.mask.shape[axis] // 2
    hint = SliceHint(axis=axis, index=index, share=1.0, structure="front", reason="")
    left, posterior, head = findings._position(prediction, hint)
    voxel = np.linalg.inv(prediction.affine) @ [-left, -posterior, head, 1]
    chance = prediction.map("chance_of_error")
    i, j, k = np.rint(voxel[:3]).astype(int)
    assert (i, j, k)[axis] == index
    assert chance[i, j, k] == np.take(chance, index, axis=axis).max()


def test_a_map_is_nrrd_on_the_voxels_of_the_scan(client, prediction, tmp_path):
    answer = client.get("/segtrust/maps/tiny?image=ball&map=entropy")
    assert answer.headers["cache-control"] == "no-store"
    (tmp_path / "map.nrrd").write_bytes(answer.content)
    image = itk.imread(str(tmp_path / "map.nrrd"))
    assert (prediction.entropy == itk.array_from_image(image).T).all()
    corner = np.array(image.TransformIndexToPhysicalPoint([1, 2, 3]))
    assert corner * [-1, -1, 1] == pytest.approx((prediction.affine @ [1, 2, 3, 1])[:3])


def test_the_map_leaves_no_file_behind(client, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert client.get("/segtrust/maps/tiny?image=ball").status_code == 200
    assert list(folder.iterdir()) == []
