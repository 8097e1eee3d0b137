"""The queue: who gets which scan, in which turn, and what is said about it."""

import math
import shutil
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from labelled_site import give_roles
from phantoms import publish_random_version
from segtrust.inference import fingerprint
from segtrust.label.queue import ranking
from segtrust.label.queue.queue import CHECK, Queue
from segtrust.label.settings import AppSettings
from segtrust.store import StoredScore

UNLIKE = {"code": "field_of_view", "text": "unlike training: field of view 900 mm"}
HINT = {"axis": 2, "index": 3, "structure": "front", "share": 0.5, "reason": "look"}


class Site:
    """The queue over one model and one folder, and what a test does to them."""

    def __init__(self, served, store, datastore, **settings):
        self.served, self.store, self.datastore = served, store, datastore
        self.settings = replace(AppSettings(held_out_every=4), **settings)
        self.queue = Queue(store, self.settings)

    def add(self, *scans, role="train", subject=None):
        folder = Path(self.datastore._datastore_path)
        for scan in scans:
            shutil.copyfile(folder / "a.nii.gz", folder / f"{scan}.nii.gz")
        give_roles(self.store, {scan: (subject or scan, role) for scan in scans})
        self.datastore.refresh()

    def key(self, scan):
        return self.served.score_key(scan, fingerprint(Path(self.datastore.get_image_uri(scan))))

    def score(self, scores, **extra):
        for scan, score in scores.items():
            self.store.put_score(StoredScore(key=self.key(scan), score=score, **extra))

    def next(self, client="", strategy="entropy", **options):
        return self.queue.next_scan(strategy, self.served, self.datastore, client_id=client, **options)

    def order(self, client="ann", strategy="entropy", most=20, **options):
        """Scans in the order in which one client gets them who labels each."""
        found = []
        while len(found) < most and (sample := self.next(client, strategy, **options)) is not None:
            found.append(sample["id"])
            self.store.submitted(sample["id"], client)
        return found


@pytest.fixture
def site(served, store, datastore):
    """Scans `a`, `b`, `c` of three patients, all to learn from."""
    give_roles(store, {scan: (scan, "train") for scan in "abc"})
    return Site(served, store, datastore)


def test_the_highest_score_comes_first_with_its_rank_and_where_to_look(site):
    site.score({"a": 0.1, "b": 0.5, "c": 0.3}, details={"slices": [HINT]})
    found = site.next()
    assert (found["id"], found["score"], found["rank"], found["of"]) == ("b", 0.5, 1, 3)
    assert (found["strategy"], found["slices"], found["flags"]) == ("entropy", [HINT], [])
    assert "0.500" in found["reason"]


def test_without_any_score_the_answer_says_so(site):
    found = site.next()
    assert found["id"] in {"a", "b", "c"}
    assert (found["score"], found["rank"]) == (None, None)
    assert "Not scored yet" in found["reason"]


def test_an_empty_prediction_comes_after_every_number_and_says_so(site):
    site.score({"a": None, "b": 0.01, "c": 0.02})
    assert site.order(most=2) == ["c", "b"]
    found = site.next("ann")
    assert (found["id"], found["score"]) == ("a", None)
    assert "finds no structure" in found["reason"]


def test_two_annotators_never_hold_the_same_scan_and_a_skipped_one_goes_to_the_other(site):
    site.score({"a": 0.1, "b": 0.5, "c": 0.3})
    assert site.next("ann")["id"] == "b"
    assert site.next("ben")["id"] == "c"
    assert site.next("ann")["id"] == "a"  # she skipped b
    assert site.next("ben")["id"] == "b"  # and he c
    site.store.submitted("a", "ann")
    assert site.next("ann")["id"] == "c"
    site.store.submitted("c", "ann")
    assert site.next("ann") is None  # b is in his hands
    site.store.submitted("b", "ben")
    assert site.next("ben") is None


def test_people_without_a_name_never_get_each_others_scan_until_the_lease_ends(site):
    assert len({site.next()["id"] for _ in range(3)}) == 3
    assert site.next() is None
    soon = Site(site.served, site.store, site.datastore, lease_minutes=1e-6)
    site.add("d")
    assert soon.next()["id"] == "d"
    assert soon.next()["id"] == "d"  # its sixty microseconds are over


