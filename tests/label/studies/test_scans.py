"""Identity of scans: each has an id of its own, and keeps what belongs to it."""

import gzip
import json
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numbered_labels import number_in, write_number
from segtrust.label.failures import ConflictError, PathError, status_and_code
from segtrust.label.studies.changes import Submission
from segtrust.label.studies.ids import check_id, split_name
from segtrust.store import ScoreKey, StoredScore
from writers import killed_while_replacing, open_folder

SUFFIXES = (".nii.gz", ".nii", ".nrrd")
ANN = Submission(by="ann", reviewed=(1, 2), slices=16)
UID = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789012345"


def scan(folder, number, name="scan.nii.gz"):
    """A file that holds a number, so that one sees which scan it is."""
    folder.mkdir(exist_ok=True)
    return str(write_number(folder / name, number))


def number_of(datastore, scan_id):
    return number_in(datastore.get_image_uri(scan_id))


# --- ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["patient.1", "patient.2", UID, "a.b.c", "x.nii.y", "scan.seg", "Ünal, Ä (2)"]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_id_keeps_all_its_dots(name, suffix):
    assert split_name(f"{name}{suffix}", SUFFIXES) == (name, suffix)


@pytest.mark.parametrize("name", ["a.nii", "x.nii.gz", "b.nrrd"])
def test_an_id_that_would_change_with_the_ending_of_its_file_is_told_apart(name):
    suffixes = (*SUFFIXES, ".gz")
    assert split_name(f"{name}.nii.gz", SUFFIXES) == (name, ".nii.gz")
    with pytest.raises(PathError, match="must not change with the ending"):
        check_id("a.nii", ".gz", suffixes)


plain = st.text(st.characters(codec="utf-8"), max_size=90)
awkward = st.text(st.sampled_from("ab.niigz_- 1é漢/\\:\x00\u202e"), max_size=300)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.tuples(st.one_of(plain, awkward), st.sampled_from(SUFFIXES)), max_size=3))
def test_every_name_is_an_id_of_its_own_or_is_refused(tmp_path_factory, names):
    """Through upload, list, label, history, restoring and a new start; and no two scans share an id."""
    place = tmp_path_factory.mktemp("names")
    (place / "studies").mkdir()
    datastore = open_folder(str(place / "studies"), str(place / "state.sqlite"), extensions=ALL)
    taken = {}
    for number, (name, suffix) in enumerate(names):
        file = scan(place / "sent", number, f"upload{suffix}")
        try:
            scan_id = datastore.add_image(name, file, {}) if name else "not asked"
        except PathError:
            continue
        except ConflictError:
            assert name in taken
            continue
        if not name:
            continue
        assert scan_id == name
        taken[name] = number
    labelled = open_folder(str(place / "studies"), str(place / "state.sqlite"), extensions=ALL)
    assert set(labelled.list_images()) == set(taken)
    for scan_id, number in taken.items():
        assert number_of(labelled, scan_id) == number
        for label in (1, 2):
            labelled.submit_label(scan_id, scan(place / "sent", label, "l.nii.gz"), "final", {}, ANN)
        (former,) = labelled.history.entries(scan_id)
        labelled.restore_label(scan_id, former.entry)
        assert number_in(labelled.get_label_uri(scan_id, "final")) == 1
    for scan_id in taken:
        labelled.remove_image(scan_id)
    assert labelled.list_images() == []
    datastore.close()
    labelled.close()


ALL = [f"*{suffix}" for suffix in SUFFIXES]


