"""A replay goes through the store, hides the labels, and goes on where it was stopped."""

import json
import sqlite3
from dataclasses import replace

import pytest

from interrupted import InterruptedRunError
from labelled_folder import make_folder
from labelled_site import BALLS, BALLS_AS_STORED
from segtrust.errors import TrainingError
from segtrust.simulate import observe, oracle, replay
from segtrust.simulate.folder import divide_folder, make_realistic, scans_in
from segtrust.simulate.plan import MONAI_LABEL, WHOLE_POOL, SimulationPlan
from segtrust.simulate.replay import Replay, run_simulation
from segtrust.store import StateStore
from segtrust.training import cases
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe

PLAN = SimulationPlan(
    recipe=Recipe(BALLS_AS_STORED, Budget(epochs=1, patches=4, batch=2, augment="light"), (0,)),
    strategies=("entropy", "uniform"),
    seeds=(0,),
    counts=(3, 5),
    warm=Budget(epochs=1, patches=2, batch=2, augment="light"),
)
SUBJECTS = {f"s{i:02d}-{k}": f"p{i:02d}" for i in range(12) for k in (1, 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = make_folder(tmp_path_factory.mktemp("data") / "balls", SUBJECTS)
    clean = divide_folder(data, scans_in(data), share=0.3, key="k")
    return make_realistic(clean, data.parent / "pool", corrupted=0.2, siblings=0.2, seed=0)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def replays(folder, work):
    """Records of entropy, uniform and the whole pool."""
    return run_simulation(PLAN, folder, work)


def opened(record):
    return [pick["scan_id"] for pick in record["opened"]]


def test_every_round_opens_as_many_scans_as_planned_and_none_twice(replays, folder):
    for records in replays[:2]:
        for record, count in zip(records, PLAN.counts, strict=True):
            assert len(set(opened(record))) == len(opened(record)) == count
            assert set(opened(record)) <= set(folder.pool)
        assert opened(records[1])[:3] == opened(records[0])


def test_all_strategies_begin_with_the_same_scans_and_the_same_members(replays):
    first = [records[0] for records in replays]
    assert opened(first[0]) == opened(first[1]) == opened(first[2])
    assert first[0]["members"] == first[1]["members"] == first[2]["members"]
    assert first[0]["judged"] == first[1]["judged"]


def test_another_seed_begins_with_other_scans(folder, work, replays):
    other = replay._initial(Replay(PLAN, folder, work, "entropy", 1), sorted(folder.pool), 3)
    assert [pick["scan_id"] for pick in other] != opened(replays[0][0])


def test_a_batch_holds_one_scan_per_subject(replays, folder):
    subjects = [folder.pool[scan] for scan in opened(replays[0][1])[3:]]
    assert len(set(subjects)) == 2


def test_the_whole_pool_is_labelled_from_the_second_round_on(replays, folder):
    assert set(opened(replays[2][1])) == set(folder.pool)


def test_corrupted_scans_are_paid_for_and_not_learnt_from(replays, folder):
    record = replays[2][1]
    spoilt = {scan for scan, kind in folder.junk.items() if kind == "corrupted"}
    assert set(record["labelled"]) == set(folder.pool) - spoilt
    assert record["cost"]["scans"] == len(folder.pool)
    assert record["junk"] == {"corrupted": len(spoilt), "sibling": len(folder.junk) - len(spoilt)}


def test_scans_were_leased_and_submitted_under_the_strategys_name(replays, work):
    leases = StateStore(work / "sites" / "entropy-0" / "state.sqlite").leases()
    assert {lease.scan_id for lease in leases} == set(opened(replays[0][1]))
    assert {(lease.state, lease.strategy) for lease in leases} == {("submitted", "entropy")}


def test_judged_scans_are_all_of_the_evaluation_and_carry_every_region(replays, folder):
    judged = replays[0][1]["judged"]
    assert {scan["scan"]: scan["subject"] for scan in judged} == dict(folder.evaluation)
    totals = judged[0]["totals"]
    assert totals["band"]["n"] + totals["outside"]["n"] == totals["volume"]["n"] == 10 * 9 * 8


def test_a_finished_simulation_trains_and_asks_nothing_again(replays, folder, work, monkeypatch):
    monkeypatch.setattr(replay, "train_members", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(observe, "Predictor", lambda *_: pytest.fail("predicted again"))
    assert run_simulation(PLAN, folder, work) == replays


@pytest.mark.slow
@pytest.mark.parametrize("asked", [1, 9, 20, 33])
def test_a_stopped_simulation_goes_on_to_the_same_records(replays, folder, tmp_path, monkeypatch, asked):
    put, count = StateStore.put_score, 0

    def stopping(self, *args, **kwargs):
        nonlocal count
        count += 1
        if count == asked:
            raise InterruptedRunError
        put(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StateStore, "put_score", stopping)
        with pytest.raises(InterruptedRunError):
            run_simulation(PLAN, folder, tmp_path)
    assert run_simulation(PLAN, folder, tmp_path) == replays


def test_a_stopped_batch_is_handed_out_to_its_end(replays, folder, work, tmp_path):
    job = Replay(PLAN, folder, tmp_path, "entropy", 0)
    ids = opened(replays[0][0])
    store = StateStore(tmp_path / "sites" / job.name / "state.sqlite")
    store.put_batch(BALLS.name, "untrained", "entropy", 0, replays[0][0]["opened"], stamp="all")
    store.submitted(store.lease(ids, "oracle", strategy="entropy"), "oracle")
    assert [pick["scan_id"] for pick in replay._next_batch(job, 0, [], None)] == ids
    assert {lease.state for lease in store.leases()} == {"submitted"}


def test_no_label_is_read_before_the_scan_is_opened(replays, folder, tmp_path, monkeypatch):
    read = []

    def spied(function):
        def spy(path):
            read.append(path.name.removesuffix(".nii.gz"))
            return function(path)

        return spy

    for module, name in ((cases, "read_label_file"), (oracle, "read_labels")):
        monkeypatch.setattr(module, name, spied(getattr(module, name)))
    rounds = [Replay(PLAN, folder, tmp_path, name, 0) for name in ("entropy", "uniform")]
    for job in rounds:
        read.clear()
        records = replay.replay(job, rounds=2)
        assert set(read) <= set(opened(records[-1])) | set(folder.evaluation)
        assert set(read) & set(opened(records[-1]))  # or the spies see nothing


def test_strategies_see_no_label_and_no_junk_mark():
    fields = set(replay.Candidate.__dataclass_fields__)
    assert fields == {
        "scan_id", "subject", "score", "scored", "class_scores", "foreground", "features", "check", "doubt"
    }  # fmt: skip


@pytest.mark.slow
def test_monai_labels_order_is_its_score_alone(folder, work, replays):
    job = Replay(replace(PLAN, strategies=("uniform", MONAI_LABEL)), folder, work, MONAI_LABEL, 0)
    records = replay.replay(job)
    observer = replay._observer(job, records[0])
    left = {scan: folder.image(scan) for scan in folder.pool if scan not in opened(records[0])}
    scores = observer.monai_label(left)
    assert opened(records[1])[3:] == sorted(left, key=lambda scan: -scores[scan])[:2]


def test_another_simulation_in_the_same_folder_is_refused(replays, folder, work):
    with pytest.raises(TrainingError, match="same settings"):
        run_simulation(replace(PLAN, counts=(3, 6)), folder, work)


def test_more_seeds_and_strategies_use_what_is_there(replays, folder, work):
    plan = replace(PLAN, strategies=("uniform",))
    assert run_simulation(plan, folder, work) == [replays[1], replays[2]]


@pytest.mark.slow
def test_two_processes_give_the_same_records(replays, folder, tmp_path):
    assert run_simulation(PLAN, folder, tmp_path, workers=2) == replays


def test_answers_lie_in_one_state_file(replays, work):
    with sqlite3.connect(work / "answers.sqlite") as db:
        kinds = {kind for (kind,) in db.execute("SELECT DISTINCT settings_digest FROM scores")}
    assert kinds >= {"prediction", "input", "evaluation"}
    names = {path.name for path in (work / "rounds").iterdir()}
    assert f"{WHOLE_POOL}-0-1.json" in names
    assert json.loads((work / "simulation.json").read_text("utf-8"))["counts"] == [3, 5]
