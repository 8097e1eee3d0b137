"""Disks that vanish, are full, or are write-protected: nothing is acknowledged that is not kept."""

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from monailabel.interfaces.exception import ImageNotFoundException

from asgi import ask
from numbered_labels import number_in, write_number
from segtrust.errors import StoreError, StoreFullError
from segtrust.label.answer import AnswerForm
from segtrust.label.failures import HANDLERS, ReadOnlyError, StudiesError, answer_failure, status_and_code
from segtrust.label.studies import changes
from segtrust.label.studies.changes import Submission
from segtrust.store import StateStore, state_dir_for
from writers import open_folder

ANN = Submission(by="ann")


@pytest.fixture
def studies(tmp_path, tiny_scan):
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copyfile(tiny_scan, folder / "a.nii.gz")
    return folder


def opened(studies, state=None):
    return open_folder(str(studies), str((state or studies / ".segtrust") / "state.sqlite"))


@pytest.fixture
def label(tmp_path):
    return str(write_number(tmp_path / "label.nii.gz", 1))


@contextlib.contextmanager
def unmounted(studies):
    """What a path shows when the disk that was mounted there is gone: an empty folder."""
    away = studies.with_name("mounted elsewhere")
    studies.rename(away)
    studies.mkdir()
    yield
    studies.rmdir()  # fails if anything was written
    away.rename(studies)


def writes(datastore, label, tiny_scan):
    """Every call that writes, by name."""
    return {
        "label": lambda: datastore.submit_label("a", label, "final", {}, ANN),
        "other tag": lambda: datastore.submit_label("a", label, "other", {}, ANN),
        "result": lambda: datastore.save_result("a", label, "original", {}),
        "image": lambda: datastore.add_image("new", str(tiny_scan), {}),
        "remove label": lambda: datastore.remove_label("a", "final"),
        "remove image": lambda: datastore.remove_image("a"),
    }


WRITES = ["label", "other tag", "result", "image", "remove label", "remove image"]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("inside", [True, False], ids=["state inside", "state elsewhere"])
def test_with_the_studies_unmounted_nothing_is_written_and_nothing_acknowledged(
    studies, tmp_path, label, tiny_scan, write, inside
):
    datastore = opened(studies, None if inside else tmp_path / "state")
    datastore.submit_label("a", label, "final", {}, ANN)
    with unmounted(studies):
        with pytest.raises((StudiesError, StoreError)) as refused:
            writes(datastore, label, tiny_scan)[write]()
        assert status_and_code(refused.value)[0] == 503
        datastore._snapshot.now()
    writes(datastore, label, tiny_scan)[write]()  # mounted again, without a new start


@pytest.mark.parametrize("write", ["label", "other tag", "result", "image"])
@pytest.mark.parametrize("moment", ["copied", "decided"])
def test_studies_that_go_while_something_is_written_acknowledge_nothing(
    studies, tmp_path, label, tiny_scan, monkeypatch, write, moment
):
    """What is checked before a step may be wrong in the next moment."""
    datastore = opened(studies, tmp_path / "state")
    datastore.submit_label("a", label, "final", {"note": "1"}, ANN)
    away = studies.with_name("mounted elsewhere")

    def go(*_arguments, **_options):
        if not away.exists():
            studies.rename(away)
            studies.mkdir()

    place = changes.shutil if moment == "copied" else datastore._store
    name = "copyfile" if moment == "copied" else "decide"
    step = getattr(place, name)

    def step_and_go(*arguments, **options):
        if moment == "copied":
            go()
        result = step(*arguments, **options)
        go()
        return result

    with monkeypatch.context() as patched:
        patched.setattr(place, name, step_and_go)
        with pytest.raises((StudiesError, OSError)) as refused:
            writes(datastore, label, tiny_scan)[write]()
    assert status_and_code(refused.value)[0] in {404, 503}
    assert not [path for path in studies.rglob("*") if path.is_file()]
    shutil.rmtree(studies)
    away.rename(studies)
    assert datastore.get_label_info("a", "final")["note"] == "1"
    assert datastore._store.open_changes() == []
    writes(datastore, label, tiny_scan)[write]()  # mounted again


