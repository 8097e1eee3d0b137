"""What other processes do in the tests of the state file and of the folder: ask, write, and be killed."""

import os
import shutil
import signal
import sqlite3
from itertools import count
from pathlib import Path

from segtrust.store import StateStore

__all__ = [
    "ask_for_scans",
    "killed_at_step",
    "killed_while_replacing",
    "note_images",
    "open_folder",
    "save_and_write_for_ever",
    "save_numbers_for_ever",
]


def ask_for_scans(path: str, client: str, scans: list[str], times: int, answers: str) -> None:
    """Ask for a scan several times in a row, and write down what came."""
    store = StateStore(Path(path))
    got = [store.lease(scans, client, strategy="entropy") for _ in range(times)]
    Path(answers).write_text("\n".join(scan for scan in got if scan), encoding="utf-8")


def open_folder(folder: str, state: str, **options):
    """The folder as a server has it, with its own connection to the state file."""
    # the processes that only ask for scans need no monai
    from segtrust.label.studies.datastore import SafeDatastore  # noqa: PLC0415

    return SafeDatastore(
        folder,
        structures={"tiny": {"front": 1, "back": 2}},
        store=StateStore(Path(state)),
        on_served=lambda *_: None,
        **{"extensions": ["*.nii.gz"], **options},
    )


def note_images(folder: str, state: str, stop: str) -> None:
    """Change the information of every scan in rounds, with snapshots, until the file ``stop`` is there."""
    datastore, number = open_folder(folder, state), 0
    while not Path(stop).exists():
        number += 1
        for scan in datastore.list_images():
            datastore.update_image_info(scan, {"seen": number})
        datastore.write_snapshot()


def save_and_write_for_ever(folder: str, state: str, label: str, begun: str) -> None:
    """Save labels and write snapshots until somebody ends it."""
    datastore = open_folder(folder, state)
    number = 0
    while True:
        for scan in datastore.list_images():
            number += 1
            datastore.save_label(scan, label, "other", {"number": number, "filler": "x" * 20_000})
            datastore.write_snapshot()
            Path(begun).touch()


def save_numbers_for_ever(folder: str, state: str, scratch: str, acknowledged: str) -> None:
    """Submit labels that hold rising numbers, and write down each that was taken."""
    from numbered_labels import write_number  # noqa: PLC0415
    from segtrust.label.studies.changes import Submission  # noqa: PLC0415

    datastore = open_folder(folder, state, keep=100_000)
    file, first = Path(scratch) / "next.nii.gz", 1 + int(Path(acknowledged).read_text().split()[-1])
    with Path(acknowledged).open("a", encoding="utf-8") as lines:
        for number in count(first):
            write_number(file, number)
            datastore.submit_label("a", str(file), "final", {"number": number}, Submission(by="ann"))
            print(number, file=lines, flush=True)


def killed_at_step(folder: str, state: str, act: str, step: int, done: str, new: str) -> None:
    """Replace, remove or restore a label, and be killed right before the step of a given number.

    Steps are what touches files or the state file: copies, links, renames, deletions, and commits.
    """
    from segtrust.label.studies.changes import Submission  # noqa: PLC0415

    datastore = open_folder(folder, state)
    two = {"number": 2}
    if act == "restore":
        datastore.submit_label("a", new, "final", two, Submission(by="bob"))
    _kill_before(step, datastore._store)
    acts = {
        "replace": lambda: datastore.submit_label("a", new, "final", two, Submission(by="bob")),
        "remove": lambda: datastore.remove_label("a", "final", by="bob"),
        "restore": lambda: datastore.restore_label("a", datastore.history.entries("a")[0].entry, by="bob"),
    }
    acts[act]()
    Path(done).touch()


def killed_while_replacing(folder: str, state: str, new: str, step: int, done: str) -> None:
    """Replace the scan `a`, and be killed right before the step of a given number."""
    datastore = open_folder(folder, state, extensions=["*.nii.gz", "*.nii", "*.nrrd"])
    _kill_before(step, datastore._store)
    datastore.add_image("a", new, {}, replace=True, by="eve")
    Path(done).touch()


def _kill_before(step: int, store: StateStore) -> None:
    """Count what touches files or the state file, and end this process before the step of a given number."""
    steps = count(1)

    def watched(function):
        def run(*arguments, **options):
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return run

    for place, name in (
        (os, "link"),
        (os, "fsync"),
        (shutil, "copyfile"),
        (Path, "replace"),
        (Path, "unlink"),
    ):
        setattr(place, name, watched(getattr(place, name)))

    class Watched:
        """The connection to the state file, for which a transaction's end is a step."""

        def __init__(self, db: sqlite3.Connection) -> None:
            self._db = db

        def __getattr__(self, name):
            return getattr(self._db, name)

        def execute(self, statement, *values):
            run = watched(self._db.execute) if statement == "COMMIT" else self._db.execute
            return run(statement, *values)

    store._db = Watched(store._db)