def test_the_end_of_a_lease_is_told(site, monkeypatch):
    monkeypatch.setattr("segtrust.store.queue.time.time", lambda: 1e9)
    assert site.next("ann")["lease_ends"] == 1e9 + 24 * 3600
    assert site.next()["lease_ends"] == 1e9 + 3600


def test_every_fourth_turn_goes_to_a_scan_drawn_by_lot_whatever_its_score(site):
    site.add("d", "e", "f")
    site.add("x", "y", "z", role="calibration")
    site.score({scan: n / 10 for n, scan in enumerate("abcdef")})
    site.score({"x": 0.99, "y": 0.0, "z": None})
    patients = site.store.roles()
    x, y, z = sorted("xyz", key=lambda scan: patients[scan][0])
    assert site.order() == ["f", "e", "d", x, "c", "b", "a", y, z]


def test_an_answer_does_not_tell_what_a_scan_drawn_by_lot_is_for(site):
    site.add("x", role="calibration")
    site.score({"x": 0.7}, details={"slices": [HINT]}, flags=[UNLIKE])
    for scan in "abc":
        site.store.submitted(scan)
    found = site.next("ann")
    assert found.pop("lease_ends") > 0
    assert found == {
        "id": "x",
        "score": None,
        "rank": None,
        "of": 3,
        "strategy": "lot",
        "reason": "Drawn by lot for checking the model. Please go through the whole scan.",
        "slices": [],
        "flags": [],
    }
    assert [entry.strategy for entry in site.store.served("x")] == ["held_out"]


def test_a_second_scan_of_a_patient_waits_until_every_patient_had_one(site):
    site.add("a2", subject="a")
    site.score({"a": 0.8, "a2": 0.9, "b": 0.2, "c": 0.1})
    assert site.order() == ["a2", "b", "c", "a"]
    site.add("x1", "x2", role="test", subject="x")
    site.add("y1", "y2", role="test", subject="y")
    drawn = site.order()
    assert {scan[0] for scan in drawn[:2]} == {"x", "y"}
    assert Counter(scan[0] for scan in drawn) == {"x": 2, "y": 2}


def test_a_scan_unlike_training_does_not_lead_but_waits_to_be_checked(site):
    site.score({"a": 0.9}, flags=[UNLIKE])
    site.score({"b": 0.2}, flags=[{"code": "structure_missing", "text": "front was not found"}])
    site.store.put_score(StoredScore(key=site.key("c"), error="cut off"))
    assert site.next("ann")["id"] == "b"
    first, second = site.next("ben", CHECK), site.next("eve", CHECK)
    assert (first["id"], first["strategy"], first["of"]) == ("a", "check", 2)
    assert first["reason"] == "Please check this scan: its field of view is unlike training."
    assert first["flags"] == [UNLIKE]
    assert (second["id"], second["reason"]) == ("c", "Scoring failed: cut off")
    assert site.next("joe", CHECK) is None


def test_a_file_that_does_not_say_how_large_its_voxels_are_waits_to_be_checked(site):
    site.score({"a": 0.9}, flags=[{"code": "spacing_unknown", "text": "no voxel size"}])
    assert site.next("ann")["id"] != "a"
    asked = site.next("ben", CHECK)
    assert (asked["id"], asked["strategy"]) == ("a", "check")
    assert asked["reason"] == "Please check this scan: its file does not say how large its voxels are."


def test_scans_to_be_checked_come_last_so_that_an_unusual_site_is_not_stuck(site):
    site.score({"a": 0.9, "b": 0.8}, flags=[UNLIKE])
    site.score({"c": 0.1})
    assert site.order() == ["c", "a", "b"]
    assert [entry.strategy for entry in site.store.served("a")] == ["check"]


def test_a_scan_drawn_by_lot_is_checked_only_if_it_cannot_be_scored(site):
    site.add("x", "y", role="test")
    site.score({"a": 0.3, "b": 0.2, "c": 0.1})
    site.score({"x": 0.9}, flags=[UNLIKE])
    site.store.put_score(StoredScore(key=site.key("y"), error="cut off"))
    assert site.order() == ["a", "b", "c", "x", "y"]
    assert [entry.strategy for entry in site.store.served("y")] == ["check"]


@pytest.fixture
def made(monkeypatch):
    """Strategies in the order in which rankings were made."""
    calls, order = [], ranking.order
    monkeypatch.setattr(ranking, "order", lambda name, *a, **k: calls.append(name) or order(name, *a, **k))
    return calls


