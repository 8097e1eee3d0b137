"""What lies around after requests that were refused, and after a server that was killed."""

import io
import os
import signal
import socket
import stat
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bad_scans import NOISE, nifti
from live_server import running_server, until

BIG = bytes(3 << 20)  # above what a multipart parser keeps in memory


@pytest.fixture(scope="module")
def place(tmp_path_factory, hippocampus_scans, model_folder):
    folder = tmp_path_factory.mktemp("leftovers")
    (folder / "studies").mkdir()
    nib.save(nib.Nifti1Image(NOISE, np.eye(4)), folder / "studies" / "a.nii.gz")
    (folder / "tmp").mkdir()
    return folder


def start(place, model_folder, name):
    conf = {"models_dir": model_folder.parent, "warm_up": "false"}
    environment = {"TMPDIR": str(place / "tmp"), "MONAI_LABEL_SESSION_PATH": str(place / "sessions")}
    return running_server(place / name, place / "studies", conf=conf, environment=environment)


def left(place):
    """Files below the system's place for temporary files, but MONAI Label's own copy of its log settings."""
    # os.walk: folders may go while they are read, which Path.rglob of Python 3.11 does not bear.
    paths = [Path(folder) / name for folder, _, names in os.walk(place / "tmp") for name in names]
    files = [p for p in paths if p.is_file() and "pymp-" not in str(p)]
    return [p for p in files if not (p.parent == place / "tmp" and p.suffix == ".json")]


def nothing_stays(place):
    """Whether nothing is left a moment after an answer: its last byte arrives before the files go."""
    until(lambda: left(place) == [], 20, lambda: f"left: {left(place)}")
    return True


def archive(*members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in members:
            member = tarfile.TarInfo(name)
            member.size = len(BIG)
            tar.addfile(member, io.BytesIO(BIG))
    return content.getvalue()


REFUSED = {
    "infer, no scan": ("POST", "/infer/hippocampus", {"file": ("x.nii.gz", BIG)}),
    "infer, no model": ("POST", "/infer/nobody", {"file": ("x.nii.gz", BIG)}),
    "whole slides": ("POST", "/infer/wsi_v2/hippocampus", {"file": ("x.png", BIG)}),
    "image": ("PUT", "/datastore/image?image=b", {"file": ("x.py", BIG)}),
    "image, old route": ("PUT", "/datastore/?image=../b", {"file": ("x.nii.gz", BIG)}),
    "label, no scan": ("PUT", "/datastore/label?image=nobody", {"label": ("x.nii.gz", BIG)}),
    "label, none": ("PUT", "/datastore/label?image=a", {"label": ("x.nii.gz", BIG)}),
    "weights": ("PUT", "/model/hippocampus", {"file": ("x.pt", BIG)}),
    "session, cut off": ("PUT", "/session/?uncompress=true", {"files": ("x.tar.gz", b"\x1f\x8b" + BIG)}),
    "session, escapes": ("PUT", "/session/?uncompress=true", {"files": ("x.tar", archive("a", "../../b"))}),
}


@pytest.fixture(scope="module")
def running(place, model_folder):
    with start(place, model_folder, "first") as server:
        yield server


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_left_of_what_was_refused(place, running, case):
    method, path, files = REFUSED[case]
    answer = running.request(method, path, files=files)
    assert answer.status_code >= 400, answer.text
    assert nothing_stays(place)
    assert [p.name for p in (place / "sessions").rglob("*")] == []
    assert {p.name for p in (place / "studies").glob("*.nii.gz")} == {"a.nii.gz"}


@pytest.mark.parametrize("output", ["image", "json", "all"])
def test_nothing_is_left_of_an_answer(place, running, output):
    answer = running.infer("hippocampus", files={"file": ("x.nii", nifti(NOISE))}, output=output)
    assert answer.status_code == 200
    assert nothing_stays(place)


def test_sessions_and_temporary_files_are_for_the_servers_user_alone(place, running):
    (private,) = (place / "tmp").glob("segtrust-*")
    for folder in (private, *private.iterdir(), place / "sessions"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_killed_server_left_is_gone_after_the_next_start(place, running, model_folder):
    port = int(running.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as upload:
        head = "POST /infer/hippocampus HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n"
        head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        head += 'Content-Disposition: form-data; name="file"; filename="Mueller.nii.gz"\r\n\r\n'
        upload.sendall(head.encode() + BIG)
        (private,) = (place / "tmp").glob("segtrust-*")
        until(lambda: list(private.glob("*/r-*")), 60, lambda: "the upload did not arrive")
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(60)
    assert list(private.glob("*/r-*"))
    with start(place, model_folder, "second"):
        assert list(private.glob("*/r-*")) == []
        assert left(place) == []
