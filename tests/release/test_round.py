"""A round on a site: what is served afterwards, what calibrates, and what bad input leads to."""

import json
import os
from dataclasses import replace

import pytest

from labelled_site import BALLS, KEY, label_ball, make_site, small_files
from phantoms import publish_random_version
from segtrust.errors import ModelError, TrainingError
from segtrust.inference.members import load_member
from segtrust.models import (
    Head,
    Label,
    best_version,
    list_versions,
    open_version,
    training_lock,
    why_unpublished,
)
from segtrust.release import round as rounds
from segtrust.release.gate import GateVerdict
from segtrust.release.plan import RoundSettings
from segtrust.release.round import run_round
from segtrust.roles import patient_hash

SHORT = RoundSettings(epochs=1)


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    """Two patches an epoch are enough to see what a round does with members."""
    monkeypatch.setattr("segtrust.release.plan._PATCHES", 2)


@pytest.fixture
def site(tmp_path):
    """``site(roles)`` makes a shipped model and labelled scans; ``site.round(scans)`` runs a round."""

    def make(roles):
        return make_site(tmp_path, roles)

    def run(scans, settings=SHORT, *, parent=None, report=lambda _: None):
        known = (p for p in (make.model, tmp_path / "shipped/balls") if (p / "current").is_file())
        parent = parent or next(known)
        return run_round(
            parent, tmp_path / "site", scans, settings, cache=tmp_path / "cache", key=KEY, report=report
        )

    make.round, make.model, make.folder = run, tmp_path / "site" / "balls", tmp_path
    return make


def decided(monkeypatch, passed, *, is_better=False):
    monkeypatch.setattr(rounds, "judge", lambda _: GateVerdict(passed, is_better, "as told", {"subjects": 8}))


# --- what is served ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_rounds_on_a_site_publish_two_versions_after_the_shipped_one(site):
    scans, told = site(["train", "train", "train", "calibration", "test"]), []
    first = site.round(scans, report=told.append)
    assert (first.version, first.status) == ("0002", "unproven")
    assert "fewer than 59 patients whose role is calibration, got 1" in first.reason
    assert [p.step for p in told] == ["training"] * 4 + ["gate", "calibrating", "publishing"]
    shipped, served = open_version(site.folder / "shipped/balls"), open_version(site.model)
    assert open_version(site.model, "0001").digest == shipped.digest
    assert (served.id, served.spec) == ("0002", shipped.spec)
    for path in served.members:
        load_member(served.spec, path)

    card = served.card
    assert card["parent"] == {"version": "0001", "digest": shipped.digest, "shipped": False, "start": "warm"}
    assert card["data"] == {"train": 3, "calibration": 1, "test": 1}
    assert card["patients"]["calibration"] == [patient_hash("s03", KEY)]
    assert (card["recipe"]["loss"], card["recipe"]["seeds"]) == ("dice_ce", [0, 1])
    assert {"torch", "monai", "python"} <= set(card["software"])
    assert card["test"]["systems"]["calibration"]["calibrated"]["band"]["nll"]["subjects"] == 1
    assert card["best"] == shipped.digest
    json.dumps(first.report, allow_nan=False)

    second = site.round(scans[:4])
    assert second.version == "0003"
    assert open_version(site.model).card["parent"]["digest"] == served.digest
    # nothing was proven, so both are held against what was shipped
    assert best_version(site.model).digest == shipped.digest


def test_a_version_that_cannot_be_proven_waits_if_the_site_asks_so(site):
    result = site.round(site(["train", "train"]), replace(SHORT, small_gate="ask"))
    assert (result.version, result.status) == ("0002", "kept")
    assert open_version(site.model).id == "0001"
    assert why_unpublished(site.model, "0002").startswith("unproven: nothing is proven")


def test_a_version_that_may_be_inferior_is_kept_with_the_reason(site, monkeypatch):
    decided(monkeypatch, passed=False)
    result = site.round(site(["train", "train"]))
    assert (result.status, result.reason) == ("kept", "as told")
    assert open_version(site.model).id == "0001"
    assert why_unpublished(site.model, "0002") == "as told"


