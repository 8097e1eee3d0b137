"""The state file: what it keeps, across threads, processes and versions."""

import multiprocessing
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segtrust.errors import StoreError
from segtrust.store import ScoreKey, StateStore, StoredScore, state_dir_for
from segtrust.store.migrations import MIGRATIONS


def key(scan_id="a", **changes):
    fields = {"fingerprint": "f1", "version_digest": "v1", "settings_digest": "s1"}
    return ScoreKey(scan_id=scan_id, **{**fields, **changes})


@pytest.fixture
def store(tmp_path):
    return StateStore(tmp_path / "deep" / "state.sqlite")


JSON = st.dictionaries(
    st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)


@given(
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    details=JSON,
    flags=st.lists(JSON.map(lambda flag: {**flag, "code": "x"}), max_size=2).map(tuple),
    error=st.none() | st.text(max_size=5),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_comes_back_as_it_was_put_a_failed_one_with_its_flags(store, score, details, flags, error):
    row = StoredScore(key=key(), score=score, details=details, flags=flags, error=error)
    store.put_score(row)
    stored = store.get_score(key())
    assert replace(stored, updated=0.0) == row
    brief = store.scores_brief("v1", "s1")["a"]
    assert (brief.score, brief.error, brief.codes) == (score, error, row.codes)


def test_a_score_comes_back_as_it_was_put(store):
    store.put_score(
        StoredScore(
            key=key(), score=0.25, details={"slices": [{"index": 3}]}, flags=[{"code": "x", "text": "y"}]
        )
    )
    found = store.get_score(key())
    assert (found.score, found.error) == (0.25, None)
    assert found.details == {"slices": [{"index": 3}]}
    assert found.flags == ({"code": "x", "text": "y"},)


@pytest.mark.parametrize("changed", ["fingerprint", "version_digest", "settings_digest"])
def test_a_score_of_another_key_is_not_found(store, changed):
    store.put_score(StoredScore(key=key(), score=0.25))
    assert store.get_score(key(**{changed: "other"})) is None


def test_a_score_that_is_put_twice_is_replaced(store):
    store.put_score(StoredScore(key=key(), score=0.25))
    store.put_score(StoredScore(key=key(), score=0.5))
    assert [s.score for s in store.scores("v1", "s1").values()] == [0.5]


def test_the_newest_file_of_a_scan_counts(store):
    store.put_score(StoredScore(key=key(fingerprint="old"), score=0.1))
    store.put_score(StoredScore(key=key(fingerprint="new"), score=0.9))
    assert store.scores("v1", "s1")["a"].key.fingerprint == "new"


def test_a_failed_scan_keeps_its_reason_and_has_no_score(store):
    store.put_score(StoredScore(key=key("bad"), error="cut off"))
    found = store.scores("v1", "s1")["bad"]
    assert (found.score, found.error) == (None, "cut off")


def test_an_empty_prediction_has_no_score_and_no_error(store):
    store.put_score(StoredScore(key=key("empty"), score=None))
    assert store.scores("v1", "s1")["empty"].error is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_say_is_refused(store, bad):
    with pytest.raises(StoreError, match="finite numbers"):
        store.put_score(StoredScore(key=key(), score=bad))
    with pytest.raises(StoreError, match="finite numbers"):
        store.put_score(StoredScore(key=key(), score=0.1, details={"x": bad}))


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
    store.put_score(StoredScore(key=key(), score=0.25))
    assert StateStore(store.path).get_score(key()).score == 0.25


def write_many(path, name):
    own = StateStore(Path(path))
    for index in range(50):
        own.put_score(StoredScore(key=key(f"{name}-{index}"), score=index / 50))


def test_processes_that_write_together_lose_nothing(store):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(str(store.path), name)) for name in "pq"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(store.scores("v1", "s1")) == 100


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_forked_process_opens_the_file_itself(store):
    store.put_score(StoredScore(key=key(), score=0.25))
    child = multiprocessing.get_context("fork").Process(
        target=store.put_score, args=(StoredScore(key=key("b"), score=0.5),)
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    store.put_score(StoredScore(key=key("c"), score=0.75))
    assert sorted(store.scores("v1", "s1")) == ["a", "b", "c"]


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


def of_form(path, form):
    """A state file as an earlier version of the program left it."""
    with closing(sqlite3.connect(path)) as db:
        for step in MIGRATIONS[:form]:
            db.executescript(step)
        db.execute(f"PRAGMA user_version = {form}")
        db.execute(
            "INSERT INTO scores VALUES ('a', 'f1', 'v1', 's1', 1, 0.25, '{\"x\": 1}',"
            ' \'[{"code": "empty"}, {"code": "intensity"}]\', NULL, 1.0)'
        )
        db.execute("INSERT INTO scores VALUES ('b', 'f2', 'v1', 's1', 1, NULL, '{}', '[]', 'cut off', 2.0)")
        db.execute("INSERT INTO served VALUES ('a', 'ann', 'entropy', 3.0)")
        if form > 1:
            db.execute("INSERT INTO site VALUES ('key', X'00')")
            db.execute("INSERT INTO roles VALUES ('a', 'hash', 'calibration', 4.0)")
        db.commit()


@pytest.mark.parametrize("form", [1, 2])
def test_a_file_of_an_earlier_form_is_brought_up_without_losing_a_row(tmp_path, form):
    path = tmp_path / "state.sqlite"
    of_form(path, form)
    store = StateStore(path)
    assert store.get_score(key(schema=1)).details == {"x": 1}
    assert store.get_score(key("b", fingerprint="f2", schema=1)).error == "cut off"
    assert store.get_score(key()) is None  # scores of an earlier schema are there and count no more
    assert store.scores_brief("v1", "s1") == {}
    assert [served.client_id for served in store.served("a")] == ["ann"]
    if form > 1:
        assert store.roles() == {"a": ("hash", "calibration")}
        assert store.site_key() == b"\x00"
    assert store.lease(["a"], "ann", strategy="entropy") == "a"
    assert StateStore(path).lease(["a"], "ben", strategy="entropy") is None


def test_scores_in_brief_say_what_the_whole_rows_say(store):
    store.put_score(StoredScore(key=key(), score=0.5, flags=[{"code": "empty", "text": "y"}]))
    store.put_score(StoredScore(key=key(fingerprint="newer"), score=0.75))
    store.put_score(StoredScore(key=key("bad"), error="cut off"))
    assert store.scores_brief("v1", "s1") == {
        scan: (s.score, s.error, tuple(flag["code"] for flag in s.flags), s.key.fingerprint)
        for scan, s in store.scores("v1", "s1").items()
    }
    assert store.scores_brief("v1", "s1")["a"].fingerprint == "newer"


def test_scores_in_brief_never_touch_the_whole_rows(store):
    with sqlite3.connect(store.path) as db:
        plan = db.execute(
            "EXPLAIN QUERY PLAN SELECT scan_id, score, error, flag_codes, fingerprint FROM scores WHERE"
            " version_digest = 'v' AND settings_digest = 's' AND schema = 1 ORDER BY updated"
        ).fetchall()
    assert [row[-1].partition(" (")[0] for row in plan] == [
        "SEARCH scores USING COVERING INDEX scores_in_brief"
    ]


def test_a_stamp_changes_with_every_score_of_its_version_only(store):
    stamps = [store.scores_stamp("v1", "s1")]
    for score in (key(), key("b"), key("b")):
        store.put_score(StoredScore(key=score, score=0.5))
        stamps.append(store.scores_stamp("v1", "s1"))
    assert len(set(stamps)) == 4
    store.put_score(StoredScore(key=key(version_digest="v2"), score=0.5))
    assert store.scores_stamp("v1", "s1") == stamps[-1]


def test_a_flag_without_a_code_is_refused(store):
    with pytest.raises(StoreError, match="`code`"):
        store.put_score(StoredScore(key=key(), score=0.1, flags=[{"text": "y"}]))


def test_a_note_outlives_the_process_and_can_be_removed(store):
    store.keep_note("scoring", "Müller")
    assert StateStore(store.path).note("scoring") == "Müller"
    store.keep_note("scoring", None)
    assert store.note("scoring") is None


def test_the_key_of_the_site_is_no_note(store):
    store.site_key()
    with pytest.raises(StoreError, match="must not be read"):
        store.note("key")
    with pytest.raises(StoreError, match="must not be read"):
        store.keep_note("key", None)


def test_a_file_that_is_moved_away_is_begun_anew(store):
    store.put_score(StoredScore(key=key(), score=0.25))
    store.path.rename(store.path.with_name("old.sqlite"))
    assert store.get_score(key()) is None
    store.put_score(StoredScore(key=key(), score=0.5))
    assert StateStore(store.path).get_score(key()).score == 0.5


def test_an_error_inside_a_transaction_leaves_nothing_of_it(store):
    with pytest.raises(ZeroDivisionError):
        store.lease(["a"], "ann", strategy=lambda _: 1 // 0)
    assert store.leases() == []
    assert store.lease(["a"], "ben", strategy="entropy") == "a"
