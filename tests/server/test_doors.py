"""No file is opened that was not sent, and no file holds the server up, whatever its header says."""

import gzip
import io
import json
import os
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from bad_scans import NOISE, nifti

SECRET = b"patient 4711, do not tell" * 40


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.bin"
    path.write_bytes(SECRET)
    return path


def nrrd(*lines, sizes="10 10 10", kind="uint8"):
    header = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        f"sizes: {sizes}",
        "encoding: raw",
        "endian: little",
    ]
    return "\n".join([*header, "space: left-posterior-superior", *lines, "", ""]).encode()


def mha(data_file, size="10 10 10", kind="MET_UCHAR"):
    return (
        f"ObjectType = Image\nNDims = 3\nDimSize = {size}\nElementSpacing = 1 1 1\nElementType = {kind}\n"
        f"ElementDataFile = {data_file}\n"
    ).encode()


def pair(magic=b"ni1\0"):
    header = bytearray(nib.Nifti1Image(np.zeros((10, 10, 10), np.uint8), np.eye(4)).to_bytes()[:352])
    header[344:348] = magic
    return bytes(header)


def detached(secret):
    """Every way to make a header name another file."""
    first = secret.parent / "secre%c.bin"
    return {
        "nrrd": ("x.nrrd", nrrd(f"data file: {secret}")),
        "nrrd, one word": ("x.nrrd", nrrd(f"datafile: {secret}")),
        "nrrd, capitals": ("x.nrrd", nrrd(f"Data File: {secret}")),
        "nrrd, spaces": ("x.nrrd", nrrd(f" data  file : {secret}")),
        "nrrd, list": ("x.nrrd", nrrd(f"data file: LIST\n{secret}")),
        "nrrd, pattern": ("x.nrrd", nrrd(f"data file: {first} 116 116 1 3")),
        "nrrd, skip": ("x.nrrd", nrrd("byte skip: -1")),
        "nrrd, carriage return": ("x.nrrd", nrrd(f"content: a\rdata file: {secret}")),
        "seg.nrrd": ("x.seg.nrrd", nrrd(f"data file: {secret}")),
        "nrrd as nii": ("x.nii", nrrd(f"data file: {secret}")),
        "nrrd as nii.gz": ("x.nii.gz", nrrd(f"data file: {secret}")),
        "nrrd in gzip": ("x.nii.gz", gzip.compress(nrrd(f"data file: {secret}"))),
        "mha": ("x.mha", mha(secret)),
        "mha, list": ("x.mha", mha(f"LIST\n{secret}")),
        "mha, pattern": ("x.mha", mha(f"{first} 116 116 1")),
        "mha as nrrd": ("x.nrrd", mha(secret)),
        "mha as nii": ("x.nii", mha(secret)),
        "mhd": ("x.mhd", mha(secret)),
        "nhdr": ("x.nhdr", nrrd(f"data file: {secret}")),
        "pair": ("x.nii", pair()),
        "hdr": ("x.hdr", pair()),
    }


CASES = sorted(detached(Path("/x/secret.bin")))


@pytest.mark.parametrize("case", CASES)
def test_no_door_opens_a_file_that_a_header_names(server, scan_id, secret, case):
    name, content = detached(secret)[case]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(name, content)
    scan = f"/infer/hippocampus?image={scan_id}"
    answers = {
        "label": server.put(f"/datastore/label?image={scan_id}&tag=mine", files={"label": (name, content)}),
        "final": server.put(f"/datastore/label?image={scan_id}", files={"label": (name, content)}),
        "image": server.put("/datastore/image?image=evil", files={"file": (name, content)}),
        "infer": server.post("/infer/hippocampus", files={"file": (name, content)}),
    }
    label = server.post(scan, files={"label": (name, content)})  # which no task reads
    assert SECRET[:20] not in label.content
    for door, answer in answers.items():
        assert answer.status_code in {400, 422}, (door, answer.status_code, answer.text[:300])
        assert SECRET[:20] not in answer.content
    for upload, query in ((content, "false"), (archive.getvalue(), "true")):
        files = {"files": (name if query == "false" else "x.zip", upload)}
        answer = server.put(f"/session/?uncompress={query}", files=files)
        if answer.ok:  # kept under a name that nothing opens by itself
            answer = server.infer("hippocampus", session_id=answer.json()["session_id"])
        assert answer.status_code == 422, answer.text[:300]
        assert SECRET[:20] not in answer.content
    stored = server.get(f"/datastore/label?label={scan_id}&tag=mine")
    assert stored.status_code == 404
    assert SECRET[:20] not in stored.content
    assert server.get("/datastore/image?image=evil").status_code == 404


