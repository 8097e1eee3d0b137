"""Doors to the queue: which strategies there are, what they read of a request, what Slicer shows."""

import pytest

from segtrust.errors import ModelNotFoundError, SettingError
from segtrust.label.queue.strategies import chosen_model, queue_strategies, telling_name
from segtrust.selection import STRATEGIES

NAMES = [
    "entropy",
    "uniform",
    "foreground_random",
    "power",
    "clasp",
    "diverse",
    "cold_start",
    "doubt",
    "check",
    "random",
]


class Recorder:
    """A queue that notes what it is asked."""

    def __init__(self):
        self.asked = []

    def next_scan(self, strategy, model, datastore, *, seed, client_id):
        self.asked.append((strategy, model.name, seed, client_id))


@pytest.fixture
def queue():
    return Recorder()


def test_there_is_a_door_to_every_strategy_and_to_the_check_queue(two_models, queue):
    doors = queue_strategies(two_models, queue, "entropy")
    assert list(doors) == NAMES
    assert set(STRATEGIES) == set(NAMES) - {"check", "random"}
    assert all(len(door.info()["description"].split()) > 4 for door in doors.values())
    assert doors["power"].info()["config"] == {"model": ["tiny", "other"], "seed": ""}


def test_a_door_hands_model_seed_and_client_to_the_queue(two_models, queue):
    doors = queue_strategies(two_models, queue, "entropy")
    doors["power"]({"strategy": "power", "model": "other", "seed": "4", "client_id": "ann"}, None)
    doors["check"]({"model": ["tiny", "other"], "seed": ""}, None)
    assert queue.asked == [("power", "other", 4, "ann"), ("check", "tiny", 0, "")]


def test_a_seed_that_is_no_number_is_refused(two_models, queue):
    with pytest.raises(SettingError, match="`seed` must be a whole number"):
        queue_strategies(two_models, queue, "entropy")["uniform"]({"seed": "x"}, None)


def test_the_key_of_ohif_serves_the_strategy_of_the_setting_and_says_so(two_models, queue):
    door = queue_strategies(two_models, queue, "clasp")["random"]
    door({}, None)
    assert queue.asked == [("clasp", "tiny", 0, "")]
    assert "`clasp`" in door.info()["description"]
    with pytest.raises(SettingError, match=r"must be one of entropy, uniform.* got 'random'"):
        queue_strategies(two_models, queue, "random")


def test_the_first_model_is_asked_unless_another_is_named(two_models):
    assert chosen_model("", two_models).name == "tiny"
    assert chosen_model("other", two_models).name == "other"
    with pytest.raises(ModelNotFoundError, match="Served: tiny, other"):
        chosen_model("third", two_models)


def test_without_a_rank_the_name_stays():
    assert telling_name({"id": "a", "name": "a.nrrd", "rank": None, "score": None}) == "a.nrrd"
