"""Flipped bytes: damaged files of three formats through every door that takes files."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from attacks.site import Site, make_site
from flipped_files import FORMATS, flipped, whole_files
from http_attacks import Attack, why_not_refused

__all__ = ["send_flipped_files"]

_SECONDS = 120
_Files = list[tuple[str, bytes]]


def send_flipped_files(work: Path, *, flips: int) -> dict[str, Any]:
    """Send files with flipped bytes to be segmented, as labels, as scans and as sessions.

    Args:
        work: folder of the site, made anew.
        flips: how many files of each format.

    Returns:
        For each format the answers, those that were no answers in words, the slowest answer, and the memory
        that the server took in all.
    """
    site = make_site(work, 1)
    whole, rng = whole_files(work), random.Random(12)
    with site.served(), requests.Session() as session:
        _segment(session, site, whole["NIfTI"])  # loads what the first request loads
        before = site.memory()
        formats = {kind: _send(session, site, whole[kind], kind, flips, rng) for kind in FORMATS}
        grown = site.memory() - before
        alive = site.answers()
    return {"flips_of_each": flips, **formats, "memory_grown_mb": round(grown / 1e6), "server_lives": alive}


def _send(
    session: requests.Session, site: Site, whole: _Files, kind: str, flips: int, rng: random.Random
) -> dict[str, Any]:
    answers: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    slowest = 0.0
    doors: tuple[Callable[[requests.Session, Site, _Files], requests.Response], ...]
    doors = (_segment_session,) if kind == "DICOM" else (_segment, _submit, _upload, _segment_session)
    for flip in range(flips):
        files, door = flipped(whole, kind, rng), doors[flip % len(doors)]
        began = time.monotonic()
        answer = door(session, site, files)
        slowest = max(slowest, time.monotonic() - began)
        answers[str(answer.status_code)] += 1
        attack = Attack(f"{kind} {flip}", "PUT", "")
        if reason := why_not_refused(
            attack, answer.status_code, answer.headers.get("content-type", ""), answer.content
        ):
            wrong[f"{door.__name__}: {reason}"] += 1
    return {"answers": dict(sorted(answers.items())), "wrong": dict(wrong), "slowest_s": round(slowest, 1)}


def _segment(session: requests.Session, site: Site, files: _Files) -> requests.Response:
    return session.post(f"{site.url}/infer/tiny?output=json", files={"file": files[0]}, timeout=_SECONDS)


def _submit(session: requests.Session, site: Site, files: _Files) -> requests.Response:
    return session.put(
        f"{site.url}/datastore/label?image=scan-0", files={"label": files[0]}, timeout=_SECONDS
    )


def _upload(session: requests.Session, site: Site, files: _Files) -> requests.Response:
    answer = session.put(
        f"{site.url}/datastore/image?image=flipped", files={"file": files[0]}, timeout=_SECONDS
    )
    if answer.ok:
        segmented = session.post(f"{site.url}/infer/tiny?image=flipped&output=json", timeout=_SECONDS)
        session.delete(f"{site.url}/datastore/image?id=flipped", timeout=_SECONDS)
        return segmented
    return answer


def _segment_session(session: requests.Session, site: Site, files: _Files) -> requests.Response:
    parts = [("files", file) for file in files]
    answer = session.put(f"{site.url}/session/", files=parts, timeout=_SECONDS)
    if not answer.ok:
        return answer
    name = answer.json()["session_id"]
    segmented = session.post(f"{site.url}/infer/tiny?session_id={name}&output=json", timeout=_SECONDS)
    session.delete(f"{site.url}/session/{name}", timeout=_SECONDS)
    return segmented
