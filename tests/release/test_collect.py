"""Which scans a round gets, whose they are, and what they may be used for."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from labelled_site import fix_key
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.release.collect import collect_labelled, fix_roles, labels_of
from segtrust.store import StateStore

SCANS = [f"p{number:02d}_{side}" for number in range(30) for side in "lr"]
BY_PATIENT = "(p[0-9]+)_"


@pytest.fixture
def studies(tmp_path, tiny_scan):
    """Two scans of each of thirty patients, all with a label that nobody submitted over HTTP."""
    folder = tmp_path / "studies"
    (folder / "labels" / "final").mkdir(parents=True)
    values = np.zeros((20, 18, 16), np.uint8)
    values[:4] = 2
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "label.nii.gz")
    for name in SCANS:
        shutil.copyfile(tiny_scan, folder / f"{name}.nii.gz")
        shutil.copyfile(tmp_path / "label.nii.gz", folder / "labels" / "final" / f"{name}.nii.gz")
    return folder


@pytest.fixture
def store(tmp_path):
    store = StateStore(tmp_path / "state.sqlite")
    fix_key(store)  # of thirty patients, by another key, none or one may calibrate
    return store


@pytest.fixture
def labelled(studies, store):
    structures = {"liver": {"liver": 1}, "tiny": {"front": 1, "back": 2}}
    return SafeDatastore(str(studies), structures=structures, store=store, on_served=lambda *_: None)


def roles_of(found):
    return {scan.id: scan.role for scan in found.scans}


def test_every_scan_gets_a_role_by_its_patient_and_keeps_it(labelled, store):
    subjects, roles = fix_roles(labelled, store, BY_PATIENT)
    assert set(roles) == set(SCANS)
    assert subjects["p07_l"] == subjects["p07_r"] == "p07"
    assert all(roles[f"p{n:02d}_l"] == roles[f"p{n:02d}_r"] for n in range(30))
    assert {"train", "calibration"} <= set(roles.values())
    assert fix_roles(labelled, store, "")[1] == roles


def test_a_label_from_outside_the_queue_never_measures(labelled, store):
    found = roles_of(collect_labelled("tiny", labelled, store, BY_PATIENT))
    assert set(found.values()) == {"train", "volunteered"}


def test_a_scan_that_is_labelled_while_roles_are_given_waits_for_the_next_round(labelled, store, monkeypatch):
    early = [scan for scan in labelled.list_images() if scan != "p07_l"]
    monkeypatch.setattr(labelled, "list_images", lambda: early)
    collected = collect_labelled("tiny", labelled, store, BY_PATIENT)
    assert {scan.id for scan in collected.scans} == set(early)
    assert "p07_l" not in collected.left_out


def test_a_scan_drawn_by_lot_keeps_its_role_and_one_chosen_by_its_score_does_not(labelled, store):
    _, roles = fix_roles(labelled, store, BY_PATIENT)
    first, second = sorted(scan for scan, role in roles.items() if role == "calibration")[:2]
    store.mark_served(first, "user", "uniform")
    store.mark_served(second, "user", "entropy")
    found = roles_of(collect_labelled("tiny", labelled, store, BY_PATIENT))
    assert (found[first], found[second]) == ("calibration", "volunteered")


def test_a_scan_that_measures_the_model_is_left_out_if_slices_of_it_were_not_looked_at(labelled, store):
    _, roles = fix_roles(labelled, store, BY_PATIENT)
    said, silent, partial = sorted(scan for scan, role in roles.items() if role == "calibration")[:3]
    learnt = next(scan for scan, role in roles.items() if role == "train")
    for scan in (said, silent, partial):
        store.mark_served(scan, "user", "held_out")
    store.keep_review(said, "all", 16)
    for scan in (partial, learnt):
        store.keep_review(scan, [3, 4], 16)
    found = collect_labelled("tiny", labelled, store, BY_PATIENT)
    assert {roles_of(found)[scan] for scan in (said, silent)} == {"calibration"}
    assert list(found.left_out) == [partial]
    assert "must be looked at in every slice" in found.left_out[partial]
    assert roles_of(found)[learnt] == "train"


def test_a_label_that_was_put_into_the_folder_belongs_to_the_model_whose_values_it_has(labelled):
    assert set(labels_of("tiny", labelled)) == set(SCANS)
    assert labels_of("liver", labelled) == {}


def test_a_label_that_nobody_can_read_is_left_out_with_the_reason(labelled, studies, store):
    (studies / "labels" / "final" / "p00_l.nii.gz").write_bytes(b"cut off")
    assert "p00_l" not in labels_of("tiny", labelled)
    collected = collect_labelled("tiny", labelled, store, "")
    assert "must be compressed NIfTI" in collected.left_out["p00_l"]
    assert "p00_l" not in [scan.id for scan in collected.scans]


def test_a_process_beside_the_server_never_writes_the_index(studies, labelled, store):
    index = studies / "datastore_v2.json"
    before = index.read_bytes()
    (studies / "p00_l.nii.gz").unlink()
    beside = SafeDatastore(
        str(studies),
        structures={},
        store=store,
        on_served=lambda *_: None,
        frozen=True,
        extensions=["*.nii.gz"],
    )
    beside.update_image_info("p01_l", {"note": "x"})
    assert "p00_l" not in beside.list_images()
    assert index.read_bytes() == before
