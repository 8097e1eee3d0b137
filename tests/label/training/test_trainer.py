"""The trainer of a model inside one process; the round itself is a stand-in that tells what it was given."""

import json
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock

from segtrust.errors import DeviceError, SettingError, TrainingError
from segtrust.label.failures import BusyError, LabelError
from segtrust.label.settings import AppSettings
from segtrust.label.training import trainer
from segtrust.label.training.trainer import RoundTask, round_settings
from segtrust.release.plan import Progress, RoundSettings
from segtrust.release.round import RoundResult

NOTHING_LEFT_OUT = {"left_out": {}}


@pytest.fixture
def label(datastore, tmp_path):
    """``label(scan)`` gives a scan of the datastore a final label; ``size`` voxels of each structure."""

    def give(scan, size=3):
        values = np.zeros((20, 18, 16), np.uint8)
        values[:size], values[10 : 10 + size] = 1, 2
        path = tmp_path / "label.nii.gz"
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
        segments = [{"name": "front", "idx": 1}, {"name": "back", "idx": 2}]
        datastore.save_label(scan, str(path), "final", {"label_info": segments})

    return give


@pytest.fixture
def task(served, store, tmp_path):
    return RoundTask(served, store, tmp_path)


@pytest.fixture
def rounds(monkeypatch):
    """Every round that was run: its scans and settings; ``rounds.end`` is how the next ones end."""

    class Rounds(list):
        end = RoundResult("0002", "published", "Not worse than 0001.", NOTHING_LEFT_OUT)

    found = Rounds()

    def run_round(_parent, _models_dir, labelled, settings, *, cache, key, report):
        assert len(key) == 32
        found.append((labelled, settings, cache))
        report(Progress("training", 1, 2, 1, 4, 0.5, 10.0, 70.0))
        if isinstance(found.end, Exception):
            raise found.end
        return found.end

    monkeypatch.setattr(trainer, "run_round", run_round)
    monkeypatch.setattr(trainer, "open_version", lambda model, version: SimpleNamespace(digest="d" * 64))
    return found


def test_a_round_gets_the_labelled_scans_and_its_end_is_recorded(task, datastore, label, rounds):
    label("a")
    label("c")
    answer = task({"epochs": 4}, datastore)
    record = task.record.read()
    ((scans, settings, _),) = rounds
    assert [scan.id for scan in scans] == ["a", "c"]
    assert all(scan.image.is_file() and scan.label.is_file() for scan in scans)
    assert settings.epochs == 4
    assert (
        (record["state"], record["version"]) == (answer["state"], answer["version"]) == ("published", "0002")
    )
    assert (record["labels"], record["new_labels"]) == (2, 2)


def test_a_round_and_its_publication_are_in_the_audit_trail_under_the_name_of_who_started_it(
    task, store, datastore, label, rounds
):
    label("a")
    task({"client_id": "ada"}, datastore)
    rounds.end = replace(rounds.end, status="kept")
    task({}, datastore)
    records = [r for r in store.records() if r["kind"] in {"training ended", "publication"}]
    assert [(r["kind"], r["by"], r["facts"]["status"]) for r in records] == [
        ("training ended", "ada", "published"),
        ("publication", "ada", "published"),
        ("training ended", "", "kept"),
    ]
    assert records[1]["facts"]["digest"] == "d" * 64


def test_how_patients_are_told_apart_is_said_at_start(task, datastore, label, rounds, caplog):
    label("a")
    with caplog.at_level("INFO", logger="segtrust"):
        task({}, datastore)
    record = task.record.read()
    assert record["patients"] == (
        "patients told apart by nothing: 3 scans of 3 patients: one scan counts as one patient. "
        "If patients have several, say so with `subjects`."
    )
    assert record["patients"] in caplog.text
    assert caplog.text.count("member 1/2 epoch 1/4 loss 0.5000, 70 s left") == 1


def test_only_labels_that_the_last_round_did_not_know_are_new(task, datastore, label, rounds):
    label("a")
    task({}, datastore)
    assert task.new_labels(task.labels(datastore)) == 0
    label("a", size=4)
    label("b")
    assert task.new_labels(task.labels(datastore)) == 2


