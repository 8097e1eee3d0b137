"""Information that viewers and tasks keep with images and labels, safe under several writers."""

import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from segtrust.errors import StoreError
from segtrust.store.database import Database

__all__ = ["Info", "InfoKey", "InformationTable", "read_info", "write_info"]

Info = dict[str, Any]

_ALWAYS = frozenset({"ts", "name"})  # what MONAI Label notes of every file: worth no row


class InfoKey(NamedTuple):
    """What an information belongs to; ``tag`` is empty for an image."""

    kind: Literal["image", "label"]
    id: str
    tag: str = ""


class InformationTable(Database):
    """Information of images and labels: a change of one touches one row, whatever their number."""

    def update_info(self, key: InfoKey, changes: Mapping[str, Any], default: Mapping[str, Any]) -> None:
        """Change entries of an information; what another process wrote to its other entries stays.

        Args:
            key: which information.
            changes: entries to set.
            default: what the information is if nothing was kept for it yet.

        Raises:
            StoreError: if the file cannot be written.
        """
        with self._transaction() as db:
            stored = read_info(db, key)
            write_info(db, key, {**(default if stored is None else stored), **changes}, time.time())

    def get_info(self, key: InfoKey) -> Info | None:
        """What was kept for an image or label, or ``None``."""
        with self._transaction("DEFERRED") as db:
            return read_info(db, key)

    def all_info(self) -> dict[InfoKey, Info]:
        """Everything that was kept."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute("SELECT kind, id, tag, info FROM information").fetchall()
        return {InfoKey(kind, scan, tag): json.loads(text) for kind, scan, tag, text in rows}

    def mark_written(self, written: Mapping[InfoKey, Mapping[str, Any]]) -> None:
        """Note what MONAI Label's own file says now, so that :meth:`merge` knows what others change there.

        Args:
            written: what was written into it.
        """
        with self._transaction() as db:
            changed = db.execute("SELECT kind, id, tag FROM information WHERE written IS NOT info")
            keys = [key for row in changed if (key := InfoKey(*row)) in written]
            db.executemany(
                "UPDATE information SET written = ? WHERE kind = ? AND id = ? AND tag = ?",
                [(_text(written[key]), *key) for key in keys],
            )

    def merge(self, entries: Mapping[InfoKey, Mapping[str, Any]], when: float) -> int:
        """Take over what another program changed in MONAI Label's own file.

        An entry is changed if it differs from what the file said when it was last written or merged. If it
        was changed here as well, the later change stays.

        Args:
            entries: what the file says now.
            when: when the file was written, seconds since 1970.

        Returns:
            How many images and labels changed.

        Raises:
            StoreError: if the file cannot be written.

        Note:
            A three-way merge.
        """
        with self._transaction() as db:
            rows = {
                InfoKey(kind, scan, tag): (json.loads(info), json.loads(written or "{}"), updated)
                for kind, scan, tag, info, written, updated in db.execute(
                    "SELECT kind, id, tag, info, written, updated FROM information"
                )
            }
            changed = 0
            for key, theirs in entries.items():
                if key not in rows and set(theirs) <= _ALWAYS:
                    continue
                ours, base, updated = rows.get(key, ({}, {}, 0.0))
                if theirs == base:
                    continue
                merged = _merged(ours, base, theirs, ours_first=updated > when)
                write_info(db, key, merged, max(when, updated))
                db.execute(
                    "UPDATE information SET written = ? WHERE kind = ? AND id = ? AND tag = ?",
                    (_text(theirs), *key),
                )
                changed += merged != ours
            return changed


def _merged(
    ours: Mapping[str, Any], base: Mapping[str, Any], theirs: Mapping[str, Any], *, ours_first: bool
) -> Info:
    merged = dict(ours)
    for entry in {**base, **theirs}:
        changed_here = ours.get(entry) != base.get(entry)
        changed_there = theirs.get(entry) != base.get(entry)
        if not changed_there or (changed_here and ours_first):
            continue
        if entry in theirs:
            merged[entry] = theirs[entry]
        else:
            merged.pop(entry, None)
    return merged


def read_info(db: sqlite3.Connection, key: InfoKey) -> Info | None:
    """What is kept for an image or label, inside a transaction."""
    row = db.execute("SELECT info FROM information WHERE kind = ? AND id = ? AND tag = ?", key).fetchone()
    return json.loads(row[0]) if row else None


def write_info(db: sqlite3.Connection, key: InfoKey, info: Mapping[str, Any], updated: float) -> None:
    """Keep an information, inside a transaction."""
    db.execute(
        "INSERT INTO information (kind, id, tag, info, updated) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET info = excluded.info, updated = excluded.updated",
        (*key, _text(info), updated),
    )


def _text(info: Mapping[str, Any]) -> str:
    try:
        return json.dumps(info, default=str)
    except (TypeError, ValueError) as error:
        raise StoreError(f"information must be made of JSON types: {error}.") from error
