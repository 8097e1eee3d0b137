"""The audit trail: who did what to which scan, in a file that only grows; the state file has its end."""

import getpass
import hashlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from segtrust._files import sync
from segtrust.errors import StoreError
from segtrust.roles import keyed_name, patient_hash
from segtrust.store.chain import (
    BEGIN,
    CHECKPOINT,
    ChainError,
    Link,
    checkpoint_line,
    follow,
    next_line,
    read_link,
)
from segtrust.store.roles import RoleTable, read_site_key

__all__ = ["Found", "TrailTable", "person_here"]

_MOST_UNSYNCED = 64
_LONGEST_VALUE = 200
_KEPT_SIZE = 1 << 24


class Found(NamedTuple):
    """A trail that checks: how many records it has, number and hash of the last, and since when."""

    records: int
    end: Link
    since: float


class TrailTable(RoleTable):
    """The trail of a site.

    The lines lie in ``audit/trail.jsonl`` beside the state file, so that they can be read and copied without
    this program. The state file keeps the end of the chain and the lines that may not be on the disk yet.
    A line is decided in one transaction, then written: whoever finds one that was decided and not written
    writes it, at the same place. So threads, the server, its children and the command line can share it.

    Note:
        A ``durable`` line is on the disk when :meth:`append` returns. The others are after the next durable
        one, or 64 lines; a power cut before may lose them, from the file and the state file alike.
    """

    @property
    def trail_path(self) -> Path:
        """The file with the lines."""
        return self.path.with_name("audit") / "trail.jsonl"

    def append(
        self, kind: str, by: str, facts: Mapping[str, Any] | None = None, *, durable: bool = False
    ) -> Link:
        """Add a record.

        Args:
            kind: what was done.
            by: who did it; empty for nobody known.
            facts: about it, JSON types. Scans and patients only as :meth:`scan_hash` and
                :meth:`patient_hash` name them.
            durable: wait until it is on the disk.

        Returns:
            Number and hash of the record.

        Raises:
            StoreError: if it cannot be written; then nothing is.
        """
        with self._trail() as file:
            with self._transaction(durable=durable) as db:
                end, size = self._settled(db, file)
                line, link = _line(end, kind, by, facts or {})
                (unsynced,) = db.execute("SELECT count(*) FROM trail_tail").fetchone()
                if durable or unsynced >= _MOST_UNSYNCED:
                    os.fdatasync(file)
                    db.execute("DELETE FROM trail_tail")
                _put(db, link, size, line)
            os.pwrite(file, line, size)
        return link

    def scan_hash(self, scan_id: str) -> str:
        """Name of a scan in the trail; its id may be that of a patient."""
        return keyed_name("scan", scan_id, self.site_key())

    def patient_hash(self, subject: str) -> str:
        """Name of a patient in the trail, and on the cards of versions."""
        return patient_hash(subject, self.site_key())

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Every record, checked as it is read.

        Raises:
            ChainError: at the first that is not what was written.
        """
        with self._looked_at() as (lines, _, _, key):
            for record, _ in follow(lines, key):
                yield record

    def verify_trail(self) -> Found:
        """Check every byte of the trail, and that nothing is missing at its end.

        Returns:
            What there is.

        Raises:
            ChainError: if a record was changed, is missing, or stands in another order.
        """
        with self._looked_at() as (lines, kept, begins, key):
            count, end, since = 0, BEGIN, time.time()
            for record, link in follow(lines, key):
                if end == BEGIN:
                    start = int(record["number"]) if record["kind"] == CHECKPOINT else 0
                    if start != begins:
                        raise ChainError(
                            f"the trail must begin after record {begins}, but begins after record {start}."
                        )
                    since = float(record["time"])
                count, end = count + (record["kind"] != CHECKPOINT), link
        if end != kept:
            raise ChainError(
                f"the trail must end with record {kept.number}, but ends with record {end.number} or another "
                "one of this number. Records are missing at its end, or all of it was made anew."
            )
        return Found(count, end, since)

    def prune_trail(self, before: float, by: str) -> int:
        """Drop the records of before a time; a checkpoint takes their place, and the rest still checks.

        Args:
            before: seconds since 1970.
            by: who drops them.

        Returns:
            How many were dropped.

        Raises:
            ChainError: if the trail does not check: first find out why.
        """
        self.verify_trail()
        with self._trail() as file, self._transaction(durable=True) as db:
            end, _ = self._settled(db, file)
            key, lines = read_site_key(db), _lines(_read(file, 0))
            cut, dropped, last = 0, 0, BEGIN
            for index, (record, link) in enumerate(follow(lines, key)):
                if record["kind"] != CHECKPOINT and float(record["time"]) >= before:
                    break
                cut, last = index + 1, link
                dropped += record["kind"] != CHECKPOINT
            if dropped == 0:
                return 0
            gone = "".join(f"{line}\n" for line in lines[:cut]).encode()
            mark = checkpoint_line(last, time.time(), by, hashlib.sha256(gone).hexdigest(), key)
            text = "".join(f"{line}\n" for line in [mark, *lines[cut:]]).encode()
            _replace(self.trail_path, text)
            db.execute(
                "INSERT OR REPLACE INTO trail VALUES (1, ?, ?, ?, ?)",
                (end.number, end.hash, len(text), last.number),
            )
            db.execute("DELETE FROM trail_tail")
        self.append("trail pruned", by, {"records": dropped, "until": last.number}, durable=True)
        return dropped

    @contextmanager
    def _looked_at(self) -> Iterator[tuple[Iterator[str], Link, int, bytes]]:
        """Lines, end, beginning and key of the trail as it is now; others may write on meanwhile."""
        with self._trail() as file:
            with self._transaction() as db:
                key = read_site_key(db)
                kept, size = self._settled(db, file, may_mend=False)
                (begins,) = db.execute("SELECT begins FROM trail").fetchone() or (0,)
                there = os.fstat(file).st_size  # nobody adds to it as long as the transaction lasts
            mine = os.dup(file)
        try:
            if there != size:
                more = "shorter" if there < size else "longer"
                raise ChainError(
                    f"the trail must have {size:,} bytes, got {there:,}. It is {more} than what was written "
                    f"until record {kept.number}: was it cut, or put back from a back-up?"
                )
            yield _stream(mine, size), kept, begins, key
        finally:
            os.close(mine)

    @contextmanager
    def _trail(self) -> Iterator[int]:
        """The open file; not opened before somebody else has replaced it whole."""
        with self._lock:  # of this process; other processes wait for the transaction
            try:
                self.trail_path.parent.mkdir(mode=0o700, exist_ok=True)
                file = os.open(self.trail_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreError(f"the audit trail {self.trail_path} cannot be opened: {error}.") from error
            try:
                yield file
            finally:
                os.close(file)

    def _settled(self, db: sqlite3.Connection, file: int, *, may_mend: bool = True) -> tuple[Link, int]:
        """End and size of the trail, with all lines written that were decided."""
        _reopen_if_replaced(self.trail_path, file)
        end, size = _end(db)
        there = os.fstat(file).st_size
        if there < size:
            for line, place in db.execute("SELECT line, place FROM trail_tail ORDER BY place").fetchall():
                if place <= there < place + len(line):
                    os.pwrite(file, line, place)
                    there = max(there, place + len(line))
        if there == size or not may_mend:
            return end, size
        return self._mended(db, file, end, size, there)

    def _mended(
        self, db: sqlite3.Connection, file: int, end: Link, size: int, there: int
    ) -> tuple[Link, int]:
        """Go on after a power cut, or after somebody changed the file; a record says so."""
        key = read_site_key(db)
        if there < size:
            if (taken := self._replaced(db, file, end, key)) is not None:
                return taken
            # what is missing stays missing: the number of the next record shows it
            line, link = _line(end, "trail cut", "", {"bytes": there, "expected": size})
            size = there
        else:
            more = _read(file, size)
            adopted, rest = end, len(more)
            for text in more.split(b"\n")[:-1]:
                try:
                    _, adopted = read_link(text.decode(), adopted, key)
                except (ChainError, UnicodeDecodeError):
                    break
                rest -= len(text) + 1
            aside = more[len(more) - rest :] if rest else b""
            if aside:
                self._put_aside(aside, adopted)
                os.ftruncate(file, there - rest)
            facts = {"records": adopted.number - end.number, "bytes_put_aside": len(aside)}
            line, link = _line(adopted, "trail mended", "", facts)
            size = there - rest
        _put(db, link, size, line)
        os.pwrite(file, line, size)
        return link, size + len(line)

    def _replaced(self, db: sqlite3.Connection, file: int, end: Link, key: bytes) -> tuple[Link, int] | None:
        """The end, where records were dropped and a kill came before the state file noted it."""
        content = _read(file, 0)
        try:
            links = list(follow(_lines(content), key))
        except ChainError:
            return None
        if not links or links[0][0]["kind"] != CHECKPOINT or links[-1][1] != end:
            return None
        db.execute(
            "INSERT OR REPLACE INTO trail VALUES (1, ?, ?, ?, ?)",
            (end.number, end.hash, len(content), links[0][1].number),
        )
        return end, len(content)

    def _put_aside(self, content: bytes, end: Link) -> None:
        name = f"aside-{end.number}-{uuid.uuid4().hex[:8]}.txt"
        (self.trail_path.parent / name).write_bytes(content)


def person_here() -> str:
    """Who types at the command line, by the name of the machine's own log-in."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # a container may know no name
        return "(command line)"


