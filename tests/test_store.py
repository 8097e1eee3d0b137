"""The state file: what it keeps, across threads, processes and versions."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from segtrust.errors import StoreError
from segtrust.store import ScoreKey, StateStore, state_dir_for


def key(scan_id="a", **changes):
    fields = {"fingerprint": "f1", "version_digest": "v1", "settings_digest": "s1"}
    return ScoreKey(scan_id=scan_id, **{**fields, **changes})


@pytest.fixture
def store(tmp_path):
    return StateStore(tmp_path / "deep" / "state.sqlite")


def test_a_score_comes_back_as_it_was_put(store):
    store.put_score(key(), 0.25, details={"slices": [{"index": 3}]}, flags=[{"code": "x", "text": "y"}])
    found = store.get_score(key())
    assert (found.score, found.error) == (0.25, None)
    assert found.details == {"slices": [{"index": 3}]}
    assert found.flags == ({"code": "x", "text": "y"},)


@pytest.mark.parametrize("changed", ["fingerprint", "version_digest", "settings_digest"])
def test_a_score_of_another_key_is_not_found(store, changed):
    store.put_score(key(), 0.25)
    assert store.get_score(key(**{changed: "other"})) is None


def test_a_score_that_is_put_twice_is_replaced(store):
    store.put_score(key(), 0.25)
    store.put_score(key(), 0.5)
    assert [s.score for s in store.scores("v1", "s1").values()] == [0.5]


def test_the_newest_file_of_a_scan_counts(store):
    store.put_score(key(fingerprint="old"), 0.1)
    store.put_score(key(fingerprint="new"), 0.9)
    assert store.scores("v1", "s1")["a"].key.fingerprint == "new"


def test_a_failed_scan_keeps_its_reason_and_has_no_score(store):
    store.mark_failed(key("bad"), "cut off")
    found = store.scores("v1", "s1")["bad"]
    assert (found.score, found.error) == (None, "cut off")


def test_an_empty_prediction_has_no_score_and_no_error(store):
    store.put_score(key("empty"), None)
    assert store.scores("v1", "s1")["empty"].error is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_say_is_refused(store, bad):
    with pytest.raises(StoreError, match="finite numbers"):
        store.put_score(key(), bad)
    with pytest.raises(StoreError, match="finite numbers"):
        store.put_score(key(), 0.1, details={"x": bad})


def test_scans_handed_out_are_listed_oldest_first(store):
    store.mark_served("a", "user-2", "entropy", ts=20)
    store.mark_served("a", "user-1", "random", ts=10)
    assert [(s.client_id, s.ts) for s in store.served("a")] == [("user-1", 10.0), ("user-2", 20.0)]
    assert store.served("b") == []


def test_a_file_of_a_newer_program_is_refused(store):
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="Update segtrust"):
        StateStore(store.path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Name another `state_dir`"):
        StateStore(tmp_path / "file" / "state.sqlite")


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"this is no database, but long enough to be taken for one" * 20)
    with pytest.raises(StoreError, match=r"state\.sqlite"):
        StateStore(path)


def test_opening_again_keeps_what_is_there(store):
    store.put_score(key(), 0.25)
    assert StateStore(store.path).get_score(key()).score == 0.25


def write_many(path, name):
    own = StateStore(Path(path))
    for index in range(50):
        own.put_score(key(f"{name}-{index}"), index / 50)


def test_processes_that_write_together_lose_nothing(store):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(str(store.path), name)) for name in "pq"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(store.scores("v1", "s1")) == 100


def test_a_local_folder_keeps_its_state_inside(tmp_path):
    assert state_dir_for(str(tmp_path)) == tmp_path.resolve() / ".segtrust"


def test_a_setting_wins_over_the_studies(tmp_path):
    assert state_dir_for("http://pacs/dicom-web", tmp_path) == tmp_path.resolve()


def test_an_archive_keeps_its_state_under_the_user_by_its_address():
    first, second = state_dir_for("http://pacs/dicom-web/"), state_dir_for("http://pacs/dicom-web")
    assert first == second != state_dir_for("https://other/dicom-web")
    assert "segtrust" in str(first)


# --- roles -------------------------------------------------------------------------------------------------


def test_the_key_of_a_site_is_made_once(store):
    key = store.site_key()
    assert len(key) == 32
    assert StateStore(store.path).site_key() == key != StateStore(store.path.with_name("b.sqlite")).site_key()


def test_a_role_stays_whatever_is_said_about_the_patient_later(store):
    scans = {f"s{i}": f"s{i}" for i in range(40)}
    before = store.fix_roles(scans)
    assert len(set(before.values())) == 3
    assert store.fix_roles(dict.fromkeys(scans, "one patient")) == before


def test_a_new_scan_of_a_known_patient_gets_his_role(store):
    first = {f"s{i}": f"patient {i}" for i in range(40)}
    roles = store.fix_roles(first)
    later = store.fix_roles({f"t{i}": f"patient {i}" for i in range(40)})
    assert [later[f"t{i}"] for i in range(40)] == [roles[f"s{i}"] for i in range(40)]


def test_names_of_patients_are_not_in_the_file(store):
    store.fix_roles({"s1": "Ann Example"})
    assert b"Ann Example" not in b"".join(p.read_bytes() for p in store.path.parent.iterdir())


def test_a_file_of_the_first_form_gains_roles_and_keeps_its_scores(store):
    store.put_score(key(), 0.25)
    with sqlite3.connect(store.path) as db:
        db.executescript("DROP TABLE site; DROP TABLE roles; PRAGMA user_version = 1;")
    again = StateStore(store.path)
    assert again.get_score(key()).score == 0.25
    assert set(again.fix_roles({"a": "a"})) == {"a"}