def huge(kind):
    """Small files that claim much."""
    if kind == "inline header of 1000^3 floats":
        return "x.nrrd", nrrd(sizes="1000 1000 1000", kind="float")
    if kind == "mha of 1000^3 doubles":
        return "x.mha", mha("LOCAL", "1000 1000 1000", "MET_DOUBLE")
    if kind == "gzip of 4 GB":
        header = bytearray(nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4)).to_bytes()[:352])
        header[42:48] = struct.pack("<3h", 2000, 2000, 1000)
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
            file.write(header)
            for _ in range(64):
                file.write(bytes(1 << 20))
        return "x.nii.gz", packed.getvalue()
    header = bytearray(nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4)).to_bytes()[:352])
    header[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    return "x.nii", bytes(header)


def memory(server):
    status = (Path("/proc") / str(server.process.pid) / "status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) << 10


@pytest.mark.parametrize(
    "kind", ["inline header of 1000^3 floats", "mha of 1000^3 doubles", "gzip of 4 GB", "30000^3 NIfTI"]
)
def test_what_a_header_claims_is_bounded_before_memory_is_asked_for(server, scan_id, kind):
    name, content = huge(kind)
    before, began = memory(server), time.monotonic()
    answers = [
        server.post("/infer/hippocampus", files={"file": (name, content)}),
        server.put("/datastore/image?image=huge", files={"file": (name, content)}),
        server.put(f"/datastore/label?image={scan_id}&tag=mine", files={"label": (name, content)}),
        server.put("/session/", files={"files": (name, content)}),
    ]
    for answer in answers:
        assert answer.status_code in {400, 422}, answer.text
    assert answers[0].json()["code"] == "scan_too_large"
    assert "max_voxels" in answers[0].json()["detail"]
    assert "268,435,456" in answers[0].json()["detail"]
    assert memory(server) - before < 200 << 20
    assert time.monotonic() - began < 60


def test_a_spacing_that_is_too_large_is_refused_before_anything_is_resampled(server):
    content = nib.Nifti1Image(NOISE, np.diag([25.0, 25.0, 25.0, 1.0])).to_bytes()
    answer = server.post("/infer/hippocampus", files={"file": ("x.nii", content)})
    assert (answer.status_code, answer.json()["code"]) == (422, "scan_too_large"), answer.text
    assert "max_grid_voxels" in answer.json()["detail"]


def test_a_pipe_among_the_studies_holds_nobody_up(server, scan_id):
    pipe = server.studies / "pipe.nii.gz"
    os.mkfifo(pipe)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            server.put("/datastore/image/info?image=pipe", data={"info": json.dumps({"note": "x"})})
            answer = server.infer("hippocampus", "pipe", output="json")
            if answer.status_code == 404:
                break
        assert answer.status_code in {404, 422}, answer.text
        assert server.get("/datastore/image?image=pipe").status_code == 404
        assert "pipe" not in server.get("/datastore/?output=all").json()["objects"]
        assert server.post("/scoring/entropy").status_code in {200, 429}
        assert server.infer("hippocampus", scan_id, output="json").status_code == 200
    finally:
        pipe.unlink()
    assert server.stays_up()


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "device"])
def test_an_archive_with_anything_but_plain_files_is_refused(server, secret, kind):
    content = io.BytesIO()
    types = {
        "link": tarfile.SYMTYPE,
        "hard link": tarfile.LNKTYPE,
        "pipe": tarfile.FIFOTYPE,
        "device": tarfile.CHRTYPE,
    }
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("scan.nii")
        member.type, member.linkname = types[kind], str(secret)
        archive.addfile(member)
    answer = server.put("/session/?uncompress=true", files={"files": ("x.tar", content.getvalue())})
    assert answer.status_code == 422, answer.text
    assert "link, a device or a pipe" in answer.json()["detail"]


def test_an_archive_with_a_scan_is_a_session(server):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("folder/scan.nii.gz", nifti(NOISE, ".nii.gz"))
    answer = server.put("/session/?uncompress=true", files={"files": ("x.zip", content.getvalue())})
    assert answer.status_code == 200, answer.text
    answer = server.infer("hippocampus", session_id=answer.json()["session_id"], output="json")
    assert answer.status_code == 200, answer.text


def test_work_ends_when_the_client_goes_away(server):
    # a scan that takes minutes: the second answer comes soon only if the first was given up
    scan = nib.Nifti1Image(np.tile(NOISE, (4, 4, 4)), np.diag([1.5, 1.5, 1.5, 1.0])).to_bytes()
    with pytest.raises(requests.Timeout):
        server.post("/infer/hippocampus", files={"file": ("big.nii", scan)}, timeout=8)
    began = time.monotonic()
    files = {"file": ("small.nii", nifti(NOISE))}
    assert server.post("/infer/hippocampus?output=json", files=files).status_code == 200
    assert time.monotonic() - began < 60


def stored_label(server, scan_id, affine, values):
    content = nib.Nifti1Image(values, affine).to_bytes()
    return server.put(f"/datastore/label?image={scan_id}", files={"label": ("x.nii", content)})


def test_a_label_in_another_voxel_order_is_stored_on_its_scan(server, hippocampus_scans):
    path = hippocampus_scans[1]
    scan, scan_id = nib.load(path), path.name.split(".")[0]
    values = np.zeros(scan.shape, np.uint8)
    values[3:9, 5:8, 2:4] = 1
    image = nib.Nifti1Image(values, scan.affine)
    turned = image.as_reoriented(nib.orientations.axcodes2ornt("LPS"))
    answer = stored_label(server, scan_id, turned.affine, np.asarray(turned.dataobj))
    assert answer.status_code == 200, answer.text
    stored = server.get(f"/datastore/label?label={scan_id}&tag=final")
    got = nib.Nifti1Image.from_bytes(stored.content)
    assert np.array_equal(np.asarray(got.dataobj), values)
    np.testing.assert_allclose(got.affine, scan.affine, atol=1e-4)
    assert server.delete(f"/datastore/label?id={scan_id}&tag=final").status_code == 200


@pytest.mark.parametrize("kind", ["elsewhere", "other size"])
def test_a_label_that_lies_elsewhere_is_refused_and_nothing_is_stored(server, hippocampus_scans, kind):
    path = hippocampus_scans[1]
    scan, scan_id = nib.load(path), path.name.split(".")[0]
    affine = scan.affine.copy()
    affine[:3, 3] += 100 if kind == "elsewhere" else 0
    values = np.ones(scan.shape, np.uint8)[1 if kind == "other size" else 0 :]
    answer = stored_label(server, scan_id, affine, values)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].count("voxels of 1 x 1 x 1 mm") == 2
    assert server.get(f"/datastore/label?label={scan_id}&tag=final").status_code == 404
