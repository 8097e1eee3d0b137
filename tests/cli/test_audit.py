"""`segtrust audit` and `segtrust forget`, on a folder of scans as a server leaves it."""

import csv
import io
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from segtrust.cli import main
from segtrust.label.forgetting import trained_on
from segtrust.label.studies.changes import Submission
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.models import publish_version
from segtrust.release.collect import fix_roles
from segtrust.store import ScoreKey, StateStore, StoredScore

STRUCTURES = {"tiny": {"front": 1, "back": 2}}
PATIENT = "Miller_John"


@pytest.fixture
def site(tmp_path, tiny_scan):
    """Scans of two patients, with labels, labels of the past, scores, leases and a training's record."""
    studies = tmp_path / "studies"
    studies.mkdir()
    for name in (f"{PATIENT}-1", f"{PATIENT}-2", "Smith-1"):
        shutil.copyfile(tiny_scan, studies / f"{name}.nii.gz")
    store = StateStore(studies / ".segtrust" / "state.sqlite")
    datastore = SafeDatastore(
        str(studies),
        structures=STRUCTURES,
        store=store,
        on_served=store.mark_served,
        extensions=["*.nii.gz", "*.nii", "*.nrrd"],
    )
    fix_roles(datastore, store, "(.*)-")
    label = np.zeros(nib.load(tiny_scan).shape, np.uint8)
    label[3, 3, 3] = 1
    nib.save(nib.Nifti1Image(label, nib.load(tiny_scan).affine), tmp_path / "label.nii.gz")
    for name in (f"{PATIENT}-1", f"{PATIENT}-1", "Smith-1"):
        datastore.submit_label(name, str(tmp_path / "label.nii.gz"), "final", {}, Submission(by="anna"))
        store.put_score(
            StoredScore(
                key=ScoreKey(scan_id=name, fingerprint="f", version_digest="v", settings_digest="s"),
                score=0.5,
            )
        )
        store.mark_served(name, "anna", "entropy")
    datastore._update_datastore_file()
    training = store.path.parent / "training"
    training.mkdir()
    (training / "tiny.json").write_text(json.dumps({"learned": {f"{PATIENT}-1": "x", "Smith-1": "y"}}))
    datastore.close()
    return studies


def store_of(site):
    return StateStore(site / ".segtrust" / "state.sqlite")


def test_labels_are_in_the_trail_with_who_and_what_and_no_name_of_a_patient(site, tmp_path):
    records = [r for r in store_of(site).records() if r["kind"] == "label kept"]
    assert [r["by"] for r in records] == ["anna"] * 3
    store = store_of(site)
    assert records[0]["facts"]["scan"] == store.scan_hash(f"{PATIENT}-1")
    assert records[0]["facts"]["patient"] == store.patient_hash(PATIENT)
    assert records[0]["facts"]["tag"] == "final"
    assert len(records[0]["facts"]["sha256"]) == 64
    text = store.trail_path.read_text()
    assert "Miller" not in text
    assert "Smith" not in text


def test_a_trail_that_checks_says_its_last_hash_and_a_changed_one_what_is_wrong(site, capsys):
    assert main(["audit", "verify", str(site)]) == 0
    said = capsys.readouterr().out
    last = said.split()[-1]
    assert "3 records" in said
    assert main(["audit", "verify", str(site), "--has", last]) == 0
    assert main(["audit", "verify", str(site), "--has", "0" * 63 + "1"]) == 1
    path = store_of(site).trail_path
    path.write_text(path.read_text().replace("anna", "eve!", 1))
    assert main(["audit", "verify", str(site)]) == 1
    assert "record 1 must be as it was written" in capsys.readouterr().err


def test_the_records_of_a_patient_are_found_by_the_patient_s_name(site, capsys):
    assert main(["audit", "export", str(site), "--patient", PATIENT]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["kind"] for r in records] == ["label kept", "label kept"]
    assert main(["audit", "export", str(site), "--scan", "Smith-1", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["by"], row["kind"]) for row in rows] == [("anna", "label kept")]
    exports = [r for r in store_of(site).records() if r["kind"] == "export"]
    assert [r["facts"].get("patient") for r in exports] == [store_of(site).patient_hash(PATIENT), None]
    assert main(["audit", "export", str(site), "--by", "nobody"]) == 0
    assert capsys.readouterr().out == ""


def test_nothing_of_a_forgotten_patient_is_left_and_the_trail_still_checks(site, tmp_path, capsys):
    assert main(["forget", PATIENT, str(site)]) == 0
    assert "would be deleted" in capsys.readouterr().out
    assert (site / f"{PATIENT}-1.nii.gz").is_file()
    assert main(["forget", PATIENT, str(site), "--yes"]) == 0
    left = [path for path in site.rglob("*") if path.is_file()]
    assert not [path for path in left if "Miller" in str(path)]
    holding = [path for path in left if b"Miller" in path.read_bytes()]
    assert holding == []
    assert (site / "Smith-1.nii.gz").is_file()
    assert (site / "labels" / "final" / "Smith-1.nii.gz").is_file()
    store = store_of(site)
    assert store.verify_trail().records > 3
    record = next(r for r in store.records() if r["kind"] == "patient forgotten")
    assert record["facts"]["patient"] == store.patient_hash(PATIENT)
    assert main(["forget", PATIENT, str(site), "--yes"]) == 1


def test_versions_that_learnt_from_a_patient_are_named(site, make_model, tiny_spec):
    store = store_of(site)
    hashed, other = store.patient_hash(PATIENT), store.patient_hash("Smith")
    models = store.path.parent / "models"
    members = sorted((make_model(tiny_spec) / "versions" / "0001" / "members").iterdir())
    cards = [
        {"patients": {"train": [other]}},
        {"patients": {"calibration": [hashed]}, "learnt": [[hashed], []]},
    ]
    for card in cards:
        publish_version(models / tiny_spec.name, tiny_spec, members, {}, card)
    assert trained_on(models, hashed) == [f"{tiny_spec.name}/0002 (calibration, train)"]
    assert trained_on(models, other) == [f"{tiny_spec.name}/0001 (train)"]


def test_old_records_are_dropped_and_the_rest_checks(site, capsys):
    assert main(["audit", "prune", str(site), "--days", "1"]) == 0
    assert main(["audit", "prune", str(site), "--days", "0"]) == 0
    assert "dropped 0 records" in capsys.readouterr().out.splitlines()[0]
    assert main(["audit", "verify", str(site)]) == 0
    assert [r["kind"] for r in store_of(site).records()] == ["checkpoint", "trail pruned"]


def test_a_site_that_is_none_is_said(tmp_path, capsys):
    assert main(["audit", "verify", str(tmp_path)]) == 1
    assert "there is no" in capsys.readouterr().err