def _line(end: Link, kind: str, by: str, facts: Mapping[str, Any]) -> tuple[bytes, Link]:
    short = {name: v[:_LONGEST_VALUE] if isinstance(v, str) else v for name, v in facts.items()}
    try:
        line, link = next_line(end, round(time.time(), 3), kind, by[:_LONGEST_VALUE], short)
    except (TypeError, ValueError) as error:
        raise StoreError(f"facts of the audit trail must be JSON types, got {error}.") from error
    return f"{line}\n".encode(), link


def _end(db: sqlite3.Connection) -> tuple[Link, int]:
    row = db.execute("SELECT number, hash, size FROM trail").fetchone()
    return (Link(row[0], row[1]), row[2]) if row else (BEGIN, 0)


def _put(db: sqlite3.Connection, link: Link, place: int, line: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO trail_tail VALUES (?, ?, ?)", (link.number, place, line))
    db.execute(
        "INSERT OR REPLACE INTO trail VALUES (1, ?, ?, ?, coalesce((SELECT begins FROM trail), 0))",
        (link.number, link.hash, place + len(line)),
    )


def _read(file: int, place: int) -> bytes:
    parts = []
    while part := os.pread(file, _KEPT_SIZE, place):
        parts.append(part)
        place += len(part)
    return b"".join(parts)


def _stream(file: int, size: int) -> Iterator[str]:
    """Lines of the first bytes of a file, a part of it in memory at a time."""
    place, rest = 0, b""
    while place < size and (part := os.pread(file, min(_KEPT_SIZE, size - place), place)):
        place += len(part)
        whole, end, rest = (rest + part).rpartition(b"\n")
        yield from _lines(whole + end)
    yield from _lines(rest)


def _lines(content: bytes) -> list[str]:
    """Lines without their breaks; what is no text, or has no last break, is no line."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise ChainError("the trail must be as it was written, but has bytes that are no text.") from error
    if text and not text.endswith("\n"):
        raise ChainError("the trail must be as it was written, but its last line has no end.")
    return text.split("\n")[:-1]


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def _reopen_if_replaced(path: Path, file: int) -> None:
    """Let a descriptor mean the file that is at the path now; another process may have pruned it."""
    try:
        is_same = os.fstat(file).st_ino == path.stat().st_ino
    except FileNotFoundError:
        is_same = False
    if is_same:
        return
    now = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.dup2(now, file, inheritable=False)
    finally:
        os.close(now)
