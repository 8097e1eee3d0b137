"""A site's watch on drift: who is watched, in which stream, and what answers say when there is an alarm."""

from dataclasses import replace

import pytest

from segtrust.cli import main
from segtrust.label.drift import FILES, DriftWatch, stream_of
from segtrust.label.forgetting import forget_patient
from segtrust.store import StateStore, StoredScore

OTHER = "Maker One, T1 sagittal"


def facts(entropy, stream=FILES):
    return {"watched": {"stream": stream, "features": {}, "numbers": {"entropy": entropy}}}


def put(store, served, scan, entropy, patient=None, **options):
    store.fix_roles({scan: patient or scan})
    key = replace(served.score_key(scan, f"print of {scan}"))
    store.put_score(StoredScore(key=key, score=entropy, details=facts(entropy, **options)))


@pytest.fixture
def watch(store):
    return DriftWatch(store)


def test_one_scan_of_each_patient_and_stream_is_watched(store, served, watch):
    put(store, served, "first", 0.1, "anna")
    put(store, served, "again", 0.2, "anna")
    put(store, served, "elsewhere", 0.3, "anna", stream=OTHER)
    put(store, served, "bert", 0.4)
    assert watch.update(served) == 3
    assert watch.update(served) == 0
    rows = store.watched(served.version().digest)
    assert [(row.stream, row.scan["numbers"]["entropy"]) for row in rows] == [
        (FILES, 0.1),
        (OTHER, 0.3),
        (FILES, 0.4),
    ]
    assert {name: stream.scans for name, stream in watch.report(served).streams.items()} == {
        FILES: 2,
        OTHER: 1,
    }


def test_failed_scans_and_those_without_a_patient_are_not_watched(store, served, watch):
    store.fix_roles({"bad": "bad"})
    store.put_score(StoredScore(key=served.score_key("bad", "x"), error="cannot be read"))
    store.put_score(StoredScore(key=served.score_key("unknown", "x"), score=0.1, details=facts(0.1)))
    assert watch.update(served) == 0


def drifted(store, served, watch, stream=FILES):
    for number in range(30):
        put(store, served, f"{stream}{number:02d}", 0.1 + number / 1e4, stream=stream)
    for number in range(20):
        put(store, served, f"{stream}late{number:02d}", 0.5 + number / 1e4, stream=stream)
    watch.update(served)


def test_an_alarm_marks_answers_of_its_stream_and_is_named_in_all(store, served, watch):
    series = {"manufacturer": "Maker", "scanner": "One", "protocol": "T1 sagittal"}
    assert stream_of(series) == OTHER
    assert watch.marked(served, {"flags": []}) == {"flags": []}
    drifted(store, served, watch, OTHER)
    own = watch.marked(served, {"flags": [], "series": series})
    assert own["calibration_stale"] == [OTHER]
    assert [flag["code"] for flag in own["flags"]] == ["calibration_stale"]
    assert "Calibrate anew" in own["flags"][0]["text"]
    assert watch.marked(served, {"flags": []}) == {"flags": [], "calibration_stale": [OTHER]}


def test_the_verdict_is_the_same_after_a_restart_and_in_another_process(store, served, watch):
    drifted(store, served, watch)
    again = DriftWatch(StateStore(store.path))
    assert again.update(served) == 0
    assert again.report(served) == watch.report(served)
    assert again.report(served).stale == (FILES,)


def test_two_processes_that_watch_at_once_watch_nobody_twice(store, served, watch, monkeypatch):
    for number in range(6):
        put(store, served, f"s{number}", number / 10)
    stock, other = store.watch, StateStore(store.path)

    def slow(digest, patient, row, *, after):
        if after == 2:
            monkeypatch.setattr(store, "watch", stock)
            DriftWatch(other).update(served)
        return stock(digest, patient, row, after=after)

    monkeypatch.setattr(store, "watch", slow)
    watch.update(served)
    values = [row.scan["numbers"]["entropy"] for row in store.watched(served.version().digest)]
    assert values == [number / 10 for number in range(6)]


def test_a_patient_who_is_forgotten_is_not_watched_any_more(store, served, watch):
    put(store, served, "s", 0.1, "anna")
    put(store, served, "t", 0.2, "bert")
    watch.update(served)
    forget_patient("anna", store, None, None, "admin")
    assert [row.scan["numbers"]["entropy"] for row in store.watched(served.version().digest)] == [0.2]
    assert watch.report(served).streams[FILES].scans == 1


def test_a_watch_that_begins_anew_forgets_and_takes_only_what_comes(store, served, watch):
    drifted(store, served, watch)
    assert store.watch_anew(served.version().digest) == 50
    assert watch.update(served) == 0
    assert watch.report(served).streams == {}
    put(store, served, "new", 0.3)
    assert watch.update(served) == 1


def test_scoring_watches_and_the_command_line_tells(tmp_path, tiny_model, tiny_scan, capsys):
    studies = tmp_path / "scans"
    studies.mkdir()
    for name in "ab":
        (studies / f"{name}.nii.gz").write_bytes(tiny_scan.read_bytes())
    conf = ["--studies", str(studies), "--conf", "models_dir", str(tiny_model.parent)]
    assert main(["drift", "tiny", *conf]) == 0
    assert "no scan was watched yet" in capsys.readouterr().out
    assert main(["score", "tiny", *conf]) == 0
    assert main(["drift", "tiny", *conf]) == 0
    assert "Nothing about 2 patients says" in capsys.readouterr().out
