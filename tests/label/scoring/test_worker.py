"""The background worker: nothing twice, viewers first, a bad scan stops nothing, a restart loses nothing."""

import gzip
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from phantoms import publish_random_version
from segtrust.errors import DeviceError, ModelNotFoundError, ScanError, StoreError
from segtrust.inference import Predictor, fingerprint, write_volume
from segtrust.label.drift import DriftWatch
from segtrust.label.scoring import scan_scores
from segtrust.label.scoring.scan_scores import Fingerprints, missing_scores
from segtrust.label.scoring.worker import ScoringWorker
from segtrust.label.served import ServedModel
from segtrust.store import StoredScore


class Viewer:
    """Whether a viewer waits: as a test says; ``asked`` is set when the worker looked and had to wait."""

    def __init__(self):
        self.waits, self.asked = False, threading.Event()

    def __call__(self):
        if self.waits:
            self.asked.set()
        return self.waits


class Predictions:
    """Scans that were predicted, in order; ``before`` is called with model and scan, and may raise."""

    def __init__(self, monkeypatch):
        self.scans, self.before, self.change = [], lambda model, scan: None, lambda prediction: prediction
        stock = ServedModel.predict_apart

        def predict(model, path, progress=None):
            scan = path.name.removesuffix(".nii.gz")
            self.scans.append(scan)
            self.before(model, scan)
            return self.change(stock(model, path, progress))

        monkeypatch.setattr(ServedModel, "predict_apart", predict)


@pytest.fixture
def viewer():
    return Viewer()


@pytest.fixture
def predictions(monkeypatch):
    return Predictions(monkeypatch)


@pytest.fixture
def worker(served, store, datastore, viewer):
    found = ScoringWorker({"tiny": served}, store, datastore, DriftWatch(store), viewer)
    yield found
    found.stop()


def finish(worker, model="tiny"):
    run = worker.request(model)
    assert worker.wait(run, 120)
    return run


def kept(store, served):
    return store.scores(served.version().digest, served.settings_digest())


def test_every_scan_gets_the_score_of_the_library_and_the_status_counts_it(
    worker, store, served, tiny_version, tiny_scan
):
    assert worker.status()["tiny"] == {"state": "idle", "version": "0001", "total": 3, "done": 0, "failed": 0}
    run = finish(worker)
    expected = Predictor(tiny_version).predict(tiny_scan).scores.entropy
    assert run.result() == {
        "model": "tiny",
        "version": "0001",
        "scores": dict.fromkeys("abc", expected),
        "skipped": 0,
        "failed": {},
    }
    assert {scan: row.score for scan, row in kept(store, served).items()} == run.scores
    status = worker.status()["tiny"]
    assert (status["state"], status["done"], status["total"], status["failed"]) == ("done", 3, 3, 0)
    assert status["left_s"] == 0
    json.dumps([worker.described(run), status], allow_nan=False)


def test_only_what_is_missing_or_outdated_is_predicted(
    worker, predictions, datastore, served, tiny_spec, tmp_path
):
    finish(worker)
    assert predictions.scans == ["a", "b", "c"]
    assert finish(worker).result()["skipped"] == 3
    assert predictions.scans == ["a", "b", "c"]
    changed = Path(datastore.get_image_uri("b"))
    os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
    finish(worker)
    assert predictions.scans[3:] == ["b"]
    nothing = write_volume(np.zeros((20, 18, 16), np.uint8), np.eye(4), tmp_path / "nothing.nii.gz")
    datastore.save_label("a", str(nothing), "final", {})
    finish(worker)
    assert predictions.scans[4:] == []
    publish_random_version(served.folder, tiny_spec, seed=3)
    assert worker.status()["tiny"]["done"] == 0
    assert finish(worker).version.id == "0002"
    assert predictions.scans[4:] == ["b", "c"], "the labelled scan is not scored for a ranking without it"


def test_a_version_published_meanwhile_scores_every_scan_and_no_scan_twice(
    worker, predictions, store, served, tiny_spec
):
    old = served.version().digest

    def publish_once(model, scan):
        if len(predictions.scans) == 1:
            publish_random_version(model.folder, tiny_spec, seed=3)

    predictions.before = publish_once  # before the prediction of `a` reads which version it is
    run = finish(worker)
    assert predictions.scans == ["a", "b", "c"]
    assert run.version.id == "0002"
    assert set(kept(store, served)) == {"a", "b", "c"}
    assert store.scores_brief(old, served.settings_digest()) == {}


