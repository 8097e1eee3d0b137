"""A server with a log-in and its audit trail: what is recorded, by whom, and what never is."""

import hashlib
import io
import json

import nibabel as nib
import numpy as np
import pytest

from copied_studies import running_server
from segtrust.label.login.accounts import UsersFile
from segtrust.store import StateStore

WORDS = {"anna": "anna's own long words", "ada": "ada's other long words"}
TYPED_AS_NAME = "a password in the wrong field"


@pytest.fixture(scope="module")
def site(tmp_path_factory, hippocampus_scans, model_folder):
    """A server that was used, its scans' ids, and its state file."""
    folder = tmp_path_factory.mktemp("audit-server")
    users = UsersFile(folder / "state" / "users.json")
    users.add("anna", "annotator", WORDS["anna"])
    users.add("ada", "administrator", WORDS["ada"])
    key = users.add_key("anna")
    conf = {"models_dir": model_folder.parent, "state_dir": folder / "state", "warm_up": "false"}
    with running_server(folder, hippocampus_scans[:2], conf=conf) as server:
        server.key, server.store = key, StateStore(folder / "state" / "state.sqlite")
        server.scans = [path.name.split(".")[0] for path in hippocampus_scans[:2]]
        server.answers = use(server, hippocampus_scans[0])
        yield server


def use(server, scan):
    scan_id, bearer = server.scans[0], {"Authorization": f"Bearer {server.key}"}
    anna, ada = (("anna", WORDS["anna"]), ("ada", WORDS["ada"]))
    mask = np.zeros(nib.load(scan).shape, np.uint8)
    mask[9, 9, 9] = 1
    file = io.BytesIO(nib.Nifti1Image(mask, nib.load(scan).affine).to_bytes())
    form = {"params": json.dumps({"result_extension": ".nrrd", "client_id": "somebody"})}
    query = f"image={scan_id}&output=image"
    return [
        server.get("/info/", auth=("anna", "not the password at all")),
        server.get("/info/", auth=(TYPED_AS_NAME, "x")),
        server.get("/info/", headers={"Authorization": "Bearer stk_no_key"}),
        server.post(f"/infer/hippocampus?{query}", data=form, auth=anna),
        server.put(f"/datastore/label?image={scan_id}", files={"label": ("l.nii", file)}, headers=bearer),
        server.get(f"/datastore/label?label={scan_id}&tag=final", headers=bearer),
        server.get(f"/segtrust/findings/hippocampus?image={scan_id}", headers=bearer),
        server.delete(f"/datastore/label?id={scan_id}&tag=final", auth=ada),
    ]


def test_each_act_is_a_record_with_who_did_what(site):
    assert [answer.status_code for answer in site.answers] == [401, 401, 401, 200, 200, 200, 200, 200]
    records = [(r["kind"], r["by"], r["facts"].get("scan")) for r in site.store.records()]
    scan = site.store.scan_hash(site.scans[0])
    assert records[:9] == [
        ("log-in refused", "anna", None),
        ("log-in refused", "", None),
        ("log-in refused", "", None),
        ("log-in", "anna", None),
        ("inference", "anna", scan),
        ("label kept", "anna", scan),
        ("export", "anna", scan),
        ("inference", "anna", scan),
        ("log-in", "ada", None),
    ]
    assert records[9] == ("label removed", "ada", scan)
    assert site.store.verify_trail().records == len(records)


def test_an_inference_says_version_options_and_the_hash_of_what_was_sent(site, model_folder):
    record = next(r for r in site.store.records() if r["kind"] == "inference")
    facts = record["facts"]
    assert facts["options"] == {"result_extension": ".nrrd"}
    assert facts["result"] == hashlib.sha256(site.answers[3].content).hexdigest()
    assert facts["version"] == (model_folder / "current").read_text().strip()
    assert len(facts["digest"]) == len(facts["fingerprint"]) == 64
    assert facts["patient"] == site.store.roles()[site.scans[0]][0]


def test_no_secret_and_no_patient_is_in_the_trail_the_log_or_an_answer(site):
    secrets = [*WORDS.values(), site.key.split("_", 2)[2], TYPED_AS_NAME, "not the password at all"]
    logs = [site.log, *site.log.parent.rglob("*.log")]
    texts = {str(path): path.read_text("utf-8", "replace") for path in [*logs, site.store.trail_path]}
    texts |= {str(n): answer.text for n, answer in enumerate(site.answers)}
    assert [name for name, text in texts.items() if any(secret in text for secret in secrets)] == []
    trail = site.store.trail_path.read_text()
    assert not any(scan in trail for scan in site.scans)
    assert "somebody" not in trail
