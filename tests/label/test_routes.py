"""Routes without a server: where they are put, and who may do what."""

import tempfile

import pytest
from fastapi import FastAPI
from monailabel.endpoints.user.auth import DEFAULT_USER

from asgi import ask
from segtrust.errors import SegtrustError
from segtrust.label.routes import inference
from segtrust.label.routes import queue as routes
from segtrust.label.routes.inference import _infer
from segtrust.label.routes.install import install_routes
from segtrust.label.routes.queue import _next_scan
from segtrust.label.studies.dicomweb import DicomwebDatastore


@pytest.fixture
def server():
    application = FastAPI()

    @application.post("/infer/{model}")
    def stock(model: str):
        return model

    install_routes(application)
    return application


def test_our_routes_come_before_those_of_monai_label(server):
    first = server.router.routes[0]
    assert (first.path, first.endpoint) == ("/infer/{model}", _infer)


def test_whole_slides_and_batches_are_checked_before_anything_starts(server):
    for path in ("wsi", "wsi_v2"):
        answer = ask(server, "POST", f"/infer/{path}/tiny", params={"image": "/etc"})
        assert (answer.status_code, answer.json()["code"]) == (404, "model_missing")
    answer = ask(server, "POST", "/batch/infer/tiny", json={"label_tag": "final"})
    assert (answer.status_code, answer.json()["code"]) == (422, "label")


def test_errors_of_the_library_have_a_handler(server):
    assert SegtrustError in server.exception_handlers
    assert server.middleware_stack is None


def test_the_documentation_keeps_one_entry_for_inference_and_has_ours(server):
    ours = ["/segtrust/models", "/segtrust/findings/{model}", "/segtrust/drift", "/segtrust/maps/{model}"]
    labels = ["/segtrust/labels/history", "/segtrust/labels/history/file", "/segtrust/labels/restore"]
    assert list(server.openapi()["paths"]) == [*ours, *labels, "/infer/{model}"]


class _Host:
    """As much of an app as the route of the next scan asks for."""

    def __init__(self, store, sample):
        self._store, self._sample = store, sample

    def datastore(self):
        return self._store

    def next_sample(self, request):
        assert request == {"strategy": "entropy", "client_id": "ann", "seed": 3}
        return self._sample


ASKED = {"client_id": "ann", "seed": 3}


RANKED = {"id": "b", "rank": 1, "of": 3, "score": 0.5, "strategy": "entropy"}
IDENTITY = {"PatientID": "P1", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "b", "AccessionNumber": "7"}


@pytest.mark.parametrize("local", [True, False], ids=["folder", "DICOMweb"])
def test_the_name_of_the_next_scan_is_all_that_a_rank_changes(monkeypatch, datastore, local):
    info = {**IDENTITY, "name": "b.nii.gz", "strategy": "what the datastore noted"}
    store = datastore if local else object.__new__(DicomwebDatastore)
    monkeypatch.setattr(store, "get_image_info", lambda scan: dict(info) if scan == "b" else None)
    monkeypatch.setattr(routes, "serving_app", lambda: _Host(store, dict(RANKED)))
    found = _next_scan("entropy", DEFAULT_USER, ASKED)
    assert found.pop("name") == ("b (rank 1 of 3, entropy 0.500).nii.gz" if local else "b.nii.gz")
    assert found == {**IDENTITY, **RANKED}


class _Inferring:
    """As much of an app as an inference asks for; it keeps what it was asked."""

    def __init__(self):
        self.requests = []

    def infer(self, request):
        self.requests.append(request)
        return {"params": {}}

    def datastore(self):
        return None

    def sessions(self):
        return None


def test_a_label_that_comes_with_an_inference_is_neither_kept_nor_handed_on(server, monkeypatch, tmp_path):
    """No task reads it; it was converted, and stayed in the temporary folder: a patient's data."""
    host = _Inferring()
    monkeypatch.setattr(inference, "serving_app", lambda: host)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = {"file": ("scan.nii", b"scan"), "label": ("label.bin", b"label")}
    answer = ask(server, "POST", "/infer/tiny", files=files)
    assert answer.status_code == 200, answer.text
    (request,) = host.requests
    assert "label" not in request
    assert not list(tmp_path.rglob("*label*"))


def test_without_a_scan_left_the_answer_is_empty(monkeypatch, datastore):
    monkeypatch.setattr(routes, "serving_app", lambda: _Host(datastore, {}))
    assert _next_scan("entropy", DEFAULT_USER, ASKED) == {}
