"""A server on copies of scans."""

import contextlib
import shutil
from pathlib import Path

import live_server

__all__ = ["running_server"]


@contextlib.contextmanager
def running_server(folder: Path, scans, **options):
    """Start a server on copies of scans."""
    studies = folder / "studies"
    studies.mkdir(parents=True)
    for scan in scans:
        shutil.copyfile(scan, studies / scan.name)
    with live_server.running_server(folder, studies, **options) as running:
        yield running