def test_a_ranking_is_made_once_and_a_restart_makes_the_same_one(site, made):
    site.score({"a": 0.1, "b": 0.5, "c": 0.3})
    assert site.next("ann")["id"] == "b"
    again = Site(site.served, site.store, site.datastore)
    assert [again.next(name)["id"] for name in ("ben", "eve")] == ["c", "a"]
    assert made == ["entropy"] * 2


def test_a_new_score_a_new_scan_and_a_new_version_make_a_ranking_anew(site, made, tiny_spec):
    site.score({"a": 0.1, "b": 0.5, "c": 0.3})
    assert site.next("ann")["id"] == "b"
    site.score({"a": 0.9})
    assert site.next("ben")["id"] == "a"
    site.add("d")
    assert site.next("eve")["id"] == "c"
    assert made == ["entropy"] * 3
    publish_random_version(site.served.folder, tiny_spec, seed=7)
    assert site.next("joe")["score"] is None
    assert made == ["entropy"] * 4


def test_a_large_site_is_served_from_the_last_ranking_while_a_thread_makes_the_next(site, made, monkeypatch):
    monkeypatch.setattr(ranking, "_AT_ONCE", -1.0)  # every site is large
    monkeypatch.setattr(ranking, "_SHARE", math.inf)  # and may renew at any time
    site.score({"a": 0.1, "b": 0.5, "c": 0.3})
    assert site.next("ann")["id"] == "b"
    go_on, rank = threading.Event(), ranking.Rankings._rank

    def slow(*args):
        go_on.wait(60)
        return rank(*args)

    monkeypatch.setattr(ranking.Rankings, "_rank", slow)
    site.score({"a": 0.9})
    site.add("d")
    found = site.next("ben")
    assert (found["id"], found["of"]) == ("c", 3), "neither the new score of a, nor scan d"
    go_on.set()
    site.queue._rankings.wait()
    found = site.next("eve")
    assert (found["id"], found["rank"], found["of"]) == ("a", 1, 4)
    assert made == ["entropy"] * 2


def test_a_label_makes_no_ranking_anew(site, made):
    site.score({"a": 0.1, "b": 0.5, "c": 0.3})
    assert site.order() == ["b", "c", "a"]
    assert made == ["entropy"]


def test_strategies_do_not_disturb_each_other_and_a_seed_repeats_itself(site):
    site.add("d", "e", "f")
    orders = []
    for _ in range(2):
        drawn = [site.next(f"{n}", "uniform", seed=3)["id"] for n in range(6)]
        orders.append(drawn)
        for scan in drawn:
            site.store.withdrawn(scan)
    assert orders[0] == orders[1]
    assert orders[0] != [site.next(f"{n}", "uniform", seed=4)["id"] for n in range(6)]


def test_no_file_is_looked_at_but_that_of_the_scan_that_is_served(site, monkeypatch):
    site.score({"a": 0.1, "b": 0.5, "c": 0.3})
    asked, uri = [], site.datastore.get_image_uri
    monkeypatch.setattr(site.datastore, "get_image_uri", lambda scan: asked.append(scan) or uri(scan))
    assert site.next()["id"] == "b"
    assert asked == ["b"]


def test_a_file_that_changed_since_it_was_scored_is_served_without_its_score(site, tmp_path):
    site.score({"a": 0.9, "b": 0.5})
    file = Path(site.datastore.get_image_uri("a"))
    shutil.copyfile(file, tmp_path / "new")
    (tmp_path / "new").replace(file)
    found = site.next()
    assert (found["id"], found["score"], found["slices"]) == ("a", None, [])
    assert found["reason"] == "The file changed since it was scored: run scoring again."


def test_a_scan_that_comes_later_gets_a_role(site):
    folder = Path(site.datastore._datastore_path)
    shutil.copyfile(folder / "a.nii.gz", folder / "late.nii.gz")
    site.datastore.refresh()
    assert "late" not in site.store.roles()
    assert "late" in site.order()
    assert "late" in site.store.roles()


def test_a_strategy_that_reads_details_gets_them(site):
    site.score({"a": 0.9}, details={"foreground": {"1": 0}})
    site.score({"b": 0.1}, details={"foreground": {"1": 7}})
    site.score({"c": 0.5}, details={"foreground": {"1": 0}})
    assert site.next(strategy="foreground_random")["id"] == "b"
