"""One SQLite file that threads and processes open at the same time, in short transactions."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segtrust.errors import StoreError
from segtrust.store.migrations import MIGRATIONS

__all__ = ["Database"]

_BUSY_MS = 15_000
_WAL_PAGES = 200  # write-ahead log folded in at this length: a copy of the file alone misses little


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
        self._opened: tuple[int, int] | None = None
        with self._transaction("DEFERRED"):
            pass

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.path,)  # another process opens the file itself

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                db = self._connection()
                db.execute(f"BEGIN {mode}")
                try:
                    yield db
                    db.execute("COMMIT")
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise StoreError(
                    f"the state file {self.path} cannot be used: {error}. "
                    "Is the disk full or read-only, or the file damaged? Move it away to start anew; "
                    "scores are then computed again."
                ) from error

    def _connection(self) -> sqlite3.Connection:
        """The open file; opened anew in a forked process, and if another file is at the path."""
        if self._db is None or self._opened != self._now():
            self._db = self._open()
            self._opened = self._now()
        return self._db

    def _now(self) -> tuple[int, int]:
        try:
            return os.getpid(), self.path.stat().st_ino
        except OSError:
            return os.getpid(), 0

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.path.parent} cannot be made: {error}. Name another `state_dir`."
            ) from error
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
