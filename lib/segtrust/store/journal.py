"""Changes of files and of what is known about them, made as one: what a kill interrupts is ended later."""

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from segtrust.store.information import InfoKey, InformationTable, read_info, write_info

__all__ = ["Change", "JournalTable"]


class Change(NamedTuple):
    """A change that is decided but perhaps not done: its number, the scan, and the steps in JSON types."""

    number: int
    scan_id: str
    steps: Mapping[str, Any]


class JournalTable(InformationTable):
    """Decided changes of files.

    A change is decided in one transaction with the information that belongs to it; then its files are
    renamed; then it is ended. Whoever finds a change that was not ended renames the rest, and ends it.
    """

    def decide(
        self,
        scan_id: str,
        steps: Mapping[str, Any],
        *,
        put: Mapping[InfoKey, Mapping[str, Any]] | None = None,
        remove: Iterable[InfoKey] = (),
    ) -> int:
        """Decide a change.

        Args:
            scan_id: the scan whose files change.
            steps: what is to be done with the files, JSON types.
            put: information that is true from now on.
            remove: information that is not.

        Returns:
            The number of the change, for :meth:`end` or :meth:`undo`.

        Raises:
            StoreError: if the file cannot be written; then nothing is decided.
        """
        new, gone, now = dict(put or {}), list(remove), time.time()
        with self._transaction(durable=True) as db:
            before = [(list(key), read_info(db, key)) for key in (*new, *gone)]
            for key, info in new.items():
                write_info(db, key, info, now)
            _remove(db, gone)
            cursor = db.execute(
                "INSERT INTO journal (scan_id, steps, before) VALUES (?, ?, ?)",
                (scan_id, json.dumps(dict(steps)), json.dumps(before)),
            )
        return int(cursor.lastrowid or 0)

    def undo(self, number: int) -> None:
        """Take back a change of whose files none was renamed: the information is as before."""
        with self._transaction() as db:
            (text,) = db.execute("SELECT before FROM journal WHERE number = ?", (number,)).fetchone()
            for key, info in json.loads(text):
                if info is None:
                    _remove(db, [InfoKey(*key)])
                else:
                    write_info(db, InfoKey(*key), info, time.time())
            db.execute("DELETE FROM journal WHERE number = ?", (number,))

    def end(self, number: int) -> None:
        """Note that the files of a change are as decided."""
        with self._transaction() as db:
            db.execute("DELETE FROM journal WHERE number = ?", (number,))

    def open_changes(self, scan_id: str | None = None) -> list[Change]:
        """Changes that were not ended, the first decided first.

        Args:
            scan_id: of one scan; all unless given.

        Returns:
            The changes.
        """
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT number, scan_id, steps FROM journal WHERE ? IS NULL OR scan_id = ? ORDER BY number",
                (scan_id, scan_id),
            ).fetchall()
        return [Change(number, scan, json.loads(text)) for number, scan, text in rows]


def _remove(db: sqlite3.Connection, keys: Iterable[InfoKey]) -> None:
    db.executemany("DELETE FROM information WHERE kind = ? AND id = ? AND tag = ?", list(keys))
