"""Leases: who gets which scan."""

import contextlib
import multiprocessing
import sqlite3
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.store import StateStore
from writers import ask_for_scans

HOUR = 3600


@pytest.fixture
def store(tmp_path):
    return StateStore(tmp_path / "state.sqlite")


@pytest.fixture
def ask(store):
    """``ask(client, now)``: what the client gets of scans `a`, `b`, `c`, in this order."""
    return lambda client, now=0.0: store.lease("abc", client, strategy="entropy", now=now)


def test_nobody_gets_a_scan_that_somebody_has(ask):
    assert [ask("ann"), ask("ben"), ask("eve"), ask("joe")] == ["a", "b", "c", None]


def test_who_asks_again_without_submitting_skips(ask, store):
    assert [ask("ann", 0), ask("ann", 1), ask("ben", 2)] == ["a", "b", "a"]
    assert {(lease.scan_id, lease.client_id): lease.state for lease in store.leases(2)} == {
        ("a", "ann"): "skipped",
        ("b", "ann"): "held",
        ("a", "ben"): "held",
    }


def test_skipped_scans_come_back_when_nothing_else_is_left_the_oldest_first(ask):
    assert [ask("ann", now) for now in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_people_without_a_name_never_get_the_same_scan(ask):
    assert [ask(""), ask(""), ask(""), ask("")] == ["a", "b", "c", None]


def test_a_scan_of_somebody_without_a_name_is_free_after_an_hour(ask, store):
    ask("", 0)
    assert ask("", HOUR - 1) == "b"
    assert ask("", HOUR) == "a"
    assert [(lease.scan_id, lease.state) for lease in store.leases(2 * HOUR - 1)] == [
        ("b", "expired"),
        ("a", "held"),
    ]


def test_a_scan_of_somebody_with_a_name_is_free_after_a_day(ask):
    ask("ann", 0)
    assert ask("ben", 24 * HOUR - 1) == "b"
    assert ask("eve", 24 * HOUR) == "a"


def test_a_submitted_scan_never_comes_again(ask, store):
    ask("ann", 0)
    store.submitted("a", "ann")
    assert [ask("ann", 1), ask("ben", 1000 * HOUR)] == ["b", "b"]
    assert ask("", 1000 * HOUR) == "c"


def test_submitting_closes_what_others_had_of_the_scan(ask, store):
    ask("ann", 0)
    ask("ann", 1)
    store.submitted("a", "ben")
    assert {lease.state for lease in store.leases(2) if lease.scan_id == "a"} == {"submitted"}


def test_a_label_that_replaces_another_leaves_its_scan_in_nobodys_reach(ask, store, monkeypatch):
    assert ask("ann") == "a"
    store.keep_review("a", [0], 2)
    seen = []
    begin = StateStore._transaction

    @contextlib.contextmanager
    def watched(self, *kind):
        with begin(self, *kind) as db:
            yield db
        with sqlite3.connect(store.path) as other:
            seen.append({scan for (scan,) in other.execute("SELECT scan_id FROM leases")})

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "_transaction", watched)
        store.submitted_anew("a", "ben")
    assert seen
    assert all("a" in scans for scans in seen)  # after each transaction somebody has it
    (lease,) = store.leases()
    assert (lease.scan_id, lease.client_id, lease.state) == ("a", "ben", "submitted")
    assert store.review("a") is None
    assert ask("eve") == "b"


def test_a_scan_whose_label_was_removed_is_served_again(ask, store):
    ask("ann")
    store.submitted("a", "ann")
    store.withdrawn("a")
    assert ask("ann", 1) == "a"


def test_what_is_handed_out_is_noted_with_the_strategy_of_the_scan(store):
    strategy = {"a": "held_out", "b": "entropy"}.__getitem__
    assert store.lease(["b", "a"], "ann", strategy=strategy, now=5) == "b"
    assert store.lease(["b", "a"], "ben", strategy=strategy, now=6) == "a"
    (first,), (second,) = store.served("b"), store.served("a")
    assert (first.client_id, first.strategy, first.ts) == ("ann", "entropy", 5.0)
    assert second.strategy == "held_out"


def test_processes_that_ask_at_once_never_get_the_same_scan(store, tmp_path):
    scans = [f"s{number:03d}" for number in range(90)]
    spawn = multiprocessing.get_context("spawn")
    clients = ["ann", "", ""]
    answers = [tmp_path / f"{number}.txt" for number in range(len(clients))]
    # what a named client asks for beyond the first is skipped, and others may get it: so one ask
    askers = [
        spawn.Process(
            target=ask_for_scans,
            args=(str(store.path), client, scans, 1 if client else 40, str(path)),
        )
        for client, path in zip(clients, answers, strict=True)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    got = [path.read_text(encoding="utf-8").split() for path in answers]
    assert [len(scans) for scans in got] == [1, 40, 40]
    assert max(Counter(chain.from_iterable(got)).values()) == 1


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["ann", "ben", ""]), st.sampled_from(["ask", "submit", "wait"])), max_size=30
)


@settings(max_examples=8)
@given(operations=OPERATIONS)
def test_whatever_people_do_no_scan_is_in_two_hands(tmp_path_factory, operations):
    store = StateStore(tmp_path_factory.mktemp("leases") / "state.sqlite")
    now, held, done = 0.0, {}, set()
    for client, operation in operations:
        now += 20 * 60 if operation == "wait" else 1
        held = {s: (c, ends) for s, (c, ends) in held.items() if ends > now}
        mine = [s for s, (c, _) in held.items() if c == client]
        if operation == "submit" and mine:
            store.submitted(mine[0], client)
            done.add(mine[0])
            del held[mine[0]]
        elif operation == "ask":
            if client:
                held = {s: (c, ends) for s, (c, ends) in held.items() if c != client}
            got = store.lease("abcd", client, strategy="entropy", now=now)
            assert (got is None) == (set("abcd") == done | set(held))
            if got:
                assert got not in done | set(held)
                held[got] = (client, now + (24 if client else 1) * HOUR)