def test_labels_of_a_round_that_failed_stay_new(task, datastore, label, rounds):
    label("a")
    rounds.end = TrainingError("no scan can be used.")
    with pytest.raises(TrainingError):
        task({}, datastore)
    record = task.record.read()
    assert (record["state"], record["error"]) == (
        "failed",
        {"detail": "no scan can be used.", "code": "training"},
    )
    assert task.new_labels(task.labels(datastore)) == 1


def test_without_a_label_nothing_starts(task, datastore, rounds):
    with pytest.raises(LabelError, match="at least one scan with a final label, got none"):
        task({}, datastore)
    assert rounds == []


def test_two_trainings_of_a_site_exclude_each_other(task, datastore, label, rounds, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_LOCK_SECONDS", 0)
    label("a")
    assert task.is_running() is False
    with FileLock(tmp_path / "training" / "running.lock"):
        assert task.is_running() is True
        with pytest.raises(BusyError, match="only one training"):
            task({}, datastore)
    assert rounds == []
    task({}, datastore)
    assert task.is_running() is False


def test_progress_bars_of_viewers_follow_the_time_and_stop_at_the_end(task, datastore, label, rounds):
    label("a")
    rounds.end = TrainingError("stopped half way.")
    assert task.stats() == {}
    with pytest.raises(TrainingError):
        task({}, datastore)
    task.record.update(state="running")
    assert task.stats() == {"epoch": 1, "total_epochs": 8}  # 10 s of 80 s are an eighth of 8 epochs
    task.record.update(state="published", seconds=90.0)
    assert task.stats() == {"epoch": 1, "total_epochs": 8, "total_time": 90.0}


def test_progress_bars_bear_a_round_that_was_killed(task):
    task.record.begin()
    assert task.stats() == {}
    task.record.update(progress={"members": 2, "epochs": 4, "done": 0.5, "seconds": 40.0})
    task.record.close("stopped")
    assert task.stats() == {"epoch": 4, "total_epochs": 8, "total_time": 40.0}


def test_the_record_survives_as_json_that_a_browser_can_read(task, datastore, label, rounds):
    label("a")
    task({"max_epochs": 7}, datastore)
    document = json.loads(task.record.path.read_text("utf-8"))
    assert document["ignored"] == ["max_epochs"]
    assert document["settings"]["loss"] == "dice_ce"


def test_the_first_choice_of_every_list_is_the_setting(served, store, tmp_path):
    served.settings = AppSettings(device="cpu", train_loss="focal", small_gate="ask", train_epochs=7)
    config = RoundTask(served, store, tmp_path).config()
    assert (config["loss"][0], config["small_gate"], config["epochs"]) == ("focal", ["ask", "publish"], 7)
    assert len(config["loss"]) == len(set(config["loss"]))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number from 1 to 10000, got 0"),
        ({"epochs": "many"}, "`epochs` must be a whole number, got 'many'"),
        ({"start": "hot"}, "`start` must be one of warm, scratch, got 'hot'"),
        ({"workers": 100}, "`workers` must be a whole number from 1 to 64, got 100"),
        ({"loss": "hope"}, "hope"),
    ],
    ids=["too few", "no number", "word", "too many", "loss"],
)
def test_an_option_out_of_its_range_is_refused_with_the_range(request_, words):
    with pytest.raises(SettingError, match=words):
        round_settings(request_, AppSettings(device="cpu"))


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(DeviceError, match="`device` must be one of auto, cpu"):
        round_settings({"device": "cuda:77"}, AppSettings(device="cpu"))


def test_what_slicer_sends_untouched_and_what_ohif_leaves_out_are_the_settings(task):
    chosen, ignored = round_settings({**task.config(), "client_id": "user-xyz"}, task.model.settings)
    assert chosen == round_settings({}, task.model.settings)[0]
    assert ignored == ()


def test_the_settings_of_the_app_are_the_defaults_of_a_round():
    assert round_settings({}, AppSettings(device="cpu"))[0] == RoundSettings()
