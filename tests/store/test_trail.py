"""The audit trail: whatever is done to it is found, and whatever happens to its writers is not lost."""

import hashlib
import json
import multiprocessing
import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segtrust.errors import StoreError
from segtrust.store import StateStore
from segtrust.store.chain import BEGIN, ChainError, follow

FACTS = {"scan": "ab12", "options": {"map": "entropy"}, "flags": ["field of view"]}


@pytest.fixture
def store(tmp_path):
    return StateStore(tmp_path / "state.sqlite")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A trail of eight records that are all on the disk, not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    store = StateStore(folder / "state.sqlite")
    store.site_key()
    for number in range(7):
        store.append("inference", "anna", FACTS | {"number": number})
    store.append("label", "rob", FACTS, durable=True)
    store.append("label", "rob", FACTS, durable=True)
    return folder


def copied(written, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(written, folder)
    return StateStore(folder / "state.sqlite")


def lines_of(store):
    return store.trail_path.read_bytes().splitlines(keepends=True)


def test_each_record_has_the_hash_of_the_one_before(store):
    store.append("inference", "anna", FACTS)
    store.append("label", "rob", durable=True)
    first, second = map(json.loads, lines_of(store))
    assert (first["number"], first["before"], first["by"], first["facts"]) == (1, "0" * 64, "anna", FACTS)
    assert second["before"] == first["hash"]
    rest = {name: value for name, value in second.items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    assert second["hash"] == hashlib.sha256(text.encode()).hexdigest()
    found = store.verify_trail()
    assert (found.records, found.end.number, found.end.hash) == (2, 2, second["hash"])
    assert stat.S_IMODE(store.trail_path.stat().st_mode) == 0o600


def test_no_trail_is_a_trail_without_records(store):
    assert store.verify_trail().end == BEGIN
    assert list(store.records()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_any_byte_that_is_changed_is_found(written, tmp_path, data):
    store = copied(written, tmp_path / "copy")
    content = bytearray(store.trail_path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    store.trail_path.write_bytes(content)
    with pytest.raises(ChainError):
        store.verify_trail()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_lines_that_are_removed_moved_doubled_or_put_in_are_found(written, tmp_path, data):
    store = copied(written, tmp_path / "copy")
    lines = lines_of(store)
    one, two = sorted(
        data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=2, max_size=2, unique=True))
    )
    act = data.draw(st.sampled_from(["remove", "swap", "double", "foreign", "tail of another"]))
    if act == "remove":
        del lines[one : two + data.draw(st.integers(0, 1))]
    elif act == "swap":
        lines[one], lines[two] = lines[two], lines[one]
    elif act == "double":
        lines.insert(two, lines[one])
    elif act == "foreign":
        lines.insert(one, lines[two].replace(b"anna", b"eve!").replace(b"rob", b"eve"))
    else:
        lines[one:] = lines[two:]
    store.trail_path.write_bytes(b"".join(lines))
    with pytest.raises(ChainError):
        store.verify_trail()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_cut_is_found_or_healed_byte_for_byte_where_the_state_file_still_has_the_line(
    written, tmp_path, data
):
    store = copied(written, tmp_path / "copy")
    content, last = store.trail_path.read_bytes(), len(lines_of(store)[-1])
    place = data.draw(st.integers(0, len(content) - 1))
    os.truncate(store.trail_path, place)
    if place >= len(content) - last:  # durable lines before the last one are on the disk, and not kept twice
        store.verify_trail()
        assert store.trail_path.read_bytes() == content
    else:
        with pytest.raises(ChainError):
            store.verify_trail()


def test_a_trail_that_was_made_anew_is_found_by_the_end_in_the_state_file(written, tmp_path):
    store, other = copied(written, tmp_path / "copy"), StateStore(tmp_path / "other" / "state.sqlite")
    for number in range(9):
        other.append("inference", "eve", FACTS | {"number": number}, durable=True)
    other.verify_trail()
    shutil.copy(other.trail_path, store.trail_path)
    with pytest.raises(ChainError):
        store.verify_trail()


def test_a_trail_that_was_put_back_from_a_back_up_is_found(written, tmp_path):
    store = copied(written, tmp_path / "copy")
    old = store.trail_path.read_bytes()
    for _ in range(3):
        store.append("label", "anna", durable=True)
    store.trail_path.write_bytes(old)
    with pytest.raises(ChainError, match="put back from a back-up"):
        store.verify_trail()


def test_what_is_cut_stays_missing_however_many_records_follow(written, tmp_path):
    store = copied(written, tmp_path / "copy")
    store.trail_path.write_bytes(b"".join(lines_of(store)[:4]))
    store.append("label", "anna")
    store.append("label", "anna", durable=True)
    with pytest.raises(ChainError, match="Records are missing"):
        store.verify_trail()
    kinds = [json.loads(line)["kind"] for line in lines_of(store)]
    assert kinds[4:] == ["trail cut", "label", "label"]


def test_a_kill_between_the_decision_and_the_writing_loses_nothing(written, tmp_path):
    store = copied(written, tmp_path / "copy")
    content = store.trail_path.read_bytes()
    os.truncate(store.trail_path, len(content) - len(lines_of(store)[-1]) // 2)
    store.append("label", "anna")
    assert store.trail_path.read_bytes().startswith(content)
    assert store.verify_trail().records == 10


def test_lines_that_a_power_cut_took_from_the_state_file_alone_are_taken_up_and_said(written, tmp_path):
    store = copied(written, tmp_path / "copy")
    ahead = copied(written, tmp_path / "ahead")
    for _ in range(3):
        ahead.append("inference", "anna")
    whole = ahead.trail_path.read_bytes()
    shutil.copy(ahead.trail_path, store.trail_path)
    with store.trail_path.open("ab") as file:
        file.write(b'{"half a li')
    store.append("label", "rob")
    mended, label = map(json.loads, lines_of(store)[-2:])
    assert (mended["kind"], mended["facts"]) == ("trail mended", {"records": 3, "bytes_put_aside": 11})
    assert label["kind"] == "label"
    assert store.trail_path.read_bytes().startswith(whole)
    assert store.verify_trail().records == 14
    (aside,) = store.trail_path.parent.glob("aside-*.txt")
    assert aside.read_bytes() == b'{"half a li'


def _write_many(path, name):
    store = StateStore(path)
    for number in range(40):
        store.append("inference", name, {"number": number}, durable=number % 10 == 0)


@pytest.mark.slow
def test_several_processes_with_several_threads_write_one_chain(tmp_path):
    path = tmp_path / "state.sqlite"
    StateStore(path)
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_write_many, args=(path, f"child {n}")) for n in range(2)]
    for child in children:
        child.start()
    store = StateStore(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.append("label", "server", {"number": n}), range(80)))
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    assert store.verify_trail().records == 160
    numbers = [r["facts"]["number"] for r in store.records() if r["by"] == "child 1"]
    assert numbers == list(range(40))


