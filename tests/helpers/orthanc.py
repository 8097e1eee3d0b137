"""A real Orthanc with DICOMweb and our server in front of it, both in a network namespace of their own.

Debian's Orthanc listens on every address; in the namespace there is none but 127.0.0.1. What talks to the two
must be in there as well: a thread of this process inside ``with network.entered()``, a program behind
``network.command_prefix``.
"""

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from live_server import Server, ended, running_server, until

__all__ = ["Namespace", "Pacs", "namespace", "orthanc", "pacs_with_server"]

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_ORTHANC_PORT, _SERVER_PORT = 8042, 8000  # nobody else is in the namespace
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


@dataclass(frozen=True)
class Namespace:
    """A network of this machine with nothing in it but a loopback device."""

    name: str

    @property
    def command_prefix(self) -> list[str]:
        """What stands before a command that shall run inside."""
        return ["ip", "netns", "exec", self.name]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move this thread, and the programs and threads that it starts, into the namespace."""
        with Path("/proc/thread-self/ns/net").open("rb") as outside:
            with Path(f"/run/netns/{self.name}").open("rb") as inside:
                _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(outside.fileno())


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


@dataclass(frozen=True)
class Pacs:
    """An Orthanc that runs. Its addresses hold inside ``network`` only."""

    network: Namespace
    url: str
    log: Path

    @property
    def dicomweb(self) -> str:
        """Root of DICOMweb: what MONAI Label is given as studies."""
        return f"{self.url}/dicom-web"

    def push(self, *folders: Path) -> None:
        """Send every file of the folders."""
        with self.network.entered(), requests.Session() as session:
            for file in (file for folder in folders for file in sorted(folder.rglob("*.dcm"))):
                answer = session.post(f"{self.url}/instances", data=file.read_bytes(), timeout=60)
                assert answer.ok, f"{file.name}: {answer.status_code} {answer.text}"

    def get(self, path: str, **options) -> requests.Response:
        """``GET`` of Orthanc's own interface, as ``/series`` or ``/instances/ID/file``."""
        with self.network.entered():
            return requests.get(f"{self.url}{path}", timeout=60, **options)

    def delete(self, path: str) -> requests.Response:
        """``DELETE`` of Orthanc's own interface."""
        with self.network.entered():
            return requests.delete(f"{self.url}{path}", timeout=60)

    def find(self, level: str, **query: str) -> list[str]:
        """Orthanc's ids of the studies, series or instances (``level``) that match DICOM keywords."""
        with self.network.entered():
            asked = {"Level": level, "Query": query}
            return requests.post(f"{self.url}/tools/find", json=asked, timeout=60).json()

    def files(self, series_uid: str, folder: Path) -> list[Path]:
        """Fetch the files of a series."""
        folder.mkdir(parents=True, exist_ok=True)
        found = []
        for instance in self.find("Instance", SeriesInstanceUID=series_uid):
            path = folder / f"{instance}.dcm"
            path.write_bytes(self.get(f"/instances/{instance}/file").content)
            found.append(path)
        return found


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A fresh namespace, removed at the end; skips without root or ``ip netns``."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("a network namespace needs root on Linux")
    if shutil.which("ip") is None:
        pytest.skip("no program ip: install iproute2")
    name = f"segtrust-{os.getpid()}-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    network = Namespace(name)
    try:
        subprocess.run([*network.command_prefix, "ip", "link", "set", "lo", "up"], check=True)
        yield network
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[Pacs]:
    """An empty Orthanc with DICOMweb; skips where it is not installed.

    Args:
        folder: for its database, configuration and log; made if missing.
    """
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None or not _PLUGIN.exists():
        pytest.skip("no Orthanc with DICOMweb: apt-get install orthanc orthanc-dicomweb")
    folder.mkdir(parents=True, exist_ok=True)
    configuration, log = folder / "orthanc.json", folder / "orthanc.log"
    configuration.write_text(json.dumps(_configuration(folder), indent=2))
    with namespace() as network:
        url = f"http://127.0.0.1:{_ORTHANC_PORT}"
        with log.open("wb") as out:
            command = [*network.command_prefix, program, str(configuration)]
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        with ended(process):

            def is_up() -> bool:
                assert process.poll() is None, log.read_text()[-4000:]
                with network.entered(), contextlib.suppress(requests.ConnectionError, requests.Timeout):
                    return requests.get(f"{url}/dicom-web/studies", timeout=5).ok
                return False

            until(is_up, 60, lambda: f"Orthanc did not start:\n{log.read_text()[-4000:]}")
            yield Pacs(network, url, log)


def _configuration(folder: Path) -> dict:
    return {
        "Name": "segtrust tests",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": _ORTHANC_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "EnableWado": True,
            "WadoRoot": "/wado",
            "Host": f"127.0.0.1:{_ORTHANC_PORT}",
            "Ssl": False,
            "StudiesMetadata": "Full",
            "SeriesMetadata": "Full",
        },
        "OverwriteInstances": True,
        "ConcurrentJobs": 1,
        "HttpThreadsCount": 8,
    }


@contextlib.contextmanager
def pacs_with_server(
    folder: Path,
    series: Sequence[Path],
    *,
    conf: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[tuple[Pacs, Server]]:
    """Orthanc with series, and our server of app ``uncertainty`` on its DICOMweb.

    Args:
        folder: an empty folder for everything that the two write.
        series: folders of DICOM files to send first.
        conf: settings of the app.
        environment: more variables for the server, as MONAI Label's own settings.

    Yields:
        The PACS and the server. The server's methods go through the namespace by themselves; its ``url``, as
        that of the PACS, holds inside ``pacs.network`` only.
    """
    with orthanc(folder / "orthanc") as pacs:
        pacs.push(*series)
        with running_server(
            folder / "server",
            pacs.dicomweb,
            conf={"state_dir": folder / "server" / "state", **(conf or {})},
            environment={
                "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(folder / "server" / "cache"),
                **(environment or {}),
            },
            port=_SERVER_PORT,
            command_prefix=pacs.network.command_prefix,
            inside=pacs.network.entered,
        ) as server:
            yield pacs, server
