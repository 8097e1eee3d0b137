"""A real MONAI Label server in a process of its own, on this machine only, started and stopped by us."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from segtrust.errors import SegtrustError

__all__ = ["LabelServer", "ServerError", "sample_app"]

_START_SECONDS = 180.0
_STOP_SECONDS = 15.0


class ServerError(SegtrustError, RuntimeError):
    """The server did not start, ended, or answered with an error."""

    code = "server"


def sample_app(name: str) -> Path:
    """Folder of a sample app: beside the source tree if it runs from there, else where the wheel put it.

    Args:
        name: name of the app, as ``monailabel apps`` lists it.

    Returns:
        The folder; the server writes into an app's folder, so serve a copy.

    Raises:
        ServerError: if there is none.
    """
    tree = Path(__file__).parents[4]
    homes = (tree / "sample-apps", tree / "apps", Path(sys.prefix) / "monailabel" / "sample-apps")
    for home in homes:
        if (home / name / "main.py").is_file():
            return home / name
    raise ServerError(
        f"the sample app {name!r} must lie in {' or '.join(map(str, homes))}. Install segtrust as a wheel."
    )


class LabelServer:
    """MONAI Label on 127.0.0.1, serving a copy of a sample app.

    Use it as a context manager: the server has answered ``/info/`` once inside, and has ended after.

    Args:
        app: name of the sample app.
        studies: folder of scans; the server writes into it.
        work: folder for the copy of the app.
        log: file that gets what the server writes.
        port: port to listen on; 0 picks a free one.
        conf: settings of the app with their values.
    """

    def __init__(
        self,
        app: str,
        studies: Path,
        work: Path,
        *,
        log: Path,
        port: int = 0,
        conf: Sequence[Sequence[str]] = (),
    ) -> None:
        self.app = work / "app"
        self.studies = studies
        self.log = log
        self._conf = conf
        self.port = port or _free_port()
        self._source = sample_app(app)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        shutil.rmtree(self.app, ignore_errors=True)
        shutil.copytree(
            self._source,
            self.app,
            ignore=shutil.ignore_patterns("__pycache__", "model", "logs", "bin", "lib"),
        )
        command = [sys.executable, "-m", "monailabel.main", "start_server"]
        command += ["--app", str(self.app), "--studies", str(self.studies)]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        for key, text in self._conf:
            command += ["--conf", key, text]
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches us first, and stopping it stops its children.
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def info(self) -> dict[str, Any]:
        """What the server says about itself."""
        answer = requests.get(f"{self.url}/info/", timeout=30)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def wait(self) -> None:
        """Block until the server ends."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End the server and what it started; does nothing if it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                return
            os.killpg(process.pid, sign)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the server wrote, for messages."""
        text = self.log.read_text("utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerError(f"the server ended while it started. Its last lines:\n{self.log_tail()}")
            try:
                self.info()
            except requests.RequestException:
                time.sleep(0.25)
            else:
                return
        raise ServerError(
            f"the server did not answer within {_START_SECONDS:.0f} s. Its last lines:\n{self.log_tail()}"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