def test_dropped_records_leave_a_checkpoint_and_the_rest_checks(store):
    for number in range(5):
        store.append("inference", "anna", {"number": number})
    gone = b"".join(lines_of(store))
    moment = time.time() + 1
    (store.trail_path.parent / "wait").touch()
    # the later ones get a later time
    real = time.time
    try:
        time.time = lambda: real() + 2
        for number in range(5, 8):
            store.append("inference", "anna", {"number": number})
    finally:
        time.time = real
    assert store.prune_trail(moment, "ada") == 5
    checkpoint, *rest = map(json.loads, lines_of(store))
    assert (checkpoint["kind"], checkpoint["number"]) == ("checkpoint", 5)
    assert checkpoint["dropped"] == hashlib.sha256(gone).hexdigest()
    assert [r["facts"].get("number") for r in rest] == [5, 6, 7, None]
    assert rest[-1]["kind"] == "trail pruned"
    assert store.verify_trail().records == 4
    store.append("label", "rob", durable=True)
    assert store.verify_trail().records == 5
    assert store.prune_trail(moment, "ada") == 0


def test_a_checkpoint_of_somebody_without_the_key_or_an_older_one_is_found(written, tmp_path):
    store = copied(written, tmp_path / "copy")
    stranger = StateStore(tmp_path / "stranger" / "state.sqlite")
    for _ in range(9):
        stranger.append("label", "eve", durable=True)
    before = store.trail_path.read_bytes()
    store.prune_trail(time.time() + 1, "ada")
    pruned = lines_of(store)
    stranger.prune_trail(time.time() + 1, "eve")
    for first in (lines_of(stranger)[0], pruned[0].replace(b'"ada"', b'"eve"'), b""):
        store.trail_path.write_bytes(first + b"".join(pruned[1:]))
        with pytest.raises(ChainError):
            store.verify_trail()
    # records that were dropped do not come back
    store.trail_path.write_bytes(before + b"".join(pruned[1:]))
    with pytest.raises(ChainError):
        store.verify_trail()
    store.trail_path.write_bytes(b"".join(pruned))
    store.verify_trail()


