"""Many people at once: no scan is served twice, and file and information of a label are never mixed."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from attacks.load import Load, lost_labels
from attacks.site import make_site
from numbered_labels import number_in

__all__ = ["ask_as_a_crowd", "submit_at_once"]

_SECONDS = 120


def ask_as_a_crowd(work: Path, *, annotators: int, requests_in_all: int) -> dict[str, Any]:
    """Annotators ask for the next scan and submit its label, in turn, until all scans have one.

    Args:
        work: folder of the site, made anew.
        annotators: how many at the same time.
        requests_in_all: half of them for the next scan, half with a label.

    Returns:
        Counts; ``served_twice`` are scans that two people got.
    """
    scans = requests_in_all // 2
    site = make_site(work, scans)
    scratch = work / "scratch"
    scratch.mkdir()
    load, served, guard = Load(site.url, scratch, scans), [], threading.Lock()

    def annotate(person: int) -> None:
        with requests.Session() as session:
            while True:
                options = {"client_id": f"annotator-{person}"}
                answer = session.post(f"{site.url}/activelearning/uniform", json=options, timeout=_SECONDS)
                load.note(answer)
                if not answer.ok or not answer.json():
                    return
                scan = answer.json()["id"]
                with guard:
                    served.append(scan)
                number = next(load.numbers)
                load.note(load.submit(session, scan, number, f"annotator-{person}"))

    with site.served():
        with ThreadPoolExecutor(annotators) as pool:
            list(pool.map(annotate, range(annotators)))
        after = lost_labels(site.url, load)
        left = requests.get(f"{site.url}/datastore/", timeout=_SECONDS).json()
    twice = [scan for scan, times in Counter(served).items() if times > 1]
    return {
        "annotators": annotators,
        "requests": load.statuses.total(),
        "answers": dict(sorted(load.statuses.items())),
        "scans": scans,
        "scans_served": len(served),
        "served_twice": len(twice),
        "scans_with_a_label": left["completed"],
        **after,
    }


def submit_at_once(work: Path, *, readers: int, bursts: int) -> dict[str, Any]:
    """Readers submit labels of one scan in the same moment, again and again, while others read it.

    Args:
        work: folder of the site, made anew.
        readers: how many at the same time.
        bursts: how many times.

    Returns:
        Counts; ``mixed`` are bursts after which file and information were those of two people.
    """
    site = make_site(work, 1)
    scratch = work / "scratch"
    scratch.mkdir()
    load, mixed, unreadable = Load(site.url, scratch, 1), 0, Counter()
    together = threading.Barrier(readers)

    def submit(person: int) -> None:
        with requests.Session() as session:
            together.wait(_SECONDS)
            load.note(load.submit(session, "scan-0", next(load.numbers), f"reader-{person}"))
            query = {"label": "scan-0", "tag": "final"}
            answer = session.get(f"{site.url}/datastore/label", params=query, timeout=_SECONDS)
            unreadable[answer.ok and answer.content[:2] == b"\x1f\x8b"] += 1

    with site.served():
        with ThreadPoolExecutor(readers) as pool:
            for _ in range(bursts):
                list(pool.map(submit, range(readers)))
                query = {"label": "scan-0", "tag": "final"}
                label = requests.get(f"{site.url}/datastore/label", params=query, timeout=_SECONDS)
                info = requests.get(f"{site.url}/datastore/label/info", params=query, timeout=_SECONDS).json()
                mixed += info.get("note") != str(_number_of(label.content, scratch))
        after = lost_labels(site.url, load)
    return {
        "readers": readers,
        "bursts": bursts,
        "answers": dict(sorted(load.statuses.items())),
        "mixed": mixed,
        "reads_beside": unreadable.total(),
        "reads_that_failed": unreadable[False],
        **after,
    }


def _number_of(content: bytes, scratch: Path) -> int:
    file = scratch / "now.nii.gz"
    file.write_bytes(content)
    return number_in(file)