def test_a_scan_that_fails_is_kept_with_its_reason_and_tried_again_when_its_file_changes(
    worker, predictions, store, served, datastore, tiny_scan
):
    path = Path(datastore.get_image_uri("b"))
    path.write_bytes(gzip.compress(b"no scan"))
    run = finish(worker)
    assert set(run.scores) == {"a", "c"}
    assert "cannot be read" in run.failed["b"]
    assert kept(store, served)["b"].error == run.failed["b"]
    status = worker.status()["tiny"]
    assert (status["state"], status["done"], status["failed"]) == ("done", 3, 1)
    assert status["reasons"] == run.failed
    finish(worker)
    assert predictions.scans == ["a", "b", "c"]
    shutil.copyfile(tiny_scan, path)
    assert set(finish(worker).scores) == {"b"}
    assert worker.status()["tiny"]["failed"] == 0


def test_a_device_that_fails_is_no_fault_of_the_scan(worker, predictions, store, served):
    def fail_once(model, scan):
        if predictions.scans == ["a", "b"]:
            raise DeviceError("no memory")

    predictions.before = fail_once
    run = finish(worker)
    assert predictions.scans == ["a", "b", "c", "b"]
    assert (set(run.scores), run.failed) == ({"a", "b", "c"}, {})


def test_a_device_that_goes_on_failing_ends_the_run_and_the_next_one_tries_again(
    worker, predictions, store, served
):
    def fail(model, scan):
        raise DeviceError("no memory")

    predictions.before = fail
    run = finish(worker)
    assert (run.state, run.failed) == ("done", dict.fromkeys("abc", "no memory"))
    assert worker.status()["tiny"]["failed"] == 3
    assert kept(store, served) == {}
    predictions.before = lambda model, scan: None
    assert set(finish(worker).scores) == {"a", "b", "c"}


def test_an_empty_prediction_has_no_number_and_a_number_that_is_none_is_a_failure(
    worker, predictions, store, served
):
    entropies = {1: None, 2: float("nan"), 3: 0.5}

    def change(prediction):
        entropy = entropies[len(predictions.scans)]
        return replace(prediction, scores=replace(prediction.scores, entropy=entropy))

    predictions.change = change
    run = finish(worker)
    assert run.scores == {"a": None, "c": 0.5}
    assert "finite number" in run.failed["b"]
    rows = kept(store, served)
    assert (rows["a"].score, rows["a"].error, rows["b"].score) == (None, None, None)


def test_no_scan_is_begun_while_a_viewer_waits(worker, viewer, predictions):
    viewer.waits = True
    run = worker.request("tiny")
    assert viewer.asked.wait(60)
    assert worker.request("tiny") is run, "a request that is open is not doubled"
    status = worker.status()["tiny"]
    assert (status["state"], status["waits_for"], status["left_s"]) == ("running", "a viewer", None)
    assert predictions.scans == []
    viewer.waits = False
    assert worker.wait(run, 120)
    assert predictions.scans == ["a", "b", "c"]


def test_a_scan_is_given_up_for_a_viewer_between_two_members_but_not_for_ever(worker, viewer, predictions):
    begun = SimpleNamespace(scan=None)

    def begin(model, scan):
        begun.scan = scan

    def waits():  # a viewer comes whenever a prediction of `a` runs, and is served as soon as it is given up
        here, begun.scan = begun.scan == "a", None
        return here

    predictions.before = begin
    worker._busy = waits
    run = finish(worker)
    assert predictions.scans == ["a"] * 4 + ["b", "c"]
    assert set(run.scores) == {"a", "b", "c"}


def test_a_training_on_the_device_comes_first(worker, served, predictions):
    served.lend("cpu")
    run = worker.request("tiny")
    assert not worker.wait(run, 0.3)
    assert worker.status()["tiny"]["waits_for"] == "a training"
    served.take_back()
    assert worker.wait(run, 120)
    assert predictions.scans == ["a", "b", "c"]


