"""DICOM through `/session/`: one reader as everywhere, whatever the archive holds beside the slices."""

import io
import zipfile

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from dicom_phantoms import make_series
from dicom_refusals import REFUSALS


def packed(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def session(server, files):
    answer = server.put("/session/?uncompress=true", files={"files": ("scan.zip", packed(files))})
    return answer.json()["session_id"] if answer.ok else answer


def slices(folder, prefix=""):
    return {f"{prefix}{file.name}": file.read_bytes() for file in sorted(folder.glob("*.dcm"))}


SHAPE = {"shape": (32, 40, 24), "spacing": (1.0, 1.0, 1.0)}


def test_what_a_file_manager_packs_beside_a_series_does_no_harm(server, tmp_path):
    folder = make_series(tmp_path / "mr", **SHAPE)
    files = slices(folder, "patient/study 1/series/")
    files |= {"DICOMDIR": b"index", "patient/README.txt": b"hello", "patient/.DS_Store": b"\0"}
    files |= {f"__MACOSX/{name}": b"\0\5\x16\7" for name in list(files)}
    answer = server.infer("hippocampus", session_id=session(server, files), output="json")
    assert answer.status_code == 200, answer.text
    series = answer.json()["segtrust"]["series"]
    assert series["uid"] == dcmread(folder / "000.dcm").SeriesInstanceUID
    assert series["slices"] == 24


@pytest.mark.parametrize(
    "name", ["gap", "uneven", "same instance", "two series", "tilted gantry", "same place"]
)
def test_what_the_page_lists_is_refused(server, tmp_path, name):
    change, _ = REFUSALS[name]
    files = slices(make_series(tmp_path / "mr", change=change))
    answer = server.infer("hippocampus", session_id=session(server, files), output="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "scan_series"), answer.text
    assert "must have" in answer.json()["detail"]
    assert server.stays_up()


def test_an_archive_without_a_scan_is_refused(server):
    refused = session(server, {})
    assert (refused.status_code, refused.json()["code"]) == (404, "scan_missing")
    answer = server.infer(
        "hippocampus", session_id=session(server, {"a.txt": b"x", "b.txt": b"y"}), output="json"
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "scan_unreadable")


def test_the_mask_lies_over_the_slices(server, tmp_path):
    folder = make_series(tmp_path / "mr", **SHAPE, right=(0, 1, 0), down=(0, 0, -1))
    answer = server.infer("hippocampus", session_id=session(server, slices(folder)), output="image")
    assert answer.status_code == 200
    (tmp_path / "mask.nii.gz").write_bytes(answer.content)
    mask = nib.load(tmp_path / "mask.nii.gz")
    first = np.array(dcmread(folder / "000.dcm").ImagePositionPatient, float) * (-1, -1, 1)
    corners = [mask.affine @ [i * (mask.shape[0] - 1), j * (mask.shape[1] - 1), k * (mask.shape[2] - 1), 1]
               for i in (0, 1) for j in (0, 1) for k in (0, 1)]  # fmt: skip
    assert min(np.linalg.norm(corner[:3] - first) for corner in corners) < 0.01