def test_a_trail_that_does_not_check_is_not_pruned(written, tmp_path):
    store = copied(written, tmp_path / "copy")
    content = store.trail_path.read_bytes()
    store.trail_path.write_bytes(content.replace(b"anna", b"eve!", 1))
    with pytest.raises(ChainError):
        store.prune_trail(time.time() + 1, "ada")


def test_a_kill_in_the_middle_of_pruning_is_ended_by_the_next_record(written, tmp_path):
    store, pruned = copied(written, tmp_path / "copy"), copied(written, tmp_path / "pruned")
    pruned.prune_trail(json.loads(lines_of(pruned)[5])["time"] + 1, "ada")
    # the file was replaced, the state file not written: without the record of the pruning itself
    store.trail_path.write_bytes(b"".join(lines_of(pruned)[:-1]))
    store.append("label", "rob")
    assert store.verify_trail().end.number == 10


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    by=st.text(max_size=300), value=st.text(max_size=300), number=st.integers() | st.none() | st.booleans()
)
def test_any_text_is_one_line_that_checks(tmp_path, by, value, number):
    store = StateStore(tmp_path / "state.sqlite")
    store.append(value[:20] or "kind", by, {"value": value, "number": number, "list": [value]})
    last = lines_of(store)[-1]
    assert json.loads(last)["by"] == by[:200]
    assert last.isascii()
    store.verify_trail()


def test_what_is_no_fact_is_refused_and_nothing_is_written(store):
    for wrong in ({"x": float("nan")}, {"x": Path()}, {"x": {1, 2}}):
        with pytest.raises(StoreError, match="JSON types"):
            store.append("label", "anna", wrong)
    assert store.verify_trail().records == 0


def test_names_of_scans_and_patients_are_hashes_under_the_site_s_key(tmp_path):
    one, two = StateStore(tmp_path / "1" / "state.sqlite"), StateStore(tmp_path / "2" / "state.sqlite")
    assert one.scan_hash("Miller_John") == one.scan_hash("Miller_John")
    assert len({one.scan_hash("a"), two.scan_hash("a"), one.patient_hash("a"), two.patient_hash("a")}) == 4


def test_a_record_costs_less_than_two_milliseconds_of_the_processor(store):
    store.append("inference", "anna", FACTS)
    begun = time.process_time()
    for _ in range(200):
        store.append("inference", "anna", FACTS)
    assert (time.process_time() - begun) / 200 < 0.002  # the bound that is promised; measured: a tenth


def test_the_chain_can_be_followed_without_the_state_file(written):
    lines = (written / "audit" / "trail.jsonl").read_text().splitlines()
    assert [record["number"] for record, _ in follow(lines, b"")] == list(range(1, 10))
