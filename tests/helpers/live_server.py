"""A real MONAI Label server as a process of its own, ended in any case."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

__all__ = ["ROOT", "Server", "ended", "free_port", "running_server", "until"]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 480  # a machine with other work needs more than half of it
_GUARD = ROOT / "tests" / "server" / "guard"


@dataclass
class Server:
    """A server that runs; ``inside`` is entered for every request, for a server in another network."""

    url: str
    studies: Path | str
    process: subprocess.Popen
    log: Path
    connections: Path
    inside: Callable[[], AbstractContextManager] = nullcontext

    def request(self, method, path, *, timeout=300, **options):
        with self.inside():
            return requests.request(method, f"{self.url}{path}", timeout=timeout, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)

    def put(self, path, **options):
        return self.request("PUT", path, **options)

    def get(self, path, **options):
        return self.request("GET", path, timeout=60, **options)

    def delete(self, path, **options):
        return self.request("DELETE", path, timeout=60, **options)

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
def running_server(
    folder: Path,
    studies: Path | str,
    *,
    app: Path = ROOT / "apps" / "uncertainty",
    conf: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
    port: int = 0,
    command_prefix: Sequence[str] = (),
    inside: Callable[[], AbstractContextManager] = nullcontext,
) -> Iterator[Server]:
    """Start a server on a copy of an app; end exactly this process."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / app.name
    shutil.copytree(app, copy, ignore=shutil.ignore_patterns("logs", "model", "bin", "lib", "__pycache__"))
    port, log, connections = port or free_port(), folder / "server.log", folder / "connections.log"
    connections.touch()
    command = [*command_prefix, sys.executable, "-m", "monailabel.main", "start_server", "--app", str(copy)]
    command += ["--studies", str(studies), "--host", "127.0.0.1", "--port", str(port)]
    for key, value in (conf or {}).items():
        command += ["--conf", key, str(value)]
    variables = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(_GUARD), str(ROOT / "lib")]),
        "SEGTRUST_CONNECTION_LOG": str(connections),
        "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=variables | (environment or {}), cwd=folder
        )
    server = Server(f"http://127.0.0.1:{port}", studies, process, log, connections, inside)

    def is_up() -> bool:
        if process.poll() is not None:
            pytest.fail(f"the server ended:\n{log.read_text()[-4000:]}")
        with inside(), contextlib.suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(f"{server.url}/info/", timeout=5).status_code in {200, 401}
        return False

    with ended(process):
        until(is_up, START_SECONDS, lambda: f"the server did not start:\n{log.read_text()[-4000:]}")
        yield server


@contextlib.contextmanager
def ended(process: subprocess.Popen) -> Iterator[None]:
    """End a process when the ``with`` does, by force if it does not listen."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def until(is_so: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    """Ask again and again; fail with a complaint when the time is over."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(complaint())
        time.sleep(0.2)
