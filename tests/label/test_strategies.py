"""Which scan next."""

import shutil
from pathlib import Path

import pytest

from conftest import publish_random_version
from segtrust.errors import ModelNotFoundError, SettingError
from segtrust.label.strategies import (
    EntropyStrategy,
    OhifStrategy,
    UniformStrategy,
    chosen_model,
    telling_name,
)


@pytest.fixture
def entropy(served, store):
    return EntropyStrategy({"tiny": served}, store)


def put(store, served, datastore, scores, **extra):
    for scan, score in scores.items():
        store.put_score(served.score_key(scan, Path(datastore.get_image_uri(scan))), score, **extra)


def test_the_highest_score_comes_first_with_rank_and_slices(entropy, served, store, datastore):
    hint = {"axis": 2, "index": 3, "structure": "front", "share": 0.5, "reason": "look"}
    put(store, served, datastore, {"a": 0.1, "b": 0.5, "c": 0.3}, details={"slices": [hint]})
    found = entropy({}, datastore)
    assert (found["id"], found["score"], found["rank"], found["of"]) == ("b", 0.5, 1, 3)
    assert found["strategy"] == "entropy"
    assert found["slices"] == [hint]


def test_scans_without_a_score_come_after_those_with_one(entropy, served, store, datastore):
    put(store, served, datastore, {"c": 0.01})
    assert entropy({}, datastore)["id"] == "c"


def test_an_empty_prediction_comes_after_every_number_and_says_so(entropy, served, store, datastore):
    put(store, served, datastore, {"a": None, "b": 0.01})
    assert entropy({}, datastore)["id"] == "b"
    datastore.remove_image("b")
    found = entropy({}, datastore)
    assert (found["id"], found["score"]) == ("a", None)
    assert "finds no structure" in found["reason"]


def test_without_any_score_the_answer_says_so(entropy, datastore):
    found = entropy({}, datastore)
    assert found["id"] in {"a", "b", "c"}
    assert (found["score"], found["rank"]) == (None, None)
    assert "Not scored yet" in found["reason"]


def test_a_scan_that_failed_comes_last_with_its_reason(entropy, served, store, datastore):
    for scan in "ab":
        store.mark_failed(served.score_key(scan, Path(datastore.get_image_uri(scan))), "cut off")
    assert entropy({}, datastore)["id"] == "c"
    datastore.remove_image("c")
    assert "cut off" in entropy({}, datastore)["reason"]


def test_a_score_of_a_file_that_changed_does_not_count(entropy, served, store, datastore, tmp_path):
    put(store, served, datastore, {"a": 0.9, "b": 0.5})
    file = Path(datastore.get_image_uri("a"))
    shutil.copyfile(file, tmp_path / "new")
    (tmp_path / "new").replace(file)
    assert entropy({}, datastore)["id"] == "b"


def test_scores_of_another_version_do_not_count(entropy, served, store, datastore, tiny_spec):
    put(store, served, datastore, {"a": 0.9})
    publish_random_version(served.folder, tiny_spec, seed=7)
    assert entropy({}, datastore)["score"] is None


def test_where_nothing_is_left_there_is_no_answer(entropy, datastore):
    for scan in "abc":
        datastore.remove_image(scan)
    assert entropy({}, datastore) is None
    assert UniformStrategy()({}, datastore) is None


def test_the_same_seed_draws_the_same_scan(datastore):
    uniform = UniformStrategy()
    assert {uniform({"seed": 4}, datastore)["id"] for _ in range(5)} == {
        uniform({"seed": "4"}, datastore)["id"]
    }


def test_without_a_seed_every_scan_is_drawn_sooner_or_later(datastore):
    assert {UniformStrategy()({"seed": ""}, datastore)["id"] for _ in range(80)} == {"a", "b", "c"}


def test_a_seed_that_is_no_number_is_refused(datastore):
    with pytest.raises(SettingError, match="`seed` must be a whole number"):
        UniformStrategy()({"seed": "x"}, datastore)


def test_the_key_of_ohif_names_who_really_spoke(entropy, datastore):
    ohif = OhifStrategy("entropy", entropy)
    assert ohif({}, datastore)["strategy"] == "entropy"
    assert "`entropy`" in ohif.info()["description"]


def test_the_first_model_is_asked_unless_another_is_named(two_models):
    assert chosen_model({}, two_models).name == "tiny"
    assert chosen_model({"model": ["tiny", "other"]}, two_models).name == "tiny"
    assert chosen_model({"model": "other"}, two_models).name == "other"
    with pytest.raises(ModelNotFoundError, match="Served: tiny, other"):
        chosen_model({"model": "third"}, two_models)


def test_the_name_of_a_served_scan_tells_its_rank_and_keeps_id_and_extension(
    entropy, served, store, datastore
):
    put(store, served, datastore, {"a": 0.1, "b": 0.5})
    found = entropy({}, datastore)
    shown = telling_name({**found, **datastore.get_image_info("b")})
    assert shown == "b (rank 1 of 3, entropy 0.500).nii.gz"


def test_without_a_rank_the_name_stays():
    assert telling_name({"id": "a", "name": "a.nrrd", "rank": None, "score": None}) == "a.nrrd"
