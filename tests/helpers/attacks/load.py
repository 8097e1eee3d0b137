"""Clients that submit labels, upload scans and ask for the next one, and note what was acknowledged."""

import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import nibabel as nib
import numpy as np
import requests

from numbered_labels import number_in, write_number

__all__ = ["Load", "lost_labels"]

_SECONDS = 120


@dataclass
class Load:
    """What clients asked of a server, and what it acknowledged.

    Args:
        url: of the server.
        scratch: folder for files to send.
        scans: labels are submitted for the first so many.
    """

    url: str
    scratch: Path
    scans: int
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    labels: dict[int, str] = field(default_factory=dict)  # number of an acknowledged label -> its scan
    images: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def clients(self, number: int, seed: int) -> Iterator[None]:
        """So many clients work as long as the ``with`` runs."""
        self.stop.clear()
        threads = [
            threading.Thread(target=self._work, args=(f"client-{n}", seed * 1000 + n)) for n in range(number)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def _work(self, client: str, seed: int) -> None:
        rng = random.Random(seed)
        with requests.Session() as session:
            while not self.stop.is_set():
                try:
                    self._ask(session, rng, client)
                except requests.RequestException:  # the server was killed
                    self.stop.wait(0.02)

    def _ask(self, session: requests.Session, rng: random.Random, client: str) -> None:
        kind = rng.choices(["label", "image", "next", "note"], [70, 10, 10, 10])[0]
        scan, number = f"scan-{rng.randrange(self.scans)}", next(self.numbers)
        if kind == "label":
            answer = self.submit(session, scan, number, client)
        elif kind == "image":
            answer = self._upload(session, number)
        elif kind == "next":
            address = f"{self.url}/activelearning/uniform"
            answer = session.post(address, json={"client_id": client}, timeout=_SECONDS)
        else:
            address, info = (
                f"{self.url}/datastore/image/info?image={scan}",
                {"info": json.dumps({"note": client})},
            )
            answer = session.put(address, data=info, timeout=_SECONDS)
        self.note(answer)

    def submit(self, session: requests.Session, scan: str, number: int, client: str) -> requests.Response:
        """Submit a label that spells a number, with the same number in its information."""
        file = write_number(self.scratch / f"{threading.get_ident()}.nii.gz", number)
        answer = session.put(
            f"{self.url}/datastore/label?image={scan}",
            files={"label": ("label.nii.gz", file.read_bytes())},
            data={"params": json.dumps({"client_id": client, "note": str(number)})},
            timeout=_SECONDS,
        )
        if answer.ok:
            self.labels[number] = scan
        return answer

    def _upload(self, session: requests.Session, number: int) -> requests.Response:
        values = np.random.default_rng(number).random((8, 8, 8)).astype(np.float32)
        content = nib.Nifti1Image(values, np.eye(4)).to_bytes()
        address, name = f"{self.url}/datastore/image", f"new-{number}"
        files = {"file": ("scan.nii", content)}
        answer = session.put(address, params={"image": name}, files=files, timeout=_SECONDS)
        if answer.ok:
            self.images.add(name)
        return answer

    def note(self, answer: requests.Response) -> None:
        """Count an answer."""
        self.statuses[str(answer.status_code)] += 1
        if not answer.ok:
            self.refusals[f"{answer.status_code} {answer.text[:160]}"] += 1


def lost_labels(url: str, load: Load) -> dict[str, int]:
    """Ask for every label and scan that was acknowledged.

    Args:
        url: of the server.
        load: what was acknowledged.

    Returns:
        How many labels and images are neither there nor in the history, how many labels have the information
        of another one, and how many labels there are now and in the history.
    """
    there, mixed = set(), 0
    with requests.Session() as session:
        for scan in sorted(set(load.labels.values())):
            query = {"label": scan, "tag": "final"}
            answer = session.get(f"{url}/datastore/label", params=query, timeout=_SECONDS)
            if not answer.ok:
                continue
            number = _number(answer.content, load.scratch)
            info = session.get(f"{url}/datastore/label/info", params=query, timeout=_SECONDS).json()
            mixed += info.get("note") != str(number)
            there.add((scan, number))
            query = {"image": scan, "limit": 1_000_000}
            listed = session.get(f"{url}/segtrust/labels/history", params=query, timeout=_SECONDS).json()
            for former in listed["labels"]:
                query = {"image": scan, "entry": former["entry"]}
                content = session.get(
                    f"{url}/segtrust/labels/history/file", params=query, timeout=_SECONDS
                ).content
                there.add((scan, _number(content, load.scratch)))
        lost = {(scan, number) for number, scan in load.labels.items()} - there
        images = [
            name
            for name in load.images
            if not session.head(f"{url}/datastore/image", params={"image": name}, timeout=_SECONDS).ok
        ]
    return {
        "labels_acknowledged": len(load.labels),
        "labels_lost": len(lost),
        "labels_with_the_information_of_another": mixed,
        "labels_there_or_in_the_history": len(there),
        "images_acknowledged": len(load.images),
        "images_lost": len(images),
    }


def _number(content: bytes, scratch: Path) -> int:
    file = scratch / "downloaded.nii.gz"
    file.write_bytes(content)
    return number_in(file)
