"""The folder of scans and labels."""

import gzip
import json
import os
import shutil
import stat
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monailabel.interfaces.exception import ImageNotFoundException
from watchdog.events import FileDeletedEvent, FileModifiedEvent, FileMovedEvent

from numbered_labels import write_number
from segtrust.label.failures import LabelError, PathError
from segtrust.label.studies.changes import Submission
from segtrust.store import StateStore

SENT = Submission(by="reader")
BAND = "chance of error above 1 in 3"


@pytest.fixture
def watching(datastore, store):
    """The same folder, opened a second time and watched."""
    folder = Path(datastore.get_image_uri("a")).parent
    options = {
        "structures": {},
        "store": StateStore(store.path),
        "on_served": print,
        "extensions": ["*.nii.gz"],
    }
    opened = type(datastore)(str(folder), auto_reload=True, **options)
    yield opened
    opened.close()


def test_a_folder_that_vanished_does_not_end_the_watching(watching, caplog):
    folder = Path(watching.get_image_uri("a")).parent
    folder.rename(folder.with_name("elsewhere"))
    for name in ("datastore_v2.json", "a.nii.gz"):
        watching.notice(FileDeletedEvent(str(folder / name)))
    assert "cannot be read" in caplog.text


def label_file(tmp_path, values):
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.resize(np.array(values, np.uint8), (20, 18, 16)), np.eye(4)), path)
    return str(path)


def values_of(datastore, scan, tag="final"):
    return np.unique(np.asanyarray(nib.load(datastore.get_label_uri(scan, tag)).dataobj)).tolist()


def named(*names):
    return {"label_info": [{"name": name, "idx": index} for index, name in enumerate(names, start=1)]}


def test_a_final_label_is_cleaned_and_says_what_was_done(datastore, tmp_path):
    datastore.save_label("a", label_file(tmp_path, [0, 1, 2]), "final", named(BAND, "front"))
    assert values_of(datastore, "a") == [0, 1]
    info = datastore.get_label_info("a", "final")
    assert info["segtrust"] == {"model": "tiny", "values": {"1": 0, "2": 1}, "removed": [BAND]}
    assert info["label_info"] == [{"name": "front", "idx": 1}, {"name": "back", "idx": 2}]
    assert datastore.get_labeled_images() == ["a"]


def test_a_label_that_is_refused_leaves_nothing_behind(datastore, tmp_path):
    with pytest.raises(LabelError):
        datastore.save_label("a", label_file(tmp_path, [0, 9]), "final", {})
    assert datastore.get_labeled_images() == []
    assert not Path(datastore.get_label_uri("a", "final")).is_file()


def test_what_the_combined_view_leaves_of_a_structure_is_not_kept(datastore, tmp_path):
    names = named("front sure part - do not measure", BAND)
    with pytest.raises(LabelError, match="without their uncertain voxels"):
        datastore.save_label("a", label_file(tmp_path, [0, 1, 2]), "final", names)
    assert datastore.get_labeled_images() == []


def test_another_tag_without_names_is_kept_as_it_is(datastore, tmp_path):
    datastore.save_label("a", label_file(tmp_path, [0, 9]), "uncertainty", {})
    assert values_of(datastore, "a", "uncertainty") == [0, 9]
    assert datastore.get_labeled_images() == []


def test_a_label_of_an_unknown_scan_is_refused(datastore, tmp_path):
    with pytest.raises(ImageNotFoundException):
        datastore.save_label("nobody", label_file(tmp_path, [0, 1]), "final", {})


def test_a_stored_label_can_be_read_by_whoever_reads_the_index(datastore, tmp_path):
    file = label_file(tmp_path, [0, 1])
    Path(file).chmod(0o600)
    datastore.save_label("a", file, "final", {})
    index = Path(datastore.get_image_uri("a")).parent / "datastore_v2.json"
    stored = Path(datastore.get_label_uri("a", "final"))
    assert stat.S_IMODE(stored.stat().st_mode) == stat.S_IMODE(index.stat().st_mode)


