"""Kills under load: a server that is killed again and again while clients submit labels and upload scans."""

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.load import Load, lost_labels
from attacks.site import make_site, until

__all__ = ["kill_again_and_again"]


def kill_again_and_again(
    work: Path, *, kills: int, clients: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Kill a server under load, start it again, and at last look for everything that it acknowledged.

    Args:
        work: folder of the site, made anew.
        kills: how many.
        clients: how many work at the same time.
        report: called with a line now and then.

    Returns:
        Counts, and what was lost.
    """
    site = make_site(work, 16)
    scratch = work / "scratch"
    scratch.mkdir()
    load, rng, slowest = Load(site.url, scratch, 16), random.Random(12), 0.0
    for kill in range(kills):
        began = time.monotonic()
        site.start()
        slowest = max(slowest, time.monotonic() - began)
        enough = load.statuses.total() + rng.randint(1, 30)
        with load.clients(clients, kill):
            until(lambda enough=enough: load.statuses.total() >= enough, 120, "the server answers nobody")
            time.sleep(rng.uniform(0, 0.05))  # a moment inside a step, which no answer marks
            site.kill()
        if kill % 20 == 19:
            report(f"{kill + 1} kills, {len(load.labels)} labels acknowledged")
    with site.served():
        after = lost_labels(site.url, load)
        parts = [path.name for path in site.studies.rglob(".segtrust-*-*")]
        temporary = [path.name for path in (work / "temp").rglob("*") if path.is_file()]
    with sqlite3.connect(site.state / "state.sqlite") as db:
        (integrity,) = db.execute("PRAGMA integrity_check").fetchone()
    return {
        "kills": kills,
        "clients": clients,
        "answers": dict(sorted(load.statuses.items())),
        "refusals": dict(load.refusals.most_common(5)),
        "slowest_start_s": round(slowest, 1),
        **after,
        "state_file": integrity,
        "parts_left": len(parts),
        "temporary_files_left": len(temporary),
    }
