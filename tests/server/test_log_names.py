"""What comes out of a running server, in its log and over /logs: no name of a file, a scan, or a patient."""

import io
import json
import zipfile

import nibabel as nib
import numpy as np
import pytest

from bad_scans import BAD_SCANS, NOISE, nifti
from live_server import running_server

NAME = "Mueller-Hans"


@pytest.fixture(scope="module")
def server(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("names")
    (folder / "studies" / "labels" / "final").mkdir(parents=True)
    for number in range(2):
        nib.save(nib.Nifti1Image(NOISE, np.eye(4)), folder / "studies" / f"{NAME}-{number}.nii.gz")
    (folder / "studies" / "labels" / "final" / f"{NAME}-1.nii.gz").write_bytes(b"no label")
    conf = {"models_dir": model_folder.parent, "train_epochs": 1}
    with running_server(folder, folder / "studies", conf=conf) as running:
        yield running


def use(server):
    """Everything a viewer does, and what goes wrong, with a name in each file and each field."""
    first = f"{NAME}-0"
    for content in (nifti(NOISE), *(entry[0] for entry in BAD_SCANS.values())):
        server.infer("hippocampus", files={"file": (f"{NAME}.nii", content)})
        server.put(
            "/datastore/image", files={"file": (f"{NAME}.nii", content)}, params={"image": f"{NAME}-up"}
        )
    server.infer("hippocampus", first, output="json", patient=NAME)
    server.infer(NAME, NAME)
    server.post("/batch/infer/hippocampus?run_sync=true", json={"client_id": NAME})
    for strategy in ("random", "entropy", "uniform", NAME):
        server.post(f"/activelearning/{strategy}", json={"client_id": NAME})
    server.put("/datastore/image/info", params={"image": first}, data={"info": json.dumps({"note": NAME})})
    label = {"label": (f"{NAME}.nii", nifti((NOISE > 120).astype(np.uint8)))}
    info = {"label_info": [{"name": "anterior", "idx": 1}], "client_id": NAME}
    server.put("/datastore/label", params={"image": first}, files=label, data={"params": json.dumps(info)})
    server.put("/datastore/label", params={"image": NAME}, files=label)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{NAME}/{NAME}.dcm", b"no DICOM")
    for name, content in (
        (f"{NAME}.nii", nifti(NOISE)),
        (f"{NAME}.zip", packed.getvalue()),
        (f"{NAME}.zip", b""),
    ):
        answer = server.put("/session/?uncompress=true", files={"files": (name, content)})
        answer = server.put("/session/", files={"files": (name, content)}) if not answer.ok else answer
        if answer.ok:
            server.infer("hippocampus", session_id=answer.json()["session_id"])
    server.put(f"/model/{NAME}", files={"file": (f"{NAME}.pt", b"")})
    server.get(f"/datastore/label?label={NAME}&tag={NAME}")
    server.get("/datastore/dataset")
    server.delete(f"/datastore/label?id={NAME}&tag=final")
    server.post("/scoring/entropy?run_sync=true", json={})
    server.post("/train/hippocampus?run_sync=true", json={"client_id": NAME})
    server.delete(f"/datastore/image?id={NAME}-up")


@pytest.mark.timeout(900)
def test_no_name_comes_into_the_log(server):
    use(server)
    assert server.stays_up()
    lines = [line for line in server.log.read_text().splitlines() if NAME in line]
    assert lines == []
    shown = server.get("/logs/?lines=10000&text=true").text
    assert NAME not in shown
    assert "hippocampus" in shown, "the log still says what the server does"