@pytest.mark.parametrize("tag", ["../x", "a/b", "", ".x", "x" * 80, "x.", "Final", "FINAL", "a b"])
def test_a_tag_that_is_no_plain_name_or_another_spelling_of_final_is_refused(datastore, tmp_path, tag):
    with pytest.raises(PathError, match=r"tag must be|tag of submitted labels must be"):
        datastore.save_label("a", label_file(tmp_path, [0]), tag, {})


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".x", "x.", "a\nb", "x\x7f"])
def test_an_id_that_is_no_plain_name_is_refused(datastore, tiny_scan, name):
    with pytest.raises(PathError, match="plain file name"):
        datastore.add_image(name, str(tiny_scan), {})


@pytest.mark.parametrize("name", ["x", "Müller 01", "scan-3_(new)", "1.2.840.10008"])
def test_ordinary_names_are_ids(datastore, tiny_scan, name):
    assert datastore.add_image(name, str(tiny_scan), {}) == name
    assert Path(datastore.get_image_uri(name)).is_file()


def test_only_scans_can_be_added(datastore, tmp_path):
    (tmp_path / "x.py").write_text("")
    with pytest.raises(PathError, match="a scan must be one of"):
        datastore.add_image("x", str(tmp_path / "x.py"), {})


def test_a_removed_scan_is_gone_at_once_also_where_the_folder_is_watched(watching):
    watching.remove_image("b")
    assert sorted(watching.list_images()) == ["a", "c"]


def test_whom_a_scan_was_served_goes_to_the_state_file(datastore, handed_out):
    datastore.update_image_info("a", {"strategy": {"random": {"ts": 1, "client_id": "me"}}, "note": "x"})
    assert handed_out == [("a", "me", "random")]
    info = datastore.get_image_info("a")
    assert "strategy" not in info
    assert info["note"] == "x"


def eventually(told):
    """Wait until ``told()`` is true; the folder's watcher comes when it comes."""
    deadline = time.monotonic() + 60
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_another_process_saved_is_known_at_once(datastore, watching, tmp_path):
    datastore.save_label("a", label_file(tmp_path, [0, 1]), "other", {"by": "somebody else"})
    assert watching.get_label_info("a", "other")["by"] == "somebody else"
    assert values_of(watching, "a", "other") == [0, 1]


def test_files_that_come_and_go_by_hand_are_noticed(datastore, watching, tmp_path):
    folder = Path(datastore.get_image_uri("a")).parent
    shutil.copyfile(label_file(tmp_path, [0, 1]), folder / "labels" / "final" / "a.nii.gz")
    eventually(lambda: watching.get_labeled_images() == ["a"])
    (folder / "labels" / "final" / "a.nii.gz").rename(folder / "labels" / "final" / "b.nii.gz")
    eventually(lambda: watching.get_labeled_images() == ["b"])
    shutil.copyfile(folder / "a.nii.gz", folder / "d.nii.gz")
    (folder / "a.nii.gz").unlink()
    eventually(lambda: sorted(watching.list_images()) == ["b", "c", "d"])


@pytest.mark.parametrize("name", ["drawing.json", "run.py", "label.NII.GZ.exe", "label"])
@pytest.mark.parametrize("tag", ["final", "notes"])
def test_only_volumes_are_kept_as_labels_whatever_their_tag(datastore, tmp_path, name, tag):
    (tmp_path / name).write_text("{}")
    with pytest.raises(PathError, match=r"a label must be one of .nii.gz, .nii, .nrrd, got"):
        datastore.save_label("a", str(tmp_path / name), tag, {})
    assert datastore.get_labels_by_image_id("a") == {}
    assert not list(Path(datastore.get_image_uri("a")).parent.glob("labels/*/*"))


def test_a_result_of_a_model_is_never_a_final_label(datastore, tmp_path):
    with pytest.raises(LabelError, match="must not be 'final' for a model's result"):
        datastore.save_result("a", label_file(tmp_path, [0, 1]), "final", {"model": "tiny"})
    assert datastore.get_labeled_images() == []
    datastore.save_result("a", label_file(tmp_path, [0, 1]), "original", {"model": "tiny"})
    assert datastore.get_label_info("a", "original")["result"] is True


