"""Scoring of a real server over HTTP: in the background, with viewers first, through a kill of the server."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import live_server
from live_server import ROOT, until
from phantoms import make_blob, write_scan

SCANS = 120  # enough that a kill falls into the scoring on a fast machine, too


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scoring")


@pytest.fixture(scope="module")
def studies(folder):
    (folder / "studies").mkdir()
    for number in range(SCANS):
        write_scan(make_blob(seed=number), folder / "studies" / f"scan{number:02d}.nii.gz")
    (folder / "studies" / "broken.nii.gz").write_bytes(gzip.compress(b"no scan"))
    return folder / "studies"


@pytest.fixture(scope="module")
def conf(folder, tiny_model_original):
    shutil.copytree(tiny_model_original, folder / "models" / "tiny")
    return {"models": "tiny", "models_dir": folder / "models", "warm_up": "false", "device": "cpu"}


def status(server):
    answer = server.get("/scoring/entropy")
    assert answer.status_code == 200, answer.text
    return answer.json()["tiny"]


def test_scoring_goes_on_after_a_kill_while_viewers_are_served_and_does_nothing_twice(folder, studies, conf):
    with live_server.running_server(folder / "first", studies, conf=conf) as server:
        assert server.get("/scoring/").status_code == 404
        assert status(server)["state"] == "idle"
        asked = server.post("/scoring/entropy", json={})
        assert asked.status_code == 200, asked.text
        assert asked.json()["status"] in {"SUBMITTED", "RUNNING"}
        seen = server.infer("tiny", "scan00", output="json")
        assert seen.status_code == 200, seen.text
        until(lambda: status(server)["done"] > 0, 300, lambda: str(status(server)))
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(60)
    with live_server.running_server(folder / "second", studies, conf=conf) as server:
        until(lambda: server.get("/scoring/").json()["status"] == "DONE", 300, lambda: str(status(server)))
        found = status(server)
        assert (found["done"], found["total"], found["failed"], found["left_s"]) == (
            SCANS + 1,
            SCANS + 1,
            1,
            0,
        )
        assert "cannot be read" in found["reasons"].get("broken", "cannot be read")  # or told before the kill
        again = server.post("/scoring/entropy?run_sync=true", json={}).json()
        assert (again["scores"], again["skipped"], again["failed"]) == ({}, SCANS + 1, {})
        assert server.delete("/scoring/").json() is None
        served = server.post("/activelearning/entropy", json={}).json()
        assert served["score"] is not None
        assert server.connections.read_text() == ""


def test_monai_labels_own_process_for_scoring_works_on_the_same_state(folder, studies, conf):
    app = folder / "beside"
    shutil.copytree(ROOT / "apps" / "uncertainty", app, ignore=shutil.ignore_patterns("logs", "__pycache__"))
    write_scan(make_blob(seed=99), studies / "later.nii.gz")
    result = folder / "result.json"
    command = [sys.executable, "-m", "monailabel.interfaces.utils.app", "-m", "scoring"]
    command += ["-r", json.dumps({"method": "entropy"}), "-o", str(result)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "lib"),
        "OMP_NUM_THREADS": "1",
        "MONAI_LABEL_APP_DIR": str(app),
        "MONAI_LABEL_STUDIES": str(studies),
        "MONAI_LABEL_APP_CONF": json.dumps({key: str(value) for key, value in conf.items()}),
    }
    subprocess.run(command, env=environment, check=True, timeout=300)
    found = json.loads(result.read_text())
    assert set(found["scores"]) == {"later"}
    assert found["skipped"] == SCANS + 1
