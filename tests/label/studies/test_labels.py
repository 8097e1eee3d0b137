"""Labels that people made: none is replaced, deleted or mixed up without a trace."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
from monailabel.interfaces.exception import LabelNotFoundException

from numbered_labels import number_in, write_number
from segtrust import cli
from segtrust.label.failures import PathError
from segtrust.label.studies.changes import Submission
from segtrust.label.temporary import sweep_parts
from writers import killed_at_step, open_folder, save_numbers_for_ever


def save(datastore, tmp_path, number, by="ann", tag="final", suffix=".nii.gz"):
    """Submit a label that holds a number, and note the same number in its information."""
    file = write_number(tmp_path / f"label{number}{suffix}", number)
    return datastore.submit_label("a", str(file), tag, {"number": number}, Submission(by=by))


def number_now(datastore, tag="final"):
    """What the file of scan `a` holds and what its information says; both must be one label's."""
    number = number_in(datastore.get_label_uri("a", tag))
    assert datastore.get_label_info("a", tag)["number"] == number
    return number


def numbers_of_the_past(datastore):
    numbers = []
    for former in datastore.history.entries("a"):
        _, file = datastore.history.find("a", former.entry)
        assert number_in(file) == former.info["number"]
        numbers.append(former.info["number"])
    return numbers


def test_a_replaced_label_is_kept_with_who_and_when(datastore, tmp_path):
    save(datastore, tmp_path, 1, "ann")
    save(datastore, tmp_path, 2, "bob")
    (former,) = datastore.history.entries("a")
    assert (former.author, former.by, former.reason, former.tag) == ("ann", "bob", "replaced", "final")
    assert number_now(datastore) == 2
    assert numbers_of_the_past(datastore) == [1]
    assert former.saved <= former.ended


def test_a_deleted_label_is_kept_and_the_scan_is_free_again(datastore, tmp_path, store):
    save(datastore, tmp_path, 1)
    datastore.remove_label("a", "final", by="eve")
    (former,) = datastore.history.entries("a")
    assert (former.author, former.by, former.reason) == ("ann", "eve", "removed")
    assert datastore.get_labeled_images() == []
    assert store.leases() == []


def test_labels_of_a_deleted_scan_are_kept(datastore, tmp_path):
    save(datastore, tmp_path, 1)
    datastore.remove_image("a", by="eve")
    assert numbers_of_the_past(datastore) == [1]


def test_a_label_of_the_past_comes_back_and_that_of_now_goes_there(datastore, tmp_path, store):
    save(datastore, tmp_path, 1, "ann")
    save(datastore, tmp_path, 2, "bob")
    datastore.restore_label("a", datastore.history.entries("a")[0].entry, by="eve")
    assert number_now(datastore) == 1
    assert numbers_of_the_past(datastore) == [2, 1]
    assert datastore.get_label_info("a", "final")["restored_by"] == "eve"
    assert {lease.client_id for lease in store.leases()} == {"ann"}


def test_a_deleted_label_comes_back(datastore, tmp_path):
    save(datastore, tmp_path, 1)
    datastore.remove_label("a", "final")
    datastore.restore_label("a", datastore.history.entries("a")[0].entry)
    assert datastore.get_labeled_images() == ["a"]
    assert number_now(datastore) == 1


def test_a_result_of_a_model_fills_no_history_but_never_drops_a_label_of_a_person(datastore, tmp_path):
    file = str(write_number(tmp_path / "result.nii.gz", 5))
    for _ in range(3):
        datastore.save_result("a", file, "original", {"number": 5})
    assert datastore.history.entries("a") == []
    save(datastore, tmp_path, 1, tag="original")
    datastore.save_result("a", file, "original", {"number": 5})
    assert numbers_of_the_past(datastore) == [1]


def test_a_label_of_another_file_type_leaves_one_file(datastore, tmp_path):
    save(datastore, tmp_path, 1)
    save(datastore, tmp_path, 2, suffix=".nii")
    folder = Path(datastore.get_label_uri("a", "final")).parent
    assert [file.name for file in folder.iterdir()] == ["a.nii"]
    assert number_now(datastore) == 2
    assert numbers_of_the_past(datastore) == [1]


def test_the_history_has_a_bound_for_each_tag(datastore, tmp_path):
    datastore.history._keep = 3
    for number in range(6):
        save(datastore, tmp_path, number)
        save(datastore, tmp_path, number, tag="second")
    by_tag = [(former.tag, former.info["number"]) for former in datastore.history.entries("a")]
    assert sorted(by_tag) == [(tag, n) for tag in ("final", "second") for n in (2, 3, 4)]
    files = list((datastore.history.folder / "a").iterdir())
    assert len(files) == 12, "each has a volume and a description, and nothing else is left"


@pytest.mark.parametrize("entry", ["../../state", "x", "", "1" * 19 + "-" + "0" * 8])
def test_an_entry_that_is_not_there_is_not_found(datastore, entry):
    with pytest.raises(LabelNotFoundException):
        datastore.restore_label("a", entry)


@pytest.mark.parametrize("scan", ["../labels", "..", "", "a/b", "a\0"])
def test_the_history_of_no_plain_name_is_refused(datastore, scan):
    with pytest.raises(PathError):
        datastore.history.entries(scan)


