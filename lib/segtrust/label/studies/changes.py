"""Changing the files of a scan and what is known about them as one, whatever happens in between."""

import errno
import logging
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from segtrust._files import sync
from segtrust.errors import StoreError
from segtrust.label.failures import StudiesError
from segtrust.label.studies.history import FormerLabel, LabelHistory
from segtrust.label.temporary import part_of
from segtrust.label.trail import AuditTrail, acting, file_hash
from segtrust.store import Change, Info, InfoKey, Record, StateStore

__all__ = ["FileChange", "FileChanges", "Submission"]

logger = logging.getLogger(__name__)

_KINDS = {"image": "scan", "label": "label"}
_LOCKS = 16  # scans share them by chance, so that their number does not grow with that of the scans
_WAIT_S = 180.0  # a PACS may take its time to store a label, but not for ever


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Whose a final label is from now on, and which slices of how many were looked at, if that is known."""

    by: str = ""
    reviewed: tuple[int, ...] | None = None
    slices: int = 0


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """What is to change for one scan.

    ``moves``: finished parts and the files that they become; ``removes``: files that go; ``former``: copies
    to list in the history; ``put`` and ``gone``: information that is true from now on, and that is not.
    ``withdraw`` forgets who has the scan, ``submission`` says who submitted its final label, and ``record``
    is all that is derived from the scan from now on.
    """

    moves: Mapping[Path, Path] = field(default_factory=dict)
    removes: tuple[Path, ...] = ()
    former: tuple[FormerLabel, ...] = ()
    put: Mapping[InfoKey, Info] = field(default_factory=dict)
    gone: tuple[InfoKey, ...] = ()
    withdraw: bool = False
    submission: Submission | None = None
    record: Record | None = None


class FileChanges:
    """Makes changes of one folder, for each scan one at a time, also in several processes.

    A change is decided in the state file, in one transaction with the information; then its files are
    renamed. A kill before that leaves everything as it was; after it, whoever comes next renames the rest.

    Args:
        folder: the studies.
        store: state file of the site.
        history: where labels go that are replaced or deleted.
        check: raises an error if the studies are not there, but the empty place where they were mounted.
    """

    def __init__(
        self, folder: Path, store: StateStore, history: LabelHistory, check: Callable[[], None]
    ) -> None:
        self._folder = folder
        self._check = check
        self._store = store
        self._history = history
        self._threads = [threading.Lock() for _ in range(_LOCKS)]

    @contextmanager
    def alone(self, scan_id: str) -> Iterator[None]:
        """Let nobody else change a scan while the ``with`` runs; what was interrupted is ended first.

        Args:
            scan_id: the scan.

        Raises:
            StoreError: if somebody else does not end.
        """
        number = zlib.crc32(scan_id.encode()) % _LOCKS
        with self._threads[number]:
            lock = FileLock(self._store.path.with_name(f"changes-{number:x}.lock"), timeout=_WAIT_S)
            try:
                lock.acquire()
            except Timeout as error:
                raise StoreError(
                    f"a change of a scan must end within {_WAIT_S:.0f} s, but another one runs. Try again."
                ) from error
            try:
                for change in self._store.open_changes(scan_id):
                    self._finish(change)
                yield
            finally:
                lock.release()

    def settle(self, scan_id: str | None = None) -> None:
        """End what was interrupted, of one scan or of all, or wait until whoever is at it has ended."""
        for scan in dict.fromkeys(change.scan_id for change in self._store.open_changes(scan_id)):
            with self.alone(scan):
                pass

    def part(self, folder: Path, source: Path) -> Path:
        """Copy a file beside its later place, under a name that no listing shows.

        Args:
            folder: made if it does not exist.
            source: the file.

        Returns:
            The copy, which is on the disk as a whole.
        """
        folder.mkdir(parents=True, exist_ok=True)
        part = part_of(folder / source.name)
        try:
            shutil.copyfile(source, part)
            sync(part)
            self._check()  # if they went since, it lies where nobody would find it
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def make(self, scan_id: str, change: FileChange) -> None:
        """Make a change, or leave everything as it was; to be called inside :meth:`alone`.

        Args:
            scan_id: the scan.
            change: what is to change.

        Raises:
            StoreError: if the state file cannot be written.
            OSError: if the first file cannot be renamed or removed.
            StudiesError: if the studies are not there.
        """
        try:
            steps = self._steps(change)
            number = self._store.decide(scan_id, steps, put=change.put, remove=change.gone)
        except BaseException:
            self._drop(change)
            raise
        try:
            self._rename(steps, first=True)
        except (OSError, StudiesError):
            self._store.undo(number)
            self._drop(change)
            raise
        try:
            self._finish(Change(number, scan_id, steps))
        except (
            OSError,
            StoreError,
            StudiesError,
        ) as error:  # the label is there and is right; the rest comes later
            logger.warning("A change of a scan is ended at the next one: %s", error)

    def _drop(self, change: FileChange) -> None:
        for part in change.moves:
            part.unlink(missing_ok=True)
        for former in change.former:
            self._history.drop(former)

    def _steps(self, change: FileChange) -> dict[str, Any]:
        submission = change.submission
        return {
            "moves": [[self._relative(part), self._relative(file)] for part, file in change.moves.items()],
            "removes": [self._relative(file) for file in change.removes],
            "former": [vars(former) for former in change.former],
            "withdraw": change.withdraw,
            "submission": None if submission is None else vars(submission),
            "record": change.record,
            "audit": self._audited(change),
        }

    def _audited(self, change: FileChange) -> list[dict[str, Any]]:
        """What the audit trail says of a change: what became a label or scan, and what went."""
        hashes = {target: file_hash(part) for part, target in change.moves.items()}
        entries = []
        tags = {key.tag for key in change.put}
        for key, info in change.put.items():
            # a scan and its labels have one name, in folders of their own
            files = [
                value
                for path, value in hashes.items()
                if path.name == info.get("name") and (path.parent.name if key.tag else "") == key.tag
                if key.tag or path.parent.name not in tags
            ]
            kind = "result kept" if info.get("result") else f"{_KINDS[key.kind]} kept"
            entries.append({"kind": kind, "tag": key.tag, "sha256": files[0] if files else ""})
        entries += [{"kind": f"{_KINDS[key.kind]} removed", "tag": key.tag} for key in change.gone]
        by = acting() or (change.submission.by if change.submission else "")
        by = by or next((former.by for former in change.former), "") or _author(change.put)
        return [{name: value for name, value in e.items() if value} | {"by": by} for e in entries]

    def _relative(self, path: Path) -> str:
        """The studies may be mounted at another place when an interrupted change is ended."""
        return str(path.relative_to(self._folder)) if path.is_relative_to(self._folder) else str(path)

    def _rename(self, steps: Mapping[str, Any], *, first: bool) -> None:
        """Rename and remove what is not yet, the first file only or all."""
        for part, file in steps["moves"][: 1 if first else None]:
            if (self._folder / part).exists():
                (self._folder / part).replace(self._folder / file)
                with suppress(OSError):  # it is renamed, whatever a power cut would make of it
                    sync((self._folder / file).parent)
            elif first and not (self._folder / file).exists():
                self._check()
                raise FileNotFoundError(errno.ENOENT, "a part of a file is gone", part)
        for file in steps["removes"][: (not steps["moves"]) if first else None]:
            (self._folder / file).unlink(missing_ok=True)

    def _finish(self, change: Change) -> None:
        """Bring files, history and leases to what was decided; may be repeated."""
        steps = change.steps
        self._rename(steps, first=False)
        self._check()  # if the studies went since, nothing was renamed
        for former in steps["former"]:
            self._history.list_entry(FormerLabel(**former))
        if (record := steps.get("record")) is not None:
            self._store.put_record(change.scan_id, record)
        if submission := steps["submission"]:
            self._store.submitted_anew(change.scan_id, submission["by"])
            if submission["reviewed"] is not None:
                self._store.keep_review(change.scan_id, submission["reviewed"], submission["slices"])
        elif steps["withdraw"]:
            self._store.withdrawn(change.scan_id)
        self._record(change)
        self._store.end(change.number)

    def _record(self, change: Change) -> None:
        """Write what was changed into the audit trail; twice if a kill comes between this and the end."""
        named = AuditTrail(self._store).scan(change.scan_id)
        for entry in change.steps.get("audit", ()):
            facts = {name: value for name, value in entry.items() if name not in {"kind", "by"}}
            self._store.append(
                entry["kind"], entry["by"], {**named, **facts, "change": change.number}, durable=True
            )


def _author(put: Mapping[InfoKey, Info]) -> str:
    names = (str(info.get("author") or info.get("user") or "") for info in put.values())
    return next(filter(None, names), "")