def test_a_version_that_is_proven_better_is_the_one_to_beat(site, monkeypatch):
    decided(monkeypatch, passed=True, is_better=True)
    result = site.round(site(["train", "train"]))
    assert result.status == "published"
    assert best_version(site.model).id == open_version(site.model).id == "0002"


# --- calibration -------------------------------------------------------------------------------------------


def test_with_too_few_patients_a_warm_start_keeps_the_parents_calibrator(site):
    scans = site(["train", "train", "calibration"])
    result = site.round(scans)
    assert result.report["calibration"]["source"] == "parent"
    assert "fitting needs 5 patients" in result.report["calibration"]["why"]
    parent, served = open_version(site.folder / "shipped/balls"), open_version(site.model)
    assert served.calibration["calibrator"] == parent.calibration["calibrator"]


def test_with_too_few_patients_a_start_from_scratch_has_no_calibrator(site):
    result = site.round(site(["train"]), replace(SHORT, start="scratch"))
    assert result.report["calibration"]["source"] == "none"
    assert open_version(site.model).calibration["calibrator"] == {"name": "identity"}


def test_with_few_labels_scans_calibrate_that_some_member_left_out(site):
    result = site.round(site(["train"] * 6 + ["calibration"] * 2))
    found = result.report["calibration"]
    assert (found["source"], found["subjects"]) == ("out-of-fold scans", 8)
    assert "only 2 patients have the role calibration" in found["why"]
    card = open_version(site.model).card
    assert card["folds_left_out"] is True
    assert card["calibration"]["why"] == found["why"]
    # every patient of role train is unknown to one of the two members
    learnt = [patient for seen in card["learnt"] for patient in seen]
    assert sorted(learnt) == sorted(patient_hash(f"s0{i}", KEY) for i in range(6))


def test_with_five_calibration_patients_they_alone_calibrate(site):
    result = site.round(site(["train"] * 2 + ["calibration"] * 5))
    found = result.report["calibration"]
    assert (found["source"], found["subjects"]) == ("calibration scans", 5)
    assert set(found["figures"]["identity"]["nll"]) == {"band", "outside", "volume"}
    assert open_version(site.model).calibration["fitted_on"]["scans"] == 5


def test_a_patient_that_was_learnt_calibrates_in_no_later_round(site):
    scans = site(["train", "train", "volunteered"])
    site.round(scans)
    result = site.round([*scans[:2], replace(scans[2], role="calibration")])
    assert result.report["left_out"] == {"s02": "an earlier version was trained on its patient"}


# --- bad input ---------------------------------------------------------------------------------------------


def test_no_labels_at_all_are_named(site):
    site([])
    with pytest.raises(TrainingError, match=r"needs at least one labelled scan, got none\. Label and submit"):
        site.round([])
    assert not (site.model / "current").exists()


def test_one_label_is_enough(site):
    assert site.round(site(["train"])).version == "0002"


def test_scans_that_cannot_be_used_are_left_out_and_named(site):
    scans = site(["train", "train"])
    scans[1].image.write_bytes(b"no scan")
    result = site.round(scans)
    assert "cannot be read" in result.report["left_out"]["s01"]
    assert result.report["scans"]["train"] == 1


def test_without_a_single_usable_scan_nothing_is_written(site):
    (scan,) = site(["train"])
    scan.label.unlink()
    with pytest.raises(TrainingError, match=r"got none of 1: s00: .*does not exist"):
        site.round([scan])
    assert not (site.model / "current").exists()


def test_calibration_scans_alone_are_nothing_to_train_on(site):
    with pytest.raises(
        TrainingError, match="whose role is train, got 2 of role calibration and 0 of role test"
    ):
        site.round(site(["calibration"] * 2))


def test_a_second_round_is_refused_while_one_runs(site):
    scans = site(["train"])
    with training_lock(site.model), pytest.raises(TrainingError, match="one training of 'balls' at a time"):
        site.round(scans)


