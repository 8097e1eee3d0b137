"""What the routes of scoring answer, with a worker on three small scans; HTTP itself: tests/server."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import HTTPException
from monailabel.endpoints.user.auth import DEFAULT_USER
from monailabel.interfaces.exception import MONAILabelException

from segtrust.errors import ModelNotFoundError, StoreError
from segtrust.label.drift import DriftWatch
from segtrust.label.routes import scoring as score_routes
from segtrust.label.routes.scoring import SCORE_ROUTES
from segtrust.label.scoring.worker import ScoringWorker


@pytest.fixture
def busy():
    return []


@pytest.fixture
def worker(served, store, datastore, busy):
    found = ScoringWorker({"tiny": served}, store, datastore, DriftWatch(store), lambda: bool(busy))
    yield found
    found.stop()


@pytest.fixture
def ask(worker, served, monkeypatch):
    """``ask(verb, path, ...)`` calls the function of a route."""
    host = SimpleNamespace(
        scoring_worker=worker, served={"tiny": served}, info=lambda: {"scoring": {"entropy": {}}}
    )
    monkeypatch.setattr(score_routes, "serving_app", lambda: host)
    known = {(method, path): route for method, path, route in SCORE_ROUTES}
    return lambda verb, path, /, **options: known[verb, path](DEFAULT_USER, **options)


def test_a_request_is_answered_at_once_and_its_state_can_be_asked_for(ask, worker, busy):
    with pytest.raises(HTTPException, match="no scoring is known"):
        ask("GET", "scoring/")
    assert ask("GET", "scoring/{method}", method="entropy")["tiny"]["state"] == "idle"
    busy.append("a viewer")
    model = {"model": ["tiny"]}  # a list is an option that nobody touched
    asked = ask("POST", "scoring/{method}", method="entropy", params=model)
    assert asked["status"] in {"SUBMITTED", "RUNNING"}
    assert asked["request"] == {"method": "entropy", "model": "tiny"}
    assert ask("POST", "scoring/{method}", method="entropy")["id"] == asked["id"]
    assert ask("GET", "scoring/", check_if_running=True)["id"] == asked["id"]
    busy.clear()
    assert worker.wait(worker.runs()[0], 120)
    done = ask("GET", "scoring/")
    assert (done["status"], done["details"]) == ("DONE", ["3 of 3 scans have a score, 0 failed"])
    assert ask("GET", "scoring/", all=True) == [done]
    with pytest.raises(HTTPException, match="no scoring is running"):
        ask("GET", "scoring/", check_if_running=True)
    status = ask("GET", "scoring/{method}", method="entropy")["tiny"]
    assert (status["done"], status["total"], status["failed"], status["left_s"]) == (3, 3, 0, 0)


def test_a_client_that_waits_gets_scores_and_reasons(ask, datastore):
    Path(datastore.get_image_uri("b")).write_bytes(gzip.compress(b"no scan"))
    found = ask("POST", "scoring/{method}", method="entropy", run_sync=True)
    assert (set(found["scores"]), set(found["failed"]), found["skipped"]) == ({"a", "c"}, {"b"}, 0)
    again = ask("POST", "scoring/", params={"entropy": {"model": "tiny"}}, run_sync=True)
    assert again == {
        "entropy": {"result": found | {"scores": {}, "failed": {}, "skipped": 3}, "detail": None}
    }


def test_stopping_answers_what_was_stopped_and_nothing_if_nothing_ran(ask, busy):
    assert ask("DELETE", "scoring/") is None
    busy.append("a viewer")
    ask("POST", "scoring/{method}", method="entropy")
    assert ask("DELETE", "scoring/")["status"] == "STOPPED"
    assert ask("GET", "scoring/{method}", method="entropy")["tiny"]["state"] == "stopped"


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_an_unknown_method_is_named_with_those_known(ask, verb):
    with pytest.raises(MONAILabelException) as refused:
        ask(verb, "scoring/{method}", method="nobody")
    assert "Known: entropy" in refused.value.msg


def test_an_unknown_model_is_named_with_those_served(ask):
    with pytest.raises(ModelNotFoundError, match="Served: tiny"):
        ask("POST", "scoring/{method}", method="entropy", params={"model": "spleen"})


def test_a_client_that_waits_is_told_why_a_run_ended(ask, store, monkeypatch):
    def refuse(*_, **__):
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "put_score", refuse)
    with pytest.raises(StoreError, match="disk is full"):
        ask("POST", "scoring/{method}", method="entropy", run_sync=True)
