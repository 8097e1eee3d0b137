"""A real MONAI Label server on 127.0.0.1 with real scans, for every test in this folder."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests

from segtrust.inference import Predictor
from segtrust.models import Label, find_models, open_version, shipped_models_dir

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_SECONDS = 240


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def hippocampus_scans(hippocampus_dir) -> list[Path]:
    names = json.loads((hippocampus_dir / "splits.json").read_text())["splits"]["test"][:4]
    return [hippocampus_dir / "images" / f"{name}.nii.gz" for name in names]


@dataclass
class Server:
    url: str
    studies: Path
    process: subprocess.Popen
    log: Path
    connections: Path

    def post(self, path, **options):
        return requests.post(f"{self.url}{path}", timeout=300, **options)

    def put(self, path, **options):
        return requests.put(f"{self.url}{path}", timeout=300, **options)

    def get(self, path, **options):
        return requests.get(f"{self.url}{path}", timeout=60, **options)

    def delete(self, path, **options):
        return requests.delete(f"{self.url}{path}", timeout=60, **options)

    def infer(self, task, image="", *, output=None, files=None, session_id="", **params):
        query = {"image": image, "session_id": session_id} | ({"output": output} if output else {})
        data = {"params": json.dumps(params)}
        return self.post(f"/infer/{task}", params=query, data=data, files=files)

    def stays_up(self):
        return self.process.poll() is None and self.get("/info/").status_code == 200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_server(folder: Path, scans, *, app=ROOT / "apps" / "uncertainty", conf=None):
    """Start a server on a copy of an app and of scans; end exactly this process."""
    studies = folder / "studies"
    studies.mkdir(parents=True)
    for scan in scans:
        shutil.copyfile(scan, studies / scan.name)
    copy = folder / app.name
    shutil.copytree(app, copy, ignore=shutil.ignore_patterns("logs", "model", "bin", "lib", "__pycache__"))
    port, log, connections = free_port(), folder / "server.log", folder / "connections.log"
    connections.touch()
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(copy)]
    command += ["--studies", str(studies), "--host", "127.0.0.1", "--port", str(port)]
    for key, value in (conf or {}).items():
        command += ["--conf", key, str(value)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE / "guard"), str(ROOT / "lib")]),
        "SEGTRUST_CONNECTION_LOG": str(connections),
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    server = Server(f"http://127.0.0.1:{port}", studies, process, log, connections)
    try:
        wait_until_up(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def wait_until_up(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(f"{server.url}/info/", timeout=5).ok:
                return
        time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{server.log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def model_folder(make_model, tiny_spec) -> Path:
    """The trained model that ships, or one with random weights as long as it is not trained."""
    shipped = find_models(shipped_models_dir())
    if "hippocampus" in shipped:
        return shipped["hippocampus"]
    labels = (Label("anterior", 1, 1), Label("posterior", 2, 2))
    return make_model(replace(tiny_spec, name="hippocampus", labels=labels, extent_mm=((20.0, 80.0),) * 3))


@pytest.fixture(scope="session")
def server(tmp_path_factory, hippocampus_scans, model_folder):
    """The server that most tests share; a test that labels or scores takes one of its own."""
    folder = tmp_path_factory.mktemp("shared-server")
    with running_server(folder, hippocampus_scans, conf={"models_dir": model_folder.parent}) as running:
        yield running


@pytest.fixture(scope="session")
def predictor(model_folder) -> Predictor:
    """The library called directly: what the server must agree with."""
    return Predictor(open_version(model_folder))


@pytest.fixture
def scan_id(server, hippocampus_scans) -> str:
    return hippocampus_scans[0].name.split(".")[0]