def test_stopping_keeps_what_is_done_and_forgets_the_request(worker, predictions, store, served):
    reached, stopped = threading.Event(), threading.Event()

    def pause(model, scan):
        if scan == "b":
            reached.set()
            assert stopped.wait(60)

    predictions.before = pause
    run = worker.request("tiny")
    assert reached.wait(120)
    assert store.note("scoring") == '["tiny"]'
    assert worker.stop() == [run]
    stopped.set()
    assert worker.described(run)["status"] == "STOPPED"
    assert store.note("scoring") is None
    assert worker.stop() == []
    again = finish(worker)
    assert run.scores.keys() == {"a"}
    assert again.scores.keys() == {"b", "c"}, "the prediction that ran was given up"


def test_a_request_that_was_open_goes_on_after_a_restart(served, store, datastore, viewer, predictions):
    store.keep_note("scoring", '["tiny", "gone"]')
    worker = ScoringWorker({"tiny": served}, store, datastore, DriftWatch(store), viewer)
    assert worker.resume() == ["tiny"]
    (run,) = worker.runs()
    assert worker.wait(run, 120)
    assert (predictions.scans, store.note("scoring")) == (["a", "b", "c"], None)
    assert worker.resume() == []


def test_models_take_turns(two_models, store, datastore, viewer, predictions):
    worker = ScoringWorker(two_models, store, datastore, DriftWatch(store), viewer)
    viewer.waits = True
    first, second = worker.request("tiny"), worker.request("other")
    assert viewer.asked.wait(60)
    assert [run.state for run in worker.runs()] == ["running", "queued"]
    viewer.waits = False
    assert worker.wait(first, 120)
    assert worker.wait(second, 120)
    assert predictions.scans == ["a", "b", "c"] * 2
    with pytest.raises(ModelNotFoundError, match="Served: tiny, other"):
        worker.request("spleen")


def test_a_state_file_that_cannot_be_written_ends_the_run_with_the_reason(worker, store, monkeypatch):
    def refuse(*_, **__):
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "put_score", refuse)
    run = finish(worker)
    assert (run.state, str(run.error)) == ("failed", "the disk is full")
    assert worker.described(run)["status"] == "ERROR"
    assert store.note("scoring") == '["tiny"]', "the next start tries again"
    monkeypatch.undo()
    assert finish(worker).state == "done"
    assert store.note("scoring") is None


class Archive:
    """Series of a PACS: none is here, and ``b`` makes no volume."""

    def __init__(self, path):
        self.path, self.fetched = path, []

    def get_unlabeled_images(self):
        return ["a", "b"]

    def image_path(self, image_id):
        return None

    def get_image_uri(self, image_id):
        self.fetched.append(image_id)
        if image_id == "b":
            raise ScanError("the series 'b' cannot be made a volume", "scan_unreadable")
        return str(self.path)


def test_a_series_is_fetched_once_to_be_scored_and_never_to_be_looked_at(served, store, tiny_scan, viewer):
    archive = Archive(tiny_scan)
    worker = ScoringWorker({"tiny": served}, store, archive, DriftWatch(store), viewer)
    run = finish(worker)
    assert (set(run.scores), set(run.failed)) == ({"a"}, {"b"})
    finish(worker)
    assert archive.fetched == ["a", "b"]


def test_what_must_be_scored_costs_one_look_per_file_and_opens_none_twice(
    tmp_path, store, served, monkeypatch
):
    paths = {f"scan{number:03d}": tmp_path / f"scan{number:03d}.nii.gz" for number in range(60)}
    for number, path in enumerate(paths.values()):
        path.write_bytes(b"%d" % number)
    opened = []
    monkeypatch.setattr(scan_scores, "fingerprint", lambda path: opened.append(path) or fingerprint(path))
    monkeypatch.setattr(json, "loads", lambda *_: pytest.fail("parsed details"))
    datastore = SimpleNamespace(get_unlabeled_images=lambda: list(paths), image_path=paths.get)
    for scan, path in list(paths.items())[:50]:
        store.put_score(StoredScore(key=served.score_key(scan, fingerprint(path)), score=0.5))
    known = Fingerprints()
    assert missing_scores(served, datastore, store, known) == list(paths)[50:]
    assert len(opened) == 50, "a scan without a score need not be opened"
    assert missing_scores(served, datastore, store, known) == list(paths)[50:]
    paths["scan007"].write_bytes(b"another scan")
    assert missing_scores(served, datastore, store, known) == ["scan007", *list(paths)[50:]]
    assert len(opened) == 51
