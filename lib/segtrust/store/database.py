"""One SQLite file that threads and processes open at the same time, in short transactions."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segtrust.errors import StoreError, StoreFullError
from segtrust.store.migrations import MIGRATIONS

__all__ = ["Database"]

_BUSY_MS = 15_000
_WAL_PAGES = 200  # write-ahead log folded in at this length: a copy of the file alone misses little
_ROOM = 1 << 20  # bytes below which a failed write is put down to a full disk
_of_parents: list[sqlite3.Connection] = []


class Database:
    """The state file: opened once per process and used by its threads in turn.

    Args:
        path: the file, made with its folder if it does not exist. If it is moved away later, a new one is
            begun.

    Raises:
        StoreError: if the file is no state file, is newer than this program, or stays locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._opened = (0, 0)
        with self._transaction("DEFERRED"):
            pass

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.path,)  # another process opens the file itself

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE", *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; a ``durable`` one is on the disk at its end, so that no power cut undoes it."""
        with self._lock:
            try:
                db = self._connection()
                db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                db.execute(f"BEGIN {mode}")
                try:
                    yield db
                    db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            except sqlite3.Error as error:
                if _is_full(error, self.path):
                    raise StoreFullError(
                        f"the disk of the state file {self.path} must have room, and is full. Nothing was "
                        "changed; make room and try again."
                    ) from error
                raise StoreError(
                    f"the state file {self.path} cannot be used: {error}. "
                    "Is the disk full or read-only, or the file damaged? Move it away to start anew; "
                    "scores are then computed again."
                ) from error

    def _connection(self) -> sqlite3.Connection:
        """The open file; opened anew in a forked process, and if another file is at the path."""
        if self._db is not None and self._opened == self._now():
            return self._db
        if self._db is not None and self._opened[0] == os.getpid():
            self._db.close()
        elif self._db is not None:
            _of_parents.append(self._db)  # never closed here: its locks are the parent's
        self._opened = (0, 0)  # whatever is open now is not asked again, also if opening fails
        self._db = self._open()
        self._opened = self._now()
        return self._db

    def _now(self) -> tuple[int, int]:
        try:
            return os.getpid(), self.path.stat().st_ino
        except OSError:
            return os.getpid(), 0

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._make_folder()
        elif not self.path.parent.is_dir():  # made anew it would lie where studies are mounted otherwise
            raise StoreError(
                f"{self.path.parent}, the state file's folder, must be there, but is gone. Is it mounted?"
            )
        db = sqlite3.connect(
            self.path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            self._bring_up(db)
        except BaseException:
            db.close()
            raise
        return db

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.path.parent} cannot be made: {error}. Name another `state_dir`."
            ) from error

    def _bring_up(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == len(MIGRATIONS):
            return
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()  # another process may have been faster
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{self.path} has form {version}, this program knows forms up to {len(MIGRATIONS)}. "
                "Update segtrust, or name another `state_dir`."
            )
        for step in MIGRATIONS[version:]:
            for statement in filter(str.strip, step.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")


def _is_full(error: sqlite3.Error, path: Path) -> bool:
    """Whether a disk or a quota is full; SQLite calls it an input or output error where a quota is."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return True
    try:
        return code == sqlite3.SQLITE_IOERR and shutil.disk_usage(path.parent).free < _ROOM
    except OSError:
        return False