def test_a_model_of_nested_structures_learns_is_judged_and_calibrated(site):
    scans = site(["train", "train", *["calibration"] * 5, "test"])
    nested = replace(
        BALLS,
        name="nest",
        labels=(Label("ball", 1, (1, 2)), Label("core", 2, 2)),
        head=Head("sigmoid", (1, 2), (0.4, 0.6), structures="nested"),
    )
    publish_random_version(site.folder / "shipped/nest", nested)
    got = site.round(scans, parent=site.folder / "shipped/nest")
    assert (got.version, got.status) in {("0002", "unproven"), ("0002", "kept")}
    served = open_version(site.folder / "site/nest", "0002")
    assert served.calibration["fitted_on"] == {"scans": 5, "subjects": 5, "role": "calibration scans"}
    assert ("observed" in served.calibration) == (served.calibration["calibrator"]["name"] != "identity")
    assert got.report["gate"]["calibrated"] == "without the patient"
    assert got.report["test"]["systems"]["dice"]["calibrated"].keys() >= {"ball", "core"}


def test_regions_that_overlap_without_being_nested_are_not_learnt_here(site, monkeypatch):
    scans = site(["train"])
    opened = open_version(site.folder / "shipped/balls")
    spec = replace(
        opened.spec,
        labels=(Label("a", 1, (1, 2)), Label("b", 2, (3, 2))),
        head=Head("sigmoid", priority=(1, 2)),
    )
    monkeypatch.setattr(rounds, "open_version", lambda _: replace(opened, spec=spec))
    with pytest.raises(TrainingError, match="nested or do not overlap, those of 'balls' overlap otherwise"):
        site.round(scans)


def test_another_model_of_the_same_name_is_not_overwritten(site):
    scans = site(["train"])
    site.round(scans)
    spec = json.loads((site.model / "spec.json").read_text())
    (site.model / "spec.json").write_text(json.dumps({**spec, "overlap": 0.5}))
    with pytest.raises(ModelError, match="describes another model"):
        site.round(scans, parent=site.folder / "shipped/balls")
    assert list_versions(site.model) == ["0001", "0002"]


@pytest.mark.skipif(os.name != "posix", reason="no limit of file sizes but on POSIX")
def test_on_a_full_disk_nothing_is_published_and_finished_members_stay(site, monkeypatch):
    scans, told = site(["train", "train"]), []
    site.round(scans)
    real = rounds.publish_version

    def on_a_full_disk(*given, **named):
        with small_files(2000):
            return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "publish_version", on_a_full_disk)
        with pytest.raises(
            TrainingError, match=r"must be writable.*Is the disk full\?.*what was served still is"
        ):
            site.round(scans)
    assert open_version(site.model).id == "0002"
    assert list_versions(site.model) == ["0001", "0002"]
    assert site.round(scans, report=told.append).version == "0003"
    assert [p.loss for p in told if p.step == "training"] == [None, None]  # both members came from the cache


def test_a_round_that_is_stopped_goes_on_with_the_member_it_was_at(site):
    scans, settings = site(["train", "train"]), RoundSettings(epochs=2)

    def stop(progress):
        if (progress.member, progress.epoch, progress.loss is None) == (2, 1, False):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.round(scans, settings, report=stop)
    told = []
    assert site.round(scans, settings, report=told.append).version == "0002"
    assert [(p.member, p.epoch) for p in told if p.loss is not None] == [(2, 2)]


def test_a_label_that_was_changed_meanwhile_is_learnt_anew(site):
    scans, told = site(["train", "train"]), []
    site.round(scans, replace(SHORT, small_gate="ask"))
    label_ball(site.folder / "studies", "s01", seed=1, radius=2.0)
    site.round(scans, replace(SHORT, small_gate="ask"), report=told.append)
    assert any(p.loss is not None for p in told)


@pytest.mark.slow
def test_two_workers_train_the_same_members_as_one(site):
    scans = site(["train"] * 3)
    digests, told = [], []
    for workers in (1, 2):
        settings = RoundSettings(epochs=2, workers=workers, small_gate="ask")
        parent = site.folder / "shipped/balls"
        options = {"cache": site.folder / f"cache{workers}", "key": KEY, "report": told.append}
        result = run_round(parent, site.folder / f"site{workers}", scans, settings, **options)
        digests.append(
            open_version(site.folder / f"site{workers}/balls", result.version).card["files"][
                "members/1.safetensors"
            ]
        )
    assert digests[0] == digests[1]
    assert sorted((p.member, p.epoch) for p in told[9:] if p.loss is not None) == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