def test_a_client_cannot_say_that_a_model_made_its_label(datastore, tmp_path):
    datastore.save_label("a", label_file(tmp_path, [0, 1]), "other", {"result": True})
    assert "result" not in datastore.get_label_info("a", "other")


def test_counts_follow_every_change(datastore, tmp_path):
    file = label_file(tmp_path, [0, 1])
    for tag in ("final", "other"):
        datastore.save_label("a", file, tag, {})
    assert datastore.status() == {"total": 3, "completed": 1, "label_tags": {"final": 1, "other": 1}}
    assert sorted(datastore.get_unlabeled_images()) == ["b", "c"]
    datastore.remove_label("a", "final")
    datastore.remove_image("b")
    assert datastore.status() == {"total": 2, "completed": 0, "label_tags": {"other": 1}}
    assert sorted(datastore.get_unlabeled_images()) == ["a", "c"]


def test_an_extension_inside_a_name_belongs_to_the_name(datastore):
    folder = Path(datastore.get_image_uri("a")).parent
    (folder / "scan.niixyz.nii").touch()
    datastore.refresh()
    assert datastore.get_image_uri("scan.niixyz") == str(folder / "scan.niixyz.nii")


def test_the_index_is_never_half_written(datastore):
    index = Path(datastore.get_image_uri("a")).parent / "datastore_v2.json"
    stop, broken = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                json.loads(index.read_text())
            except ValueError as error:
                broken.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(40):
        datastore.update_image_info("a", {"note": "x" * 100_000, "number": number})
        datastore.write_snapshot()
    stop.set()
    reader.join()
    assert not broken
    assert not list(index.parent.glob(".datastore_v2.json.*"))


def test_a_label_saved_while_the_folder_is_read_again_is_kept(datastore, tmp_path, monkeypatch):
    file = label_file(tmp_path, [0, 1])
    datastore.save_label("a", file, "original", {})
    saver = threading.Thread(target=datastore.save_label, args=("a", file, "other", {"by": "me"}))
    scandir = os.scandir

    def scandir_and_somebody_saves(path):
        listed = scandir(path)
        if "final" in str(path) and saver.ident is None:  # listed already, without what is saved now
            saver.start()
            saver.join(0.5)
        return listed

    monkeypatch.setattr(os, "scandir", scandir_and_somebody_saves)
    datastore.refresh()
    saver.join()
    assert datastore.get_labels_by_image_id("a") == {"original": "a", "other": "a"}


def test_a_folder_opens_again_with_what_was_stored(datastore, tmp_path):
    datastore.save_label("a", label_file(tmp_path, [0, 2]), "final", named("front", "back"))
    folder = Path(datastore.get_image_uri("a")).parent
    copy = tmp_path / "copy"
    datastore.write_snapshot()
    shutil.copytree(folder, copy)
    elsewhere = StateStore(tmp_path / "elsewhere.sqlite")
    options = {"structures": {}, "store": elsewhere, "on_served": print, "extensions": ["*.nii.gz"]}
    again = type(datastore)(str(copy), read_only=True, **options)
    assert again.get_labeled_images() == ["a"]
    assert again.get_label_info("a", "final")["segtrust"]["model"] == "tiny"


@pytest.mark.parametrize(
    "name",
    ["{outside}/secret", "../secret", "labels/../../secret", "labels/final/../../../secret", "..\\secret"],
)
def test_no_name_that_a_client_makes_up_lists_a_file_of_another_folder(datastore, tmp_path, tiny_scan, name):
    folder = Path(datastore._datastore.image_path()).resolve()
    shutil.copyfile(tiny_scan, folder.parent / "secret.nii.gz")
    name, listed = name.format(outside=folder.parent), datastore.list_images()
    label = write_number(tmp_path / "made-up.nii.gz", 1)
    for _ in range(2):  # what was looked for once may be listed the next time
        with pytest.raises((ImageNotFoundException, PathError)):
            datastore.submit_label(name, str(label), "final", {}, Submission())
        with pytest.raises(ImageNotFoundException):
            datastore.update_image_info(name, {"note": "x"})
        assert not datastore.get_image_uri(name)
        assert not datastore.get_image_info(name)
    assert datastore.list_images() == listed


