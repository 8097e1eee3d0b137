"""Routes of scoring on an application of their own, with a worker on three small scans."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from monailabel.interfaces.exception import MONAILabelException

from segtrust.errors import ModelNotFoundError, StoreError
from segtrust.label import score_routes
from segtrust.label.score_routes import SCORE_ROUTES
from segtrust.label.scoring_worker import ScoringWorker


@pytest.fixture
def busy():
    return []


@pytest.fixture
def worker(served, store, datastore, busy):
    found = ScoringWorker({"tiny": served}, store, datastore, lambda: bool(busy))
    yield found
    found.stop()


@pytest.fixture
def client(worker, served, monkeypatch):
    host = SimpleNamespace(
        scoring_worker=worker, served={"tiny": served}, info=lambda: {"scoring": {"entropy": {}}}
    )
    monkeypatch.setattr(score_routes, "app_instance", lambda: host)
    server = FastAPI()
    for method, path, route in SCORE_ROUTES:
        server.add_api_route(f"/{path}", route, methods=[method], response_model=None)
    return TestClient(server)


def test_a_request_is_answered_at_once_and_its_state_can_be_asked_for(client, worker, busy):
    assert client.get("/scoring/").status_code == 404
    assert client.get("/scoring/entropy").json()["tiny"]["state"] == "idle"
    busy.append("a viewer")
    asked = client.post("/scoring/entropy", json={"model": ["tiny"]})  # a list is an option nobody touched
    assert asked.status_code == 200
    assert asked.json()["status"] in {"SUBMITTED", "RUNNING"}
    assert asked.json()["request"] == {"method": "entropy", "model": "tiny"}
    assert client.post("/scoring/entropy").json()["id"] == asked.json()["id"]
    assert client.get("/scoring/?check_if_running=true").json()["id"] == asked.json()["id"]
    busy.clear()
    assert worker.wait(worker.runs()[0], 120)
    done = client.get("/scoring/").json()
    assert (done["status"], done["details"]) == ("DONE", ["3 of 3 scans have a score, 0 failed"])
    assert client.get("/scoring/?all=true").json() == [done]
    assert client.get("/scoring/?check_if_running=true").status_code == 404
    status = client.get("/scoring/entropy").json()["tiny"]
    assert (status["done"], status["total"], status["failed"], status["left_s"]) == (3, 3, 0, 0)


def test_a_client_that_waits_gets_scores_and_reasons(client, datastore):
    Path(datastore.get_image_uri("b")).write_bytes(gzip.compress(b"no scan"))
    found = client.post("/scoring/entropy?run_sync=true", json={}).json()
    assert (set(found["scores"]), set(found["failed"]), found["skipped"]) == ({"a", "c"}, {"b"}, 0)
    again = client.post("/scoring/?run_sync=true", json={"entropy": {"model": "tiny"}}).json()
    assert (
        again["entropy"]["result"] | {"scores": {}, "failed": {}, "skipped": 3} == again["entropy"]["result"]
    )


def test_stopping_answers_what_was_stopped_and_null_if_nothing_ran(client, busy):
    assert client.delete("/scoring/").json() is None
    busy.append("a viewer")
    client.post("/scoring/entropy")
    assert client.delete("/scoring/").json()["status"] == "STOPPED"
    assert client.get("/scoring/entropy").json()["tiny"]["state"] == "stopped"


def test_unknown_methods_and_models_are_named_with_those_known(client):
    for ask in (client.get, client.post):
        with pytest.raises(MONAILabelException) as refused:
            ask("/scoring/nobody")
        assert "Known: entropy" in refused.value.msg
    with pytest.raises(ModelNotFoundError, match="Served: tiny"):
        client.post("/scoring/entropy", json={"model": "spleen"})


def test_a_client_that_waits_is_told_why_a_run_ended(client, store, monkeypatch):
    def refuse(*_, **__):
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "put_score", refuse)
    with pytest.raises(StoreError, match="disk is full"):
        client.post("/scoring/entropy?run_sync=true")
