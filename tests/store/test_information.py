"""Information of images and labels: several writers, and another program that changes the snapshot."""

import pytest

from segtrust.store import InfoKey, StateStore

IMAGE, LABEL = InfoKey("image", "a"), InfoKey("label", "a", "final")


@pytest.fixture
def store(tmp_path):
    return StateStore(tmp_path / "state.sqlite")


@pytest.fixture
def written(store):
    """A store whose label was written into the snapshot as ``{"by": "ann", "note": 1}``."""
    store.update_info(LABEL, {"by": "ann", "note": 1}, {})
    store.mark_written(store.all_info())
    return store


def test_an_information_comes_back_as_it_was_put(store):
    assert store.get_info(LABEL) is None
    store.update_info(LABEL, {"by": "ann"}, {})
    store.update_info(IMAGE, {"ts": 1}, {})
    assert store.all_info() == {LABEL: {"by": "ann"}, IMAGE: {"ts": 1}}


def test_two_writers_keep_each_others_entries(store):
    other = StateStore(store.path)
    store.update_info(IMAGE, {"mine": 1}, {"ts": 5})
    other.update_info(IMAGE, {"theirs": 2}, {"ts": 6})
    store.update_info(IMAGE, {"mine": 3}, {"ts": 7})
    assert store.get_info(IMAGE) == {"ts": 5, "mine": 3, "theirs": 2}


def test_a_snapshot_that_nobody_changed_changes_nothing(written):
    written.update_info(LABEL, {"by": "ben"}, {})
    assert written.merge({LABEL: {"by": "ann", "note": 1}}, when=0) == 0
    assert written.get_info(LABEL) == {"by": "ben", "note": 1}


def test_what_another_program_changed_is_taken_over_entry_by_entry(written):
    written.update_info(LABEL, {"mine": True}, {})
    assert written.merge({LABEL: {"by": "plain", "more": [1]}}, when=0) == 1
    assert written.get_info(LABEL) == {"by": "plain", "more": [1], "mine": True}


@pytest.mark.parametrize(("when", "kept"), [(0, "ben"), (4e9, "plain")], ids=["ours", "theirs"])
def test_of_two_changes_of_one_entry_the_later_stays(written, when, kept):
    written.update_info(LABEL, {"by": "ben"}, {})
    written.merge({LABEL: {"by": "plain", "note": 1}}, when=when)
    assert written.get_info(LABEL)["by"] == kept


def test_a_change_is_taken_over_once(written):
    written.merge({LABEL: {"by": "plain", "note": 1}}, when=0)
    written.update_info(LABEL, {"by": "ben"}, {})
    written.merge({LABEL: {"by": "plain", "note": 1}}, when=4e9)
    assert written.get_info(LABEL)["by"] == "ben"


def test_information_that_only_the_snapshot_has_is_taken_over(store):
    told = {LABEL: {"ts": 1, "by": "plain"}, IMAGE: {"ts": 1, "name": "a.nii.gz"}}
    assert store.merge(told, when=0) == 1
    assert store.all_info() == {
        LABEL: {"ts": 1, "by": "plain"}
    }  # the rest says nothing that the file does not
