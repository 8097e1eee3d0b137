"""Identity of scans over HTTP: names with dots, scans that are not overwritten, files that are not read."""

import gzip
import io

import nibabel as nib
import numpy as np
import pytest

from copied_studies import running_server


def nifti(number):
    values = np.random.default_rng(number).normal(100, 20, (20, 18, 16)).astype(np.float32)
    return gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes(), mtime=0)


@pytest.fixture(scope="module")
def own(tmp_path_factory, model_folder, hippocampus_scans):
    folder = tmp_path_factory.mktemp("identity")
    with running_server(folder, hippocampus_scans[:1], conf={"models_dir": model_folder.parent}) as server:
        yield server


def upload(server, name, number, **query):
    files = {"file": (name, io.BytesIO(nifti(number)))}
    return server.put("/datastore/image", params=query, files=files)


def test_names_with_dots_stay_apart(own):
    names = ["patient.1", "patient.2", "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"]
    for number, name in enumerate(names):
        answer = upload(own, f"{name}.nii.gz", number)
        assert (answer.status_code, answer.json()) == (200, {"image": name}), answer.text
    for number, name in enumerate(names):
        assert own.get("/datastore/image", params={"image": name}).content == nifti(number)


def test_another_scan_is_refused_and_replaced_only_if_that_is_wanted(own):
    assert upload(own, "kk.nii.gz", 1).status_code == 200
    assert upload(own, "kk.nii.gz", 1).status_code == 200  # the same scan once more
    refused = upload(own, "kk.nii.gz", 2)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert own.get("/datastore/image", params={"image": "kk"}).content == nifti(1)
    assert upload(own, "kk.nii.gz", 2, replace="true").status_code == 200
    assert own.get("/datastore/image", params={"image": "kk"}).content == nifti(2)
    (former,) = own.get("/segtrust/labels/history", params={"image": "kk"}).json()["labels"]
    assert (former["kind"], former["reason"]) == ("scan", "scan replaced")
    restored = own.post("/segtrust/labels/restore", params={"image": "kk", "entry": former["entry"]})
    assert restored.status_code == 200, restored.text
    assert own.get("/datastore/image", params={"image": "kk"}).content == nifti(1)


@pytest.mark.parametrize("name", ["x" * 249, "é" * 125, "漢" * 83])
def test_a_name_that_is_too_long_is_refused_with_the_bound(own, name):
    answer = upload(own, "scan.nii.gz", 1, image=name)
    assert (answer.status_code, answer.json()["code"]) == (400, "path"), answer.text
    assert "at most 248 bytes" in answer.json()["detail"]


def test_info_counts_what_is_not_read(tmp_path, tiny_model, tiny_scan):
    studies = tmp_path / "studies"
    studies.mkdir()
    for name in ("SMITH.NII.GZ", "jones.mha", "._a.nii.gz"):
        (studies / name).write_bytes(tiny_scan.read_bytes())
    studies.rename(tmp_path / "prepared")
    conf = {"models_dir": tiny_model.parent}
    prepared = sorted((tmp_path / "prepared").iterdir())
    with running_server(tmp_path, [tiny_scan, *prepared], conf=conf) as server:
        unread = server.get("/info/").json()["unread"]
        log = server.log.read_text()
    assert unread["files"] == 3
    assert [name for entry in unread["reasons"] for name in entry["examples"]] == [
        "._a.nii.gz",
        "SMITH.NII.GZ",
        "jones.mha",
    ]
    assert "Not read in the studies folder: a file has an ending in capitals" in log
    assert "SMITH" not in log
