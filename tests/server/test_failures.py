"""What a user does wrong gets a clear answer, and the server stays up."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from bad_scans import BAD_SCANS, NOISE, nifti


@pytest.mark.parametrize("case", BAD_SCANS)
@pytest.mark.parametrize("task", ["hippocampus", "hippocampus_uncertainty"])
def test_a_bad_scan_is_refused_with_its_reason(server, case, task):
    content, code, words = BAD_SCANS[case]
    name = "mine.nii.gz" if content[:2] == b"\x1f\x8b" else "mine.nii"
    answer = server.infer(task, files={"file": (name, io.BytesIO(content))})
    assert answer.status_code == 422, answer.text
    found = answer.json()
    assert found["code"] == code
    assert words in found["detail"]
    assert "mine" in found["detail"]
    assert found["task"] == task
    assert server.stays_up()


def test_one_slice_is_segmented(server):
    files = {"file": ("slice.nii", io.BytesIO(nifti(NOISE[:, :, :1])))}
    answer = server.infer("hippocampus", output="json", files=files)
    assert answer.status_code == 200, answer.text
    assert server.stays_up()


ELSEWHERE = {
    "missing scan": ("hippocampus", {"image": "nobody"}, {}, 404, "scan_missing"),
    "no scan": ("hippocampus", {}, {}, 404, "scan_missing"),
    "a path on the server": ("hippocampus", {"image": "/etc/hostname"}, {}, 404, "scan_missing"),
    "a path in params": ("hippocampus", {}, {"image": "/etc/hostname"}, 404, "scan_missing"),
    "a path upwards": ("hippocampus", {"image": "../../etc/hostname"}, {}, 404, "scan_missing"),
    "missing session": ("hippocampus", {"session_id": "nobody"}, {}, 404, "scan_missing"),
    "a session elsewhere": ("hippocampus", {"session_id": "../studies"}, {}, 404, "scan_missing"),
    "unknown model": ("spleen", {"image": "SCAN"}, {}, 404, "model_missing"),
    "unknown device": ("hippocampus", {"image": "SCAN"}, {"device": "cuda:99"}, 400, "device"),
    "unknown map": ("hippocampus_uncertainty", {"image": "SCAN"}, {"map": "x"}, 400, "setting"),
    "unknown file type": ("hippocampus", {"image": "SCAN"}, {"result_extension": ".png"}, 400, "setting"),
    "unknown number type": ("hippocampus", {"image": "SCAN"}, {"result_dtype": "complex"}, 400, "setting"),
    "dicom from a folder": ("hippocampus", {"image": "SCAN", "output": "dicom_seg"}, {}, 400, "setting"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_bad_request_names_what_is_wrong(server, scan_id, case):
    task, query, params, status, code = ELSEWHERE[case]
    query = {key: scan_id if value == "SCAN" else value for key, value in query.items()}
    answer = server.post(f"/infer/{task}", params=query, data={"params": json.dumps(params)})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["task"] == task
    assert answer.json()["scan"] == (query.get("image") or query.get("session_id"))
    assert server.stays_up()


@pytest.mark.parametrize("params", ["{", "[1]", "text"])
def test_params_that_are_no_json_object_are_refused(server, scan_id, params):
    answer = server.post(f"/infer/hippocampus?image={scan_id}", data={"params": params})
    assert (answer.status_code, answer.json()["code"]) == (400, "setting")


def test_the_devices_that_exist_are_listed(server, scan_id):
    assert "auto, cpu" in server.infer("hippocampus", scan_id, device="tpu").json()["detail"]


def test_unknown_strategies_and_scoring_methods_are_not_found(server):
    assert server.post("/activelearning/nobody", json={}).status_code == 404
    assert server.post("/scoring/nobody").status_code == 404
    assert "Known: entropy" in server.post("/scoring/nobody").json()["detail"]


@pytest.mark.parametrize("path", ["/datastore/image?id=nobody", "/datastore/image/info?image=nobody"])
def test_a_scan_that_does_not_exist_is_not_found(server, path):
    answer = server.delete(path) if "id=" in path else server.put(path, data={"info": "{}"})
    assert answer.status_code == 404
    assert answer.json()["scan"] == "nobody"


@pytest.mark.parametrize(
    ("query", "name"),
    [("../x", "x.nii.gz"), ("a/b", "x.nii.gz"), ("..", "x.nii.gz"), (".hidden", "x.nii.gz"), ("x", "x.py")],
    ids=str,
)
def test_an_uploaded_scan_cannot_leave_the_folder(server, query, name):
    files = {"file": (name, io.BytesIO(nifti(NOISE)))}
    answer = server.put("/datastore/image", params={"image": query}, files=files)
    assert (answer.status_code, answer.json()["code"]) == (400, "path")
    assert not list(server.studies.parent.glob("x*"))
    assert not (server.studies / "x.py").exists()


def test_an_archive_cannot_write_outside_its_session(server, tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("../../../../../../../../tmp/segtrust-escaped.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    files = {"files": ("scan.tar", io.BytesIO(content.getvalue()))}
    answer = server.put("/session/?uncompress=true", files=files)
    assert answer.status_code == 422, answer.text
    assert "would lie outside its folder" in answer.json()["detail"]
    assert not Path("/tmp/segtrust-escaped.txt").exists()
    assert server.stays_up()


def test_info_that_is_no_json_is_refused(server, scan_id):
    answer = server.put(f"/datastore/image/info?image={scan_id}", data={"info": "{"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_a_client_cannot_put_another_name_or_patient_before_the_next_reader(server, scan_id):
    before = server.get("/datastore/image/info", params={"image": scan_id}).json()
    for field in ("name", "PatientID", "path"):
        data = {"info": json.dumps({field: "../../evil"})}
        answer = server.put("/datastore/image/info", params={"image": scan_id}, data=data)
        assert (answer.status_code, answer.json()["code"]) == (400, "setting")
    after = server.get("/datastore/image/info", params={"image": scan_id}).json()
    assert {key: value for key, value in after.items() if key != "ts"} == {
        key: value for key, value in before.items() if key != "ts"
    }


def test_the_old_route_of_the_reviewer_is_checked_and_knows_its_fields(server, scan_id):
    where = {"label": scan_id, "tag": "final"}
    evil = {"params": json.dumps({"label_info": [{"name": "spleen", "idx": 1}]})}
    assert server.put("/datastore/updatelabelinfo", params=where, data=evil).json()["code"] == "setting"
    good = {"params": json.dumps({"segmentationMeta": {"status": "approved"}})}
    assert (
        server.put("/datastore/updatelabelinfo", params=where, data=good).status_code == 404
    )  # no label yet