def test_studies_that_go_while_the_snapshot_is_written_get_none(studies, tmp_path, label, monkeypatch):
    datastore = opened(studies, tmp_path / "state")
    datastore.submit_label("a", label, "final", {}, ANN)
    away = studies.with_name("mounted elsewhere")

    def go(*_arguments):
        if not away.exists():
            studies.rename(away)
            studies.mkdir()

    monkeypatch.setattr(datastore, "_tell_infos", go)
    with pytest.raises(StudiesError):
        datastore.write_snapshot()
    assert not list(studies.glob("*.json"))
    assert not list(studies.glob(".datastore*"))
    shutil.rmtree(studies)
    away.rename(studies)


def test_another_disk_in_the_place_of_the_studies_is_no_place_for_labels(studies, tmp_path, label):
    datastore = opened(studies, tmp_path / "state")
    with unmounted(studies):
        shutil.copyfile(studies.with_name("mounted elsewhere") / "a.nii.gz", studies / "a.nii.gz")
        (studies / ".segtrust-studies").write_text("another")
        with pytest.raises(StudiesError, match="another one is in its place"):
            datastore.submit_label("a", label, "final", {}, ANN)
        for file in studies.iterdir():
            file.unlink()


def test_a_label_of_a_scan_whose_file_is_gone_is_refused(studies, label):
    datastore = opened(studies)
    (studies / "a.nii.gz").rename(studies / "elsewhere")
    with pytest.raises(ImageNotFoundException):
        datastore.submit_label("a", label, "final", {}, ANN)
    assert not list((studies / "labels" / "final").iterdir())


def test_a_server_does_not_start_on_the_empty_place_of_studies_that_it_knows(studies, tmp_path):
    opened(studies, tmp_path / "state")
    with unmounted(studies), pytest.raises(StudiesError, match="but is empty"):
        opened(studies, tmp_path / "state")
    assert opened(studies, tmp_path / "state").list_images() == ["a"]


def test_a_mark_that_somebody_deletes_stops_nobody(studies, label):
    datastore = opened(studies)
    (studies / ".segtrust-studies").unlink()
    datastore.submit_label("a", label, "final", {}, ANN)
    datastore.submit_label("a", label, "final", {}, ANN)


def test_a_state_file_whose_folder_vanished_is_not_begun_anew(tmp_path):
    store = StateStore(tmp_path / "state" / "state.sqlite")
    store.keep_note("x", "1")
    (tmp_path / "state").rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(StoreError, match="Is it mounted"):
            store.note("x")
    assert not (tmp_path / "state").exists()
    (tmp_path / "away").rename(tmp_path / "state")
    assert store.note("x") == "1"


# --- read-only ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES)
def test_a_read_only_folder_is_served_and_refuses_what_writes(
    studies, tmp_path, label, tiny_scan, monkeypatch, write
):
    opened(studies, tmp_path / "state").submit_label("a", label, "final", {}, ANN)
    before = sorted(studies.rglob("*"))
    monkeypatch.setattr(
        os, "access", lambda path, mode: not (mode & os.W_OK and studies in {path, *path.parents})
    )
    datastore = opened(studies, tmp_path / "state")
    assert datastore.list_images() == datastore.get_labeled_images() == ["a"]
    with pytest.raises(ReadOnlyError, match="read-only on this server") as refused:
        writes(datastore, label, tiny_scan)[write]()
    assert status_and_code(refused.value) == (403, "read_only")
    datastore._snapshot.now()
    assert sorted(studies.rglob("*")) == before


def test_the_setting_read_only_of_monai_label_counts_for_all_that_writes(studies, tmp_path, label, tiny_scan):
    datastore = open_folder(str(studies), str(tmp_path / "state.sqlite"), read_only=True)
    for write in writes(datastore, label, tiny_scan).values():
        with contextlib.suppress(ReadOnlyError):
            write()
    assert [file.name for file in studies.iterdir()] == ["a.nii.gz"]


def test_the_state_of_studies_that_cannot_be_written_lies_with_the_user(studies, monkeypatch):
    assert state_dir_for(str(studies)) == studies / ".segtrust"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    elsewhere = state_dir_for(str(studies))
    assert studies not in elsewhere.parents
    assert elsewhere == state_dir_for(str(studies))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, mounted for the test."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root of a Linux machine can mount a disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_mounted_read_only_is_served(small_disk, tiny_scan, tmp_path, label):
    shutil.copyfile(tiny_scan, small_disk / "a.nii.gz")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    datastore = opened(small_disk, tmp_path / "state")
    assert datastore.list_images() == ["a"]
    with pytest.raises(ReadOnlyError):
        datastore.submit_label("a", label, "final", {}, ANN)
    assert state_dir_for(str(small_disk)) != small_disk / ".segtrust"