def test_scans_of_a_disk_that_was_away_are_there_again_at_once(datastore, tmp_path):
    (scan, *_), folder = datastore.list_images(), Path(datastore._datastore.image_path())
    label = write_number(tmp_path / "made-up.nii.gz", 1)
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    datastore._look_at(scan)
    assert scan not in datastore.list_images()
    folder.rmdir()
    away.rename(folder)
    datastore.update_image_info(scan, {"note": "x"})
    datastore._datastore.objects.pop(scan)
    assert datastore.get_image_uri(scan)
    datastore._datastore.objects.pop(scan)
    datastore.submit_label(scan, str(label), "final", {}, Submission())


def put_by_hand(datastore, scan, values, affine):
    folder = Path(datastore.get_image_uri(scan)).parent / "labels" / "final"
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), folder / f"{scan}.nii.gz")
    datastore.refresh()


ELSEWHERE = np.diag([1.0, 1.0, 1.0, 1.0])
ELSEWHERE[:3, 3] = 100


def test_a_label_put_by_hand_that_lies_elsewhere_leaves_its_scan_unlabelled(datastore):
    put_by_hand(datastore, "a", np.ones((20, 18, 16), np.uint8), ELSEWHERE)
    datastore.look_at_labels()
    assert "a" not in datastore.final_labels()
    assert "a" in datastore.get_unlabeled_images()
    assert "a" not in datastore.get_labeled_images()
    assert "must lie on the grid of its scan 'a'" in datastore.status()["unusable_labels"]["a"]
    sent = label_file(Path(datastore.get_image_uri("a")).parents[1], [0, 1])
    datastore.submit_label("a", sent, "final", {}, SENT)
    assert "a" in datastore.final_labels()
    assert "unusable_labels" not in datastore.status()


def test_a_label_put_by_hand_while_the_server_runs_is_looked_at(datastore):
    # first half copied, then whole but elsewhere, then right: each time the list says what is there now
    folder = Path(datastore.get_image_uri("a")).parent / "labels" / "final"
    place = folder / "a.nii.gz"
    put_by_hand(datastore, "a", np.ones((20, 18, 16), np.uint8), np.eye(4))
    whole = place.read_bytes()
    for content, reason in [
        (whole[: len(whole) // 2], "Was it cut off?"),
        (gzip.compress(nib.Nifti1Image(np.ones((20, 18, 16), np.uint8), ELSEWHERE).to_bytes()), "must lie"),
        (whole, ""),
    ]:
        place.write_bytes(content)
        datastore.notice_change(FileModifiedEvent(str(place)))
        assert reason in datastore.status().get("unusable_labels", {}).get("a", "")
        assert ("a" in datastore.get_unlabeled_images()) == bool(reason)
    place.write_bytes(whole[:40])
    datastore.notice(FileMovedEvent(str(folder / "part"), str(place)))
    assert "a" in datastore.get_unlabeled_images()
    place.unlink()
    datastore.notice(FileDeletedEvent(str(place)))
    assert "unusable_labels" not in datastore.status()


def test_a_label_put_by_hand_in_another_order_is_used(datastore):
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 19
    put_by_hand(datastore, "a", np.ones((20, 18, 16), np.uint8), flipped)
    datastore.look_at_labels()
    assert "a" in datastore.final_labels()


@pytest.mark.parametrize("kind", ["elsewhere", "size", "halves", "cut off"])
def test_a_label_that_does_not_fit_its_scan_leaves_nothing_behind(datastore, tmp_path, kind):
    path = tmp_path / "sent.nii.gz"
    values = np.ones((20, 18, 16), np.float32 if kind == "halves" else np.uint8)
    if kind == "halves":
        values[0] = 0.5
    shape = values[1:] if kind == "size" else values
    nib.save(nib.Nifti1Image(shape, ELSEWHERE if kind == "elsewhere" else np.eye(4)), path)
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LabelError):
        datastore.submit_label("a", str(path), "final", {}, SENT)
    assert datastore.get_labeled_images() == []
    assert not list(Path(datastore.get_image_uri("a")).parent.glob("labels/final/*"))
