"""Slots, batches, reviews: what the queue remembers."""

import pytest

from segtrust.errors import StoreError
from segtrust.store import StateStore


@pytest.fixture
def store(tmp_path):
    return StateStore(tmp_path / "state.sqlite")


def test_slots_are_counted_for_each_queue_and_outlive_the_process(store):
    assert [store.advance("a"), store.advance("a"), store.advance("b")] == [1, 2, 1]
    assert [StateStore(store.path).advance(name) for name in "abc"] == [3, 2, 1]


PICKS = [{"scan_id": "x", "rank": 1, "score": 0.5}, {"scan_id": "y", "rank": 2, "score": None}]


def test_a_batch_comes_back_as_it_was_put(store):
    store.put_batch("m", "v1", "entropy", 0, PICKS, stamp="s")
    assert store.batch("m", "v1", "entropy", 0, stamp="s") == PICKS


@pytest.mark.parametrize(
    "asked", [("m", "v1", "entropy", 1), ("m", "v1", "power", 0), ("n", "v1", "entropy", 0)]
)
def test_another_batch_is_not_there(store, asked):
    store.put_batch("m", "v1", "entropy", 0, PICKS, stamp="s")
    assert store.batch(*asked, stamp="s") is None


def test_a_batch_of_older_scores_is_not_served(store):
    store.put_batch("m", "v1", "entropy", 0, PICKS, stamp="s")
    assert store.batch("m", "v1", "entropy", 0, stamp="later") is None


def test_a_new_version_drops_the_batches_of_the_old_one_and_of_no_other_model(store):
    store.put_batch("m", "v1", "entropy", 0, PICKS, stamp="s")
    store.put_batch("n", "v1", "entropy", 0, PICKS, stamp="s")
    store.put_batch("m", "v2", "entropy", 0, PICKS[:1], stamp="s")
    assert store.batch("m", "v1", "entropy", 0, stamp="s") is None
    assert store.batch("m", "v2", "entropy", 0, stamp="s") == PICKS[:1]
    assert store.batch("n", "v1", "entropy", 0, stamp="s") == PICKS


def test_seeds_that_people_try_do_not_fill_the_disk(store):
    for seed in range(40):
        store.put_batch("m", "v1", "uniform", seed, PICKS, stamp="s")
    kept = [seed for seed in range(40) if store.batch("m", "v1", "uniform", seed, stamp="s")]
    assert kept == list(range(24, 40))


def test_a_batch_that_json_cannot_say_is_refused(store):
    with pytest.raises(StoreError, match="finite numbers"):
        store.put_batch("m", "v1", "entropy", 0, [{"score": float("nan")}], stamp="s")


def test_a_label_is_reviewed_as_a_whole_or_in_part(store):
    store.keep_review("a", [4, 0, 4], 5)
    assert store.review("a").reviewed == (0, 4)
    assert not store.review("a").is_complete
    store.keep_review("a", "all", 5)
    assert store.review("a").reviewed == (0, 1, 2, 3, 4)
    assert store.review("a").is_complete
    assert store.review("b") is None


@pytest.mark.parametrize(("reviewed", "slices"), [([5], 5), ([-1], 5), ([], 0)])
def test_a_slice_that_is_none_is_refused(store, reviewed, slices):
    with pytest.raises(StoreError, match="counted from 1"):
        store.keep_review("a", reviewed, slices)


def test_a_new_label_is_reviewed_anew(store):
    store.keep_review("a", "all", 5)
    store.withdrawn("a")
    assert store.review("a") is None