def test_eight_readers_at_once_never_mix_a_file_with_the_information_of_another(datastore, tmp_path, store):
    """60 bursts; on the code before, about 6 of 60 ended with one reader's file and another's information."""
    files = [str(write_number(tmp_path / f"{n}.nii.gz", n)) for n in range(8)]
    for burst in range(60 if os.environ.get("SEGTRUST_BURSTS") else 15):
        start = threading.Barrier(8)

        def submit(number, start=start):
            start.wait()
            who = Submission(by=f"r{number}", reviewed=(number,), slices=16)
            datastore.submit_label("a", files[number], "final", {"number": number}, who)

        readers = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        number = number_now(datastore)
        assert store.review("a").reviewed == (number,), "and which slices were looked at is of the same label"
        assert [lease.client_id for lease in store.leases()] == [f"r{number}"]
        assert len(datastore.history.entries("a")) == min(8 * burst + 7, 20)
    assert store.open_changes() == []


# --- by command --------------------------------------------------------------------------------------------


def test_the_command_lists_and_restores(datastore, tmp_path, store, capsys):
    save(datastore, tmp_path, 1, "ann")
    save(datastore, tmp_path, 2, "bob")
    studies = str(Path(datastore.get_image_uri("a")).parent)
    where = [studies, "--state-dir", str(store.path.parent)]
    assert cli.main(["labels", "history", *where]) == 0
    text = capsys.readouterr().out
    assert "final  by ann; replaced" in text
    assert "by bob" in text
    assert cli.main(["labels", "restore", *where, "a", "--by", "eve"]) == 0
    assert number_now(datastore) == 1
    assert cli.main(["labels", "prune", *where, "--keep", "1"]) == 0
    assert "deleted 1" in capsys.readouterr().out
    assert cli.main(["labels", "restore", *where, "nobody"]) == 1


# --- kills -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warm():
    """Starts processes that have monai already."""
    if sys.platform == "win32":
        pytest.skip("needs POSIX: processes are forked from one that has monai already")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["writers", "segtrust.label.studies.datastore"])
    return context


@pytest.fixture
def site(tmp_path, tiny_scan):
    """A folder with one scan `a` and a label with the number 1, and its state file."""
    studies = tmp_path / "site"
    studies.mkdir()
    shutil.copyfile(tiny_scan, studies / "a.nii.gz")
    state = tmp_path / "site-state" / "state.sqlite"
    datastore = open_folder(str(studies), str(state))
    save(datastore, tmp_path, 1)
    datastore.close()
    return studies, state


@pytest.mark.slow
@pytest.mark.parametrize("act", ["replace", "remove", "restore"])
def test_a_kill_between_any_two_steps_leaves_the_old_label_or_the_new_one(site, tmp_path, warm, act):
    studies, state = site
    write_number(tmp_path / "two.nii.gz", 2)
    outcomes, step = set(), 0
    while True:
        step += 1
        copy = tmp_path / f"{act}{step}"
        shutil.copytree(studies, copy / "studies")
        shutil.copytree(state.parent, copy / "state")
        done = copy / "done"
        arguments = (str(copy / "studies"), str(copy / "state" / "state.sqlite"), act, step, str(done))
        process = warm.Process(target=killed_at_step, args=(*arguments, str(tmp_path / "two.nii.gz")))
        process.start()
        process.join(120)
        again = open_folder(*arguments[:2])
        labelled = bool(again.get_labeled_images())
        now = number_now(again) if labelled else None
        past = numbers_of_the_past(again)
        expected = {
            "replace": ({1: [], 2: [1]}),
            "remove": {1: [], None: [1]},
            "restore": {2: [1], 1: [2, 1]},
        }
        assert now in expected[act], f"step {step}: {now}"
        assert past == expected[act][now], f"step {step}"
        sweep_parts([copy / "studies" / "labels" / "final"], {"0" * 12})  # as a server does at its start
        files = {f.name for f in (copy / "studies" / "labels" / "final").iterdir()}
        assert files == ({"a.nii.gz"} if labelled else set()), f"step {step}"
        assert again._store.open_changes() == []
        outcomes.add(now)
        again.close()
        if done.exists():
            break
        assert process.exitcode == -signal.SIGKILL, f"step {step}"
    assert len(outcomes) == 2
    assert step > 8


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_kills_lose_no_label_that_was_acknowledged(site, tmp_path, warm):
    studies, state = site
    acknowledged = tmp_path / "acknowledged"
    acknowledged.write_text("1\n")
    for kill in range(20):
        before = len(acknowledged.read_text().splitlines())
        arguments = (str(studies), str(state), str(tmp_path), str(acknowledged))
        process = warm.Process(target=save_numbers_for_ever, args=arguments)
        process.start()
        while len(acknowledged.read_text().splitlines()) < before + 3 + kill % 4:
            assert process.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    again = open_folder(str(studies), str(state), keep=100_000)
    there = {*numbers_of_the_past(again), number_now(again)}
    numbers = {int(line) for line in acknowledged.read_text().split()}
    assert len(numbers) > 60
    assert numbers <= there, f"lost: {sorted(numbers - there)}"
