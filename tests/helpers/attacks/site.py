"""A served site that is killed and starts again in seconds: forked from a process with all imports."""

import contextlib
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from live_server import free_port
from phantoms import make_blob, publish_random_version, spec_of, write_scan

__all__ = ["ROOT", "Site", "make_site", "until"]

ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 120
_SETTINGS = {"auto_score": "false", "models": "tiny", "label_history": "100000", "warm_up": "false"}


@dataclass
class Site:
    """Folders of a site and the process that serves it."""

    folder: Path
    studies: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: Any = None

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        """Folder of the state file."""
        return Path(self.settings["state_dir"])

    def start(self) -> None:
        """Serve, and wait until it answers."""
        command = ["monailabel", "start_server", "--app", str(self.folder / "app")]
        command += ["--studies", str(self.studies), "--host", "127.0.0.1", "--port", str(self.port)]
        for key, value in self.settings.items():
            command += ["--conf", key, value]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["monailabel.main", "monailabel.app", "segtrust.label.app"])
        self.process = context.Process(target=_serve, args=(command, str(self.folder / "server.log")))
        self.process.start()
        until(self.answers, _START_SECONDS, f"the server did not start: {self.folder / 'server.log'}")

    def answers(self) -> bool:
        """Whether the server answers; fails if it ended."""
        if not self.process.is_alive():
            raise RuntimeError(f"the server ended by itself: {self.folder / 'server.log'}")
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/info/", timeout=10).ok
        return False

    def kill(self) -> None:
        """``kill -9``, with all processes it started."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.join(60)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.close()

    def memory(self) -> int:
        """Bytes that the server holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @contextlib.contextmanager
    def served(self) -> Iterator["Site"]:
        """Serve as long as the ``with`` runs."""
        self.start()
        try:
            yield self
        finally:
            self.kill()


def make_site(folder: Path, scans: int, *, studies: Path | None = None) -> Site:
    """Make a site of small scans ``scan-0``, ``scan-1``, ... and a model of random weights.

    Args:
        folder: made anew.
        scans: how many.
        studies: where the scans are put; a folder of the site unless given.

    Returns:
        The site, not served yet.
    """
    shutil.rmtree(folder, ignore_errors=True)
    models, studies = folder / "models", studies or folder / "studies"
    for each in (models, studies, folder / "temp"):
        each.mkdir(parents=True, exist_ok=True)
    publish_random_version(models / "tiny", spec_of())
    first = write_scan(make_blob(), folder / "scan.nii.gz")
    for number in range(scans):
        shutil.copyfile(first, studies / f"scan-{number}.nii.gz")
    shutil.copytree(
        ROOT / "apps" / "uncertainty", folder / "app", ignore=shutil.ignore_patterns("logs", "__pycache__")
    )
    settings = {
        "models_dir": str(models),
        "state_dir": str(folder / "state"),
        "temp_dir": str(folder / "temp"),
    }
    return Site(folder, studies, settings | _SETTINGS)


def _serve(command: list[str], log: str) -> None:
    """What ``monailabel start_server`` does, in a process forked from one that has imported it."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ["MONAI_LABEL_SESSIONS"] = "true"
    sys.argv = command
    from monailabel.main import Main  # noqa: PLC0415 -- in the process that serves

    Main().run()


def until(is_so: Any, seconds: float, complaint: str) -> None:
    """Ask again and again; fail with a complaint when the time is over."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(0.05)