def test_a_disk_that_becomes_read_only_under_the_server_refuses_and_goes_on(
    small_disk, tiny_scan, tmp_path, label
):
    shutil.copyfile(tiny_scan, small_disk / "a.nii.gz")
    datastore = opened(small_disk, tmp_path / "state")
    for option in ("ro", "rw"):
        subprocess.run(["mount", "-o", f"remount,{option}", str(small_disk)], check=True)
        with pytest.raises(ReadOnlyError) if option == "ro" else contextlib.nullcontext():
            datastore.submit_label("a", label, "final", {}, ANN)


# --- full --------------------------------------------------------------------------------------------------


def fill(disk):
    """Take all the room of a disk."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("write", ["label", "image", "result"])
@pytest.mark.parametrize("inside", [True, False], ids=["state inside", "state elsewhere"])
def test_a_full_disk_answers_507_and_nothing_is_half_written(small_disk, tiny_scan, tmp_path, write, inside):
    shutil.copyfile(tiny_scan, small_disk / "a.nii.gz")
    first, second = (str(write_number(tmp_path / f"{n}.nii.gz", n)) for n in (1, 2))
    datastore = opened(small_disk, None if inside else tmp_path / "state")
    datastore.submit_label("a", first, "final", {"number": 1}, ANN)
    datastore.write_snapshot()
    datastore._snapshot.close()
    fill(small_disk)
    names = {path for path in small_disk.rglob("*") if "segtrust" not in path.name and path.is_file()}
    with pytest.raises((OSError, StoreFullError)) as refused:
        writes(datastore, second, tiny_scan)[write]()
    assert status_and_code(refused.value) == (507, "disk_full")
    assert {path for path in small_disk.rglob("*") if path.is_file()} >= names
    assert not list(small_disk.rglob(".segtrust-0*"))
    assert not list(small_disk.rglob("new*"))
    (small_disk / "filler").unlink()
    assert number_in(datastore.get_label_uri("a", "final")) == 1
    assert datastore.get_label_info("a", "final")["number"] == 1
    assert datastore.history.entries("a") == []
    assert datastore.list_images() == ["a"]
    writes(datastore, second, tiny_scan)[write]()  # there is room again


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd"])
@pytest.mark.parametrize("compress", [True, False], ids=["compressed", "plain"])
def test_an_answer_that_finds_no_room_is_no_answer(small_disk, monkeypatch, extension, compress):
    """ITK writes part of a NIfTI to a full disk, and says nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    noise = np.random.default_rng(0).random((100, 100, 80)).astype(np.float32)
    form = AnswerForm(extension=extension, dtype="float32", compress=compress)
    with pytest.raises(OSError, match="written in part only") as refused:
        form.write(noise, np.eye(4))
    assert status_and_code(refused.value) == (507, "disk_full")
    assert not list(small_disk.iterdir())
    assert form.write(noise[:20], np.eye(4)).is_file()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError(errno.ENOSPC, "no room", "/data/patient.nii"), 507, "disk_full"),
        (OSError(errno.EDQUOT, "quota", "/data/patient.nii"), 507, "disk_full"),
        (OSError(errno.EROFS, "protected", "/data/patient.nii"), 403, "read_only"),
        (OSError(errno.EIO, "broken", "/data/patient.nii"), 503, "unavailable"),
    ],
    ids=["full", "quota", "write-protected", "broken"],
)
def test_what_a_disk_answers_becomes_an_answer_without_the_name_of_a_file(error, status, code):
    application = FastAPI()
    for kind in HANDLERS:
        application.add_exception_handler(kind, answer_failure)

    @application.get("/x")
    def write():
        raise error

    answer = ask(application, "GET", "/x")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "patient" not in json.dumps(answer.json())


def test_a_state_file_that_finds_no_room_says_so(tmp_path):
    store = StateStore(tmp_path / "state.sqlite")
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreFullError, match=r"is full\. Nothing was changed") as refused:
        store.keep_note("long", "x" * 1_000_000)
    assert isinstance(refused.value.__cause__, sqlite3.Error)
    assert status_and_code(refused.value) == (507, "disk_full")
    store.keep_note("short", "x")
    assert Path(store.path).is_file()