@pytest.mark.parametrize("character", ["x", "é", "漢"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_longest_name_works_from_end_to_end_and_a_longer_one_is_refused(tmp_path, character, suffix):
    datastore = open_folder(str(tmp_path / "studies"), str(tmp_path / "state.sqlite"), extensions=ALL)
    size = len(character.encode())
    name = character * (248 // size)
    file = scan(tmp_path / "sent", 1, f"upload{suffix}")
    assert datastore.add_image(name, file, {}) == name
    for label in (1, 2):
        datastore.submit_label(name, scan(tmp_path / "sent", label, "l.nii.gz"), "final", {}, ANN)
    datastore.add_image(name, scan(tmp_path / "sent", 2, f"upload{suffix}"), {}, replace=True)
    assert number_of(datastore, name) == 2
    assert sorted(former.tag for former in datastore.history.entries(name)) == ["", "final", "final"]
    with pytest.raises(PathError, match="must have at most 248 bytes") as refused:
        datastore.add_image(name + "xxxxxxx", file, {})
    assert status_and_code(refused.value) == (400, "path")


# --- uploads -----------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path, store):
    """A scan `a` that holds the number 1, with a label, a lease, a review and a score."""
    datastore = open_folder(str(tmp_path / "studies"), str(store.path), extensions=ALL)
    datastore.add_image("a", scan(tmp_path / "sent", 1), {})
    datastore.submit_label("a", scan(tmp_path / "sent", 10, "l.nii.gz"), "final", {"number": 10}, ANN)
    store.put_score(StoredScore(key=KEY, score=0.5))
    return datastore


KEY = ScoreKey(scan_id="a", fingerprint="f", version_digest="v", settings_digest="s")


def test_another_scan_is_never_overwritten_unasked(site, tmp_path):
    for name in ("scan.nii.gz", "scan.nii", "scan.nrrd"):
        with pytest.raises(ConflictError, match="'a' is another scan already") as refused:
            site.add_image("a", scan(tmp_path / "sent", 2, name), {})
        assert status_and_code(refused.value) == (409, "conflict")
    assert number_of(site, "a") == 1
    assert site.get_labeled_images() == ["a"]
    assert not list((tmp_path / "studies").glob(".segtrust-0*"))


def test_the_same_scan_sent_again_is_no_other_scan(site, tmp_path):
    before = Path(site.get_image_uri("a")).stat().st_mtime_ns
    again = tmp_path / "again.nii.gz"
    shutil.copyfile(site.get_image_uri("a"), again)
    assert site.add_image("a", str(again), {}) == "a"
    assert Path(site.get_image_uri("a")).stat().st_mtime_ns == before
    assert site.get_labeled_images() == ["a"]
    assert site.history.entries("a") == []


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.nrrd.nii"])
def test_a_replaced_scan_leaves_one_file_and_nothing_of_the_old_one(site, tmp_path, store, name):
    site.add_image("a", scan(tmp_path / "sent", 2, name), {}, replace=True, by="eve")
    (file,) = [f for f in (tmp_path / "studies").iterdir() if f.name.startswith("a")]
    assert number_in(file) == number_of(site, "a") == 2
    assert site.get_labeled_images() == []
    assert site.get_label_info("a", "final") == {}
    assert store.leases() == []
    assert store.review("a") is None
    assert store.scores_brief("v", "s") == {}
    old = {former.to_json()["kind"]: former for former in site.history.entries("a")}
    assert {(x.reason, x.by) for x in old.values()} == {("scan replaced", "eve")}
    assert number_in(site.history.find("a", old["scan"].entry)[1]) == 1
    assert number_in(site.history.find("a", old["label"].entry)[1]) == 10


def test_a_label_of_the_scan_before_is_not_put_on_another_scan(site, tmp_path):
    site.add_image("a", scan(tmp_path / "sent", 2), {}, replace=True)
    label = next(former for former in site.history.entries("a") if former.tag)
    with pytest.raises(ConflictError, match="belongs to another scan that had it"):
        site.restore_label("a", label.entry)


def test_the_scan_before_comes_back_with_all_that_it_had(site, tmp_path, store):
    stamp = Path(site.get_image_uri("a")).stat().st_mtime_ns
    site.add_image("a", scan(tmp_path / "sent", 2, "scan.nii"), {}, replace=True)
    site.submit_label(
        "a", scan(tmp_path / "sent", 20, "l.nii"), "final", {"number": 20}, Submission(by="bob")
    )
    old = next(former for former in site.history.entries("a") if not former.tag)
    site.restore_label("a", old.entry, by="eve")
    assert number_of(site, "a") == 1
    assert Path(site.get_image_uri("a")).stat().st_mtime_ns == stamp, "scores know the file by its time"
    assert number_in(site.get_label_uri("a", "final")) == site.get_label_info("a", "final")["number"] == 10
    assert [lease.client_id for lease in store.leases()] == ["ann"]
    assert store.review("a").reviewed == (1, 2)
    assert store.scores_brief("v", "s")["a"].score == 0.5
    newer = [former for former in site.history.entries("a") if former.reason == "scan replaced"]
    assert {former.info.get("number") for former in newer if former.tag} == {10, 20}
    site.restore_label("a", next(f for f in newer if not f.tag).entry)
    assert number_of(site, "a") == 2
    assert number_in(site.get_label_uri("a", "final")) == 20


def test_replaced_scans_are_bounded(site, tmp_path):
    for number in range(2, 7):
        site.add_image("a", scan(tmp_path / "sent", number), {}, replace=True)
    scans = [former for former in site.history.entries("a") if not former.tag]
    assert [number_in(site.history.find("a", former.entry)[1]) for former in scans] == [5, 4]


def test_a_deleted_scan_is_gone_and_labels_of_people_are_kept(site, tmp_path, store):
    site.remove_image("a", by="eve")
    assert not [f for f in (tmp_path / "studies").iterdir() if f.name.startswith("a")]
    assert [(f.tag, f.by) for f in site.history.entries("a")] == [("final", "eve")]
    assert store.scores_brief("v", "s") == {}
    assert site.list_images() == []


# --- kills -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX: processes are forked")
def test_a_kill_between_any_two_steps_of_a_replacement_leaves_one_scan_with_its_own_label(tmp_path):
    """Case 14: the scan before came back after a kill, with the label of the new one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["writers", "segtrust.label.studies.datastore"])
    first = open_folder(str(tmp_path / "studies"), str(tmp_path / "state" / "state.sqlite"), extensions=ALL)
    first.add_image("a", scan(tmp_path / "sent", 1), {})
    first.submit_label("a", scan(tmp_path / "sent", 10, "l.nii.gz"), "final", {"number": 10}, ANN)
    first._store.put_score(StoredScore(key=KEY, score=0.5))
    first.close()
    new, outcomes, step = scan(tmp_path / "sent", 2, "scan.nii"), set(), 0
    while True:
        step += 1
        copy, done = tmp_path / f"step{step}", tmp_path / f"done{step}"
        shutil.copytree(tmp_path / "studies", copy / "studies")
        shutil.copytree(tmp_path / "state", copy / "state")
        where = (str(copy / "studies"), str(copy / "state" / "state.sqlite"))
        process = context.Process(target=killed_while_replacing, args=(*where, new, step, str(done)))
        process.start()
        process.join(120)
        again = open_folder(*where, extensions=ALL)
        (file,) = [f for f in (copy / "studies").iterdir() if f.name.startswith("a")]
        now = number_of(again, "a")
        assert number_in(file) == now, f"step {step}"
        labels = [f.name for f in (copy / "studies" / "labels" / "final").iterdir()]
        scores = again._store.scores_brief("v", "s")
        past = sorted(former.tag for former in again.history.entries("a"))
        if now == 1:
            assert (labels, list(scores), past) == (["a.nii.gz"], ["a"], []), f"step {step}"
            assert again.get_label_info("a", "final")["number"] == 10
        else:
            assert (labels, list(scores), past) == ([], [], ["", "final"]), f"step {step}"
            assert again.get_label_info("a", "final") == {}
        outcomes.add(now)
        again.close()
        if done.exists():
            break
        assert process.exitcode == -signal.SIGKILL, f"step {step}"
    assert outcomes == {1, 2}


# --- what is not read --------------------------------------------------------------------------------------


def test_what_is_not_read_is_counted_with_reasons(tmp_path):
    studies = tmp_path / "studies"
    final = studies / "labels" / "final"
    final.mkdir(parents=True)
    real = Path(scan(tmp_path / "sent", 1))
    for name in (
        "a.nii.gz",
        "B.NII.GZ",
        "c.nii.gz.txt",
        ".d.nii.gz",
        "._e.nii.gz",
        "f.mha",
        "g.hdr",
        "g.img",
    ):
        shutil.copyfile(real, studies / name)
    (studies / "a.nii").write_bytes(gzip.decompress(real.read_bytes()))
    (studies / "site 2").mkdir()
    shutil.copyfile(real, studies / "site 2" / "h.nii.gz")
    shutil.copyfile(real, studies / f"{'x' * 249}.nii")
    for name in ("nobody.nii.gz", "a.mha", "._a.nii.gz", "a.NII"):
        shutil.copyfile(real, final / name)
    (final / "a.nii.gz").write_bytes(b"no volume")
    datastore = open_folder(str(studies), str(studies / ".segtrust" / "state.sqlite"), extensions=ALL)
    assert datastore.list_images() == ["a"]
    datastore.look_at_labels()
    told = datastore.unread().to_json()
    assert {entry["reason"]: entry["files"] for entry in told["reasons"]} == {
        "a file has an ending in capitals; it must be in small letters": 1,
        "a file ends in .txt, which is not read": 1,
        "a file is hidden": 1,
        "a file is a copy of attributes that macOS makes": 1,
        "a file ends in .mha, which is not read": 1,
        "a file ends in .hdr, which is not read": 1,
        "a file ends in .img, which is not read": 1,
        "a file is a second file of one id; the other one is read": 1,
        "a file lies in a folder of its own; only the studies folder itself is read": 1,
        "a file has a name too long to give names to its labels": 1,
        "a file in labels/final belongs to no scan that is here": 1,
        "a file in labels/final ends in .mha, which is not read": 1,
        "a file in labels/final is a copy of attributes that macOS makes": 1,
        "a file in labels/final has an ending in capitals; it must be in small letters": 1,
        "a file in labels/final cannot be used; GET /datastore/ says why": 1,
    }
    assert told["files"] == 15
    assert "site 2/h.nii.gz" in json.dumps(told)


def test_a_folder_that_a_server_wrote_has_nothing_unread(site, tmp_path):
    site.write_snapshot()
    site.submit_label("a", scan(tmp_path / "sent", 3, "l.nii"), "other", {}, ANN)
    assert site.unread().to_json() == {"files": 0, "reasons": []}


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_text_is_counted_and_hurts_nothing(tmp_path):
    (tmp_path / "studies").mkdir()
    file = os.fsencode(tmp_path / "studies") + b"/x\xff.nii.gz"
    shutil.copyfile(scan(tmp_path / "sent", 1), file)
    datastore = open_folder(str(tmp_path / "studies"), str(tmp_path / "state.sqlite"), extensions=ALL)
    assert datastore.list_images() == []
    told = json.dumps(datastore.unread().to_json())
    assert "no text in UTF-8" in told
