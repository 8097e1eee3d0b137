"""Trainings one after the other; the process that trains is a stand-in that ends when it is told to."""

import threading

import pytest
from monailabel.utils.async_tasks import utils

from segtrust.errors import ModelNotFoundError
from segtrust.label.failures import BusyError, LabelError
from segtrust.label.training import trainer, trainings
from segtrust.label.training.trainer import RoundTask
from segtrust.label.training.trainings import Trainings


class Processes:
    """What ran, and a process that runs until ``finish``."""

    def __init__(self, known):
        self.known, self.ran, self._end = known, [], threading.Semaphore(0)

    def __call__(self, request, method, *, debug):
        assert (method, debug) == ("train", True)
        task = {"status": "RUNNING", "request": request}
        self.ran.append(request)
        self.known.append(task)
        assert self._end.acquire(timeout=20)
        task["status"] = "DONE"

    def finish(self):
        self._end.release()


@pytest.fixture
def background(monkeypatch):
    known = []
    monkeypatch.setitem(utils.background_tasks, "train", known)
    found = Processes(known)
    monkeypatch.setattr(trainings, "run_background_task", found)
    return found


@pytest.fixture
def labelled(monkeypatch):
    """Labels of each model; a test adds some."""
    found = {"tiny": {}, "other": {}}
    monkeypatch.setattr(trainer, "labels_of", lambda model, _datastore: found[model])
    return found


@pytest.fixture
def site(two_models, store, tmp_path, datastore):
    rounds = {name: RoundTask(model, store, tmp_path) for name, model in two_models.items()}
    return Trainings(rounds, two_models, datastore)


def test_ohif_s_button_trains_one_after_the_other_only_what_has_new_labels(site, background, labelled):
    labelled["tiny"] = labelled["other"] = {"a": "1"}
    answer = site.start_all({"other": {"epochs": 3}})
    assert answer["tiny"]["result"]["request"] == {"model": "tiny"}
    assert answer["other"] == {"result": None, "detail": "waits for its turn"}
    background.finish()
    background.finish()
    site.wait()
    assert background.ran == [{"model": "tiny"}, {"model": "other", "epochs": 3}]


def test_the_end_of_all_trainings_is_told(two_models, store, tmp_path, datastore, background, labelled):
    told = threading.Event()
    rounds = {name: RoundTask(model, store, tmp_path) for name, model in two_models.items()}
    site = Trainings(rounds, two_models, datastore, on_end=told.set)
    labelled["tiny"] = labelled["other"] = {"a": "1"}
    site.start_all({})
    background.finish()
    assert not told.is_set()
    background.finish()
    assert told.wait(60)


def test_a_model_without_a_new_label_is_left_alone(site, background, labelled):
    labelled["other"] = {"a": "1"}
    answer = site.start_all({})
    assert answer["tiny"] == {"result": None, "detail": "no new label"}
    background.finish()
    site.wait()
    assert [request["model"] for request in background.ran] == ["other"]


def test_no_new_label_anywhere_is_an_error_that_names_the_models(site, background, labelled):
    with pytest.raises(LabelError, match="got none: tiny, other"):
        site.start_all({})
    assert background.ran == []


def test_options_of_a_model_that_is_not_there_are_refused(site, background, labelled):
    labelled["tiny"] = {"a": "1"}
    with pytest.raises(ModelNotFoundError, match=r"no trainer 'liver'\. Known: tiny, other"):
        site.start_all({"liver": {"epochs": 1}})


def test_a_second_start_waits_for_nobody(site, background, labelled):
    labelled["tiny"] = labelled["other"] = {"a": "1"}
    site.start("tiny", {})
    for second in (lambda: site.start("other", {}), lambda: site.start_all({})):
        with pytest.raises(BusyError, match="a training runs already"):
            second()
    background.finish()
    site.wait()
    site.start("other", {})
    background.finish()
    site.wait()


def test_a_process_that_cannot_be_started_blocks_nothing(site, background, labelled, monkeypatch):
    labelled["tiny"] = {"a": "1"}

    def broken(request, _method, *, debug):
        background.known.append({"status": "SUBMITTED", "request": request})
        raise OSError("no more processes")

    monkeypatch.setattr(trainings, "run_background_task", broken)
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    site.start("tiny", {})
    site.wait()
    assert site.status()["status"] == "ERROR"
    assert site.status(running=True) is None


def test_a_process_that_says_nothing_has_failed_and_one_of_an_earlier_server_was_stopped(
    site, background, labelled
):
    labelled["tiny"] = {"a": "1"}
    site.start("tiny", {})
    assert site.status()["segtrust"]["state"] == "running"
    background.finish()
    site.wait()
    record = site.status()["segtrust"]
    assert record["state"] == "failed"
    assert "its process was gone without a word" in record["error"]["detail"]
    site._rounds["tiny"].record.begin()
    site.close_old()
    site.close_old()
    assert site.status()["segtrust"]["state"] == "stopped"


@pytest.mark.parametrize("unload", [True, False], ids=["unload", "keep"])
def test_a_gpu_that_serves_is_free_while_it_trains(
    site, two_models, background, labelled, monkeypatch, unload
):
    labelled["tiny"] = {"a": "1"}
    monkeypatch.setattr(trainer, "check_device", lambda name: name)
    for model in two_models.values():
        object.__setattr__(model.settings, "unload_while_training", unload)
    site.start("tiny", {"device": "cuda:0"})
    assert [("cuda:0" in model._lent) for model in two_models.values()] == [unload, unload]
    background.finish()
    site.wait()
    assert [model._lent for model in two_models.values()] == [set(), set()]
