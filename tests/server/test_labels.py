"""Labels of the past over HTTP, and studies that vanish under a server."""

import nibabel as nib
import numpy as np
import pytest

from copied_studies import running_server


@pytest.fixture
def own(tmp_path, tiny_model, tiny_scan):
    with running_server(tmp_path, [tiny_scan], conf={"models_dir": tiny_model.parent}) as server:
        yield server


def submit(server, tiny_scan, value, who):
    image = nib.load(tiny_scan)
    label = nib.Nifti1Image(np.full(image.shape, value, np.uint8), image.affine).to_bytes()
    return server.put(
        "/datastore/label",
        params={"image": "ball"},
        files={"label": ("label.nii", label)},
        data={"params": f'{{"client_id": "{who}"}}'},
    )


def volume(answer):
    return np.unique(np.asanyarray(nib.Nifti1Image.from_bytes(answer.content).dataobj)).tolist()


def test_a_replaced_label_is_listed_downloaded_and_restored(own, tiny_scan):
    for value, who in ((1, "ann"), (2, "bob")):
        assert submit(own, tiny_scan, value, who).status_code == 200
    listed = own.get("/segtrust/labels/history", params={"image": "ball"}).json()
    (former,) = listed["labels"]
    assert (listed["total"], former["author"], former["by"]) == (1, "ann", "bob")
    assert own.get("/segtrust/labels/history").json() == listed
    named = {"image": "ball", "entry": former["entry"]}
    assert volume(own.get("/segtrust/labels/history/file", params=named)) == [1]
    answer = own.post("/segtrust/labels/restore", params={**named, "client_id": "eve"})
    assert answer.json()["restored"] == former
    assert volume(own.get("/datastore/label", params={"label": "ball", "tag": "final"})) == [1]
    gone = own.post("/segtrust/labels/restore", params={"image": "ball", "entry": "x"})
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert own.delete("/datastore/label", params={"id": "ball", "tag": "final"}).status_code == 200
    reasons = [x["reason"] for x in own.get("/segtrust/labels/history").json()["labels"]]
    assert reasons == ["removed", "replaced", "replaced"]


def test_studies_that_vanish_under_a_server_answer_503_and_come_back(own, tiny_scan):
    away = own.studies.with_name("away")
    own.studies.rename(away)
    own.studies.mkdir()
    refused = [submit(own, tiny_scan, 1, "ann")]
    with tiny_scan.open("rb") as file:
        refused.append(
            own.put("/datastore/image", params={"image": "new"}, files={"file": ("new.nii.gz", file)})
        )
    for answer in refused:
        assert answer.status_code == 503, answer.text
        assert "mounted?" in answer.json()["detail"]
    own.studies.rmdir()  # fails if anything was written
    away.rename(own.studies)
    assert submit(own, tiny_scan, 1, "ann").status_code == 200
