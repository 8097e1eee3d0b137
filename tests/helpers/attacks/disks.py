"""Disks that are full, and disks that vanish and come back, under a server at work."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attacks.load import Load, lost_labels
from attacks.site import Site, make_site, until

__all__ = ["can_mount", "fill_the_disk", "take_the_disk_away"]


def can_mount(work: Path) -> bool:
    """Whether this user may mount disks here."""
    work.mkdir(parents=True, exist_ok=True)
    try:
        with _mounted(work / "try", "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def fill_the_disk(work: Path, *, clients: int, times: int) -> dict[str, Any]:
    """Fill the disk of the studies under load, make room, and go on.

    Args:
        work: folder of the site, made anew.
        clients: how many at the same time.
        times: how often the disk is filled.

    Returns:
        Counts, and what was lost; ``parts_left`` are unfinished files on the disk.
    """
    disk = work.with_name(f"{work.name}-disk")
    with _mounted(disk, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        site, load = _site_on(work, disk / "studies")
        site.settings["state_dir"] = str(disk / "state")
        (disk / "studies").mkdir(exist_ok=True)
        full = 0
        with site.served(), load.clients(clients, 1):
            for _ in range(times):
                _wait_for_answers(load, 40)
                _fill(disk)
                before = load.statuses["507"]
                until(
                    lambda before=before: load.statuses["507"] >= before + 20,
                    120,
                    "nobody noticed a full disk",
                )
                full += 1
                (disk / "filler").unlink()
            _wait_for_answers(load, 40)
        with site.served():
            after = lost_labels(site.url, load)
        parts = [path.name for path in disk.rglob(".segtrust-*-*")]
    return {"times": full, **_counts(load, clients), **after, "parts_left": len(parts)}


def take_the_disk_away(work: Path, *, clients: int, times: int) -> dict[str, Any]:
    """Unmount the studies under load, which leaves an empty folder in their place, and mount them again.

    Args:
        work: folder of the site, made anew.
        clients: how many at the same time.
        times: how often the disk vanishes.

    Returns:
        Counts, and what was lost; ``written_into_the_empty_folder`` are files that nobody would find again.
    """
    place, stray = work.with_name(f"{work.name}-disk"), 0
    site, load = _site_on(work, work / "studies")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    site.studies = place
    _bind(work / "studies", place)
    try:
        with site.served(), load.clients(clients, 1):
            for _ in range(times):
                _wait_for_answers(load, 40)
                subprocess.run(["umount", "-l", str(place)], check=True)
                before = load.statuses["503"]
                until(
                    lambda before=before: load.statuses["503"] >= before + 20,
                    120,
                    "nobody noticed that it is gone",
                )
                stray += sum(path.is_file() for path in place.rglob("*"))
                _bind(work / "studies", place)
            _wait_for_answers(load, 40)
        with site.served():
            after = lost_labels(site.url, load)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
    return {"times": times, **_counts(load, clients), **after, "written_into_the_empty_folder": stray}


def _site_on(work: Path, studies: Path) -> tuple[Site, Load]:
    site = make_site(work, 8, studies=studies)
    (work / "scratch").mkdir()
    return site, Load(site.url, work / "scratch", 8)


def _counts(load: Load, clients: int) -> dict[str, Any]:
    return {
        "clients": clients,
        "answers": dict(sorted(load.statuses.items())),
        "refusals": dict(load.refusals.most_common(5)),
    }


def _wait_for_answers(load: Load, number: int) -> None:
    enough = load.statuses["200"] + number
    until(lambda: load.statuses["200"] >= enough, 180, "the server does not go on")


def _fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


def _bind(source: Path, place: Path) -> None:
    subprocess.run(["mount", "--bind", str(source), str(place)], check=True)


@contextlib.contextmanager
def _mounted(place: Path, *options: str) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(place)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
