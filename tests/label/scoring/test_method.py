"""Scoring: once per scan, version and file; what fails is named and stops nothing."""

import gzip
import json
from pathlib import Path

import pytest

from phantoms import publish_random_version
from segtrust.inference import Predictor
from segtrust.label.scoring.method import EntropyScoring


@pytest.fixture
def scoring(served, store):
    return EntropyScoring({"tiny": served}, store)


def test_every_unlabelled_scan_gets_the_score_of_the_library(scoring, store, served, datastore, tiny_version):
    found = scoring({}, datastore)
    expected = Predictor(tiny_version).predict(Path(datastore.get_image_uri("a"))).scores.entropy
    assert found["scores"] == dict.fromkeys("abc", expected)
    kept = store.scores(served.version().digest, served.settings_digest())
    assert {scan: row.score for scan, row in kept.items()} == found["scores"]
    details = kept["a"].details
    assert details["doubt"] == pytest.approx(details["scores"]["doubt"])
    assert details["scores"]["entropy"] == pytest.approx(expected)
    assert {"structures", "slices", "class_scores", "foreground", "features"} <= set(details)


def test_what_has_a_score_is_not_predicted_again(scoring, datastore, monkeypatch):
    scoring({}, datastore)
    monkeypatch.setattr(Predictor, "predict", lambda *_, **__: pytest.fail("predicted again"))
    assert scoring({}, datastore)["skipped"] == 3


def test_a_new_version_is_scored_anew(scoring, datastore, served, tiny_spec):
    first = scoring({}, datastore)
    publish_random_version(served.folder, tiny_spec, seed=3)
    second = scoring({}, datastore)
    assert (first["version"], second["version"]) == ("0001", "0002")
    assert set(second["scores"]) == {"a", "b", "c"}


def test_a_scan_that_fails_is_named_once_and_stops_nothing(scoring, datastore):
    Path(datastore.get_image_uri("b")).write_bytes(gzip.compress(b"no scan"))
    found = scoring({}, datastore)
    assert set(found["scores"]) == {"a", "c"}
    assert "cannot be read" in found["failed"]["b"]
    assert scoring({}, datastore) == found | {"scores": {}, "failed": {}, "skipped": 3}


def test_an_error_nobody_foresaw_stops_nothing_either(scoring, datastore, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("odd")

    monkeypatch.setattr(Predictor, "predict", fail)
    assert scoring({}, datastore)["failed"] == dict.fromkeys("abc", "RuntimeError: odd")


def test_a_scan_that_vanished_is_named(scoring, datastore):
    Path(datastore.get_image_uri("c")).unlink()
    assert "cannot be opened" in scoring({}, datastore)["failed"]["c"]


def test_labelled_scans_are_left_out(scoring, datastore, tiny_scan):
    datastore.save_label("a", str(tiny_scan), "other", {})
    assert set(scoring({}, datastore)["scores"]) == {"a", "b", "c"}


def test_the_result_is_json(scoring, datastore):
    json.dumps(scoring({}, datastore), allow_nan=False)
