"""The plan of a round: settings, folds that are left out, warm starts, and how far it is."""

from dataclasses import replace

import pytest

from labelled_site import BALLS, BALLS_AS_STORED, KEY
from phantoms import version_of
from segtrust.errors import SettingError
from segtrust.release.cohort import LabelledScan, RoundCohort
from segtrust.release.plan import RoundClock, RoundSettings, make_plan
from segtrust.roles import fold_of, patient_hash
from segtrust.training.loop import EpochReport


def scan(name, role="train"):
    return LabelledScan(id=name, image=None, label=None, subject=name, role=role)


def cohort(train, calibration=0):
    return RoundCohort(
        tuple(scan(f"t{i}") for i in range(train)),
        tuple(scan(f"c{i}", "calibration") for i in range(calibration)),
        (),
        {},
    )


def parent(**card):
    members = ("0.safetensors", "1.safetensors")
    return replace(version_of(BALLS), members=members, card=card)


def plan(scans, settings=None, card=None):
    settings = settings or RoundSettings()
    return make_plan(parent(**(card or {})), BALLS_AS_STORED, scans, settings, "cpu", KEY)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("epochs", 0, "`epochs` must be a whole number from 1 to 10000, got 0"),
        ("epochs", 2.5, "`epochs` must be a whole number"),
        ("members", 0, "`members` must be a whole number from 1 to 20, got 0"),
        ("workers", 65, "`workers` must be a whole number from 1 to 64"),
        ("seed", True, "`seed` must be a whole number"),
        ("start", "hot", "`start` must be one of warm, scratch, got 'hot'"),
        ("ensemble", "bag", "`ensemble` must be one of seeds, snapshots, got 'bag'"),
        ("small_gate", "no", "`small_gate` must be one of publish, ask"),
        ("precision", "fp8", "`precision` must be one of fp32, bf16"),
        ("loss", "tversky", "`loss` must be one of"),
    ],
)
def test_a_setting_outside_its_range_is_refused(field, value, text):
    with pytest.raises(SettingError, match=text):
        RoundSettings(**{field: value})


def test_another_number_of_members_needs_another_model():
    with pytest.raises(
        SettingError, match="`members` must be 2, the number in the specification of 'balls', got 3"
    ):
        plan(cohort(3), RoundSettings(members=3))
    assert len(plan(cohort(3), RoundSettings(members=2)).runs) == 2


def test_few_scans_still_make_an_epoch_of_twenty_patches():
    few, many = RoundSettings().budget(1), RoundSettings().budget(30)
    assert (few.patches, many.patches) == (20, 0)
    # 30 epochs of 10 steps: the average forgets the start, (29 / 30) ** 300 = 4e-5
    assert few.average == pytest.approx(1 - 10 / 300)
    assert RoundSettings(epochs=1).budget(1).average == 0.0
    assert RoundSettings(epochs=1000).budget(100).average == 0.995


def test_with_few_labels_every_member_leaves_out_its_own_fold():
    made = plan(cohort(20, calibration=4))
    assert made.left_out
    for member, run in enumerate(made.runs):
        left = {f"t{i}" for i in range(20)} - {case.id for case in run.cases}
        assert left == {f"t{i}" for i in range(20) if fold_of(f"t{i}", KEY, 2) == member}
        assert all(made.strangers(patient_hash(name, KEY)) == (member,) for name in left)


def test_with_25_labels_every_member_learns_from_all():
    made = plan(cohort(20, calibration=5))
    assert not made.left_out
    assert all(len(run.cases) == 20 for run in made.runs)
    assert made.strangers(patient_hash("t3", KEY)) == ()
    assert made.strangers(patient_hash("c3", KEY)) == (0, 1)


def test_one_scan_is_learnt_by_all_since_nothing_would_be_left():
    assert [len(run.cases) for run in plan(cohort(1)).runs] == [1, 1]


def test_who_joins_later_changes_nobodys_fold():
    before, after = plan(cohort(10)), plan(cohort(15))
    for early, late in zip(before.runs, after.runs, strict=True):
        assert {c.id for c in early.cases} == {c.id for c in late.cases} & {f"t{i}" for i in range(10)}


def test_a_warm_start_begins_with_the_parents_members_and_inherits_what_they_learnt():
    learnt = [[patient_hash("t0", KEY)], [patient_hash("t0", KEY)]]
    warm = plan(cohort(10), card={"learnt": learnt})
    assert [run.initial for run in warm.runs] == ["0.safetensors", "1.safetensors"]
    assert warm.strangers(patient_hash("t0", KEY)) == ()
    assert warm.runs[0].budget.learning_rate < 1e-3
    fresh = plan(cohort(10), RoundSettings(start="scratch"), {"learnt": learnt})
    assert [run.initial for run in fresh.runs] == [None, None]
    assert len(fresh.strangers(patient_hash("t0", KEY))) == 1


def test_members_differ_by_their_seeds():
    assert [run.seed for run in plan(cohort(3), RoundSettings(seed=7)).runs] == [7, 8]


def test_the_clock_counts_down_over_all_members():
    told = []
    clock = RoundClock(plan(cohort(3), RoundSettings(epochs=4)).runs, 1, told.append)
    clock.member(0, EpochReport(1, 4, 0.5, 10.0, 30.0))
    clock.member(0, None)  # from the cache: nothing left to do for it
    clock.member(1, EpochReport(2, 4, 0.25, 20.0, 40.0))
    assert [round(p.left) for p in told] == [70, 40, 30]  # 7, 4 and 2 epochs of 10, 10 and 15 s
    assert told[0].line() == "member 1/2 epoch 1/4 loss 0.5000, 70 s left"
    assert told[1].line() == "member 1/2 epoch 4/4 done, 40 s left"
    clock.step("gate")
    assert told[-1].line().startswith("gate, ")
    assert told[-1].done == 1.0


def test_two_workers_halve_the_time_that_is_left_but_not_that_of_the_last_member():
    told = []
    clock = RoundClock(plan(cohort(3), RoundSettings(epochs=4)).runs, 2, told.append)
    clock.member(0, EpochReport(2, 4, 0.5, 10.0, 20.0))
    clock.member(1, EpochReport(1, 4, 0.5, 10.0, 20.0))
    assert [round(p.left) for p in told] == [40, 30]


def test_snapshots_are_one_run_that_leaves_nobody_out():
    made = plan(cohort(3), RoundSettings(ensemble="snapshots", epochs=5), {"learnt": [["a"], ["b"]]})
    (run,) = made.runs
    assert (run.budget.snapshots, run.budget.epochs) == (2, 6)  # 5 epochs, shared out and rounded up
    assert (len(run.cases), made.left_out) == (3, False)
    own = {patient_hash(f"t{i}", KEY) for i in range(3)}
    assert made.learnt == (own | {"a"}, own | {"a"})  # both descend from the first member of the parent
