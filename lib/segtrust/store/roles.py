"""Roles of patients, the secret that they follow from, and short notes of the site."""

import secrets
import sqlite3
import time
from collections.abc import Mapping

from segtrust.errors import StoreError
from segtrust.roles import Role, patient_hash, role_of
from segtrust.store.database import Database

__all__ = ["RoleTable", "read_site_key"]

_KEY = "key"


class RoleTable(Database):
    """What is fixed for the site: its key, the roles of its patients, and notes that outlive a process."""

    _kept_key: tuple[tuple[int, int], bytes] | None = None  # of the file that was open then

    def site_key(self) -> bytes:
        """The site's secret, 32 random bytes made once: roles and hashes of patients follow from it."""
        now = self._now()
        if self._kept_key is None or self._kept_key[0] != now:
            with self._transaction() as db:
                key = read_site_key(db)
            self._kept_key = self._now(), key
        return self._kept_key[1]

    def fix_roles(self, subjects: Mapping[str, str]) -> dict[str, Role]:
        """Give every scan its patient's role, for ever.

        Args:
            subjects: scan id -> name of the patient. Only a keyed hash of the name is kept.

        Returns:
            Scan id -> role. A scan that has a role keeps it, whatever is said about its patient now; a new
            scan of a known patient gets the patient's role.

        Raises:
            StoreError: if the file cannot be written.
        """
        with self._transaction() as db:
            key, now = read_site_key(db), time.time()
            roles: dict[str, Role] = dict(db.execute("SELECT scan_id, role FROM roles").fetchall())
            for scan_id, subject in sorted(subjects.items()):
                if scan_id in roles:
                    continue
                patient = patient_hash(subject, key)
                (role,) = db.execute(
                    "SELECT role FROM roles WHERE patient = ? ORDER BY fixed, scan_id LIMIT 1", (patient,)
                ).fetchone() or (role_of(subject, key),)
                db.execute("INSERT INTO roles VALUES (?, ?, ?, ?)", (scan_id, patient, role, now))
                roles[scan_id] = role
            return {scan_id: roles[scan_id] for scan_id in sorted(subjects)}

    def roles(self) -> dict[str, tuple[str, Role]]:
        """Keyed hash of the patient, and role, of every scan that has one."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute("SELECT scan_id, patient, role FROM roles").fetchall()
        return {scan_id: (patient, role) for scan_id, patient, role in rows}

    def patient_of(self, scan_id: str) -> str | None:
        """Keyed hash of a scan's patient; ``None`` if the scan has no role yet."""
        with self._transaction("DEFERRED") as db:
            row = db.execute("SELECT patient FROM roles WHERE scan_id = ?", (scan_id,)).fetchone()
        return None if row is None else str(row[0])

    def scans_of(self, patient: str) -> list[str]:
        """Scans of a patient.

        Args:
            patient: keyed hash of the name.
        """
        with self._transaction("DEFERRED") as db:
            rows = db.execute("SELECT scan_id FROM roles WHERE patient = ? ORDER BY scan_id", (patient,))
            return [scan_id for (scan_id,) in rows]

    def note(self, name: str) -> str | None:
        """A note that :meth:`keep_note` kept, or ``None``."""
        _check_note(name)
        with self._transaction("DEFERRED") as db:
            row = db.execute("SELECT value FROM site WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0]).decode()

    def keep_note(self, name: str, text: str | None) -> None:
        """Keep a short text under a name, such as a request to score that a restart must not lose.

        Args:
            name: any but ``key``.
            text: replaces an earlier text; ``None`` removes it.

        Raises:
            StoreError: if the name is that of the site's secret, or the file cannot be written.
        """
        _check_note(name)
        with self._transaction() as db:
            if text is None:
                db.execute("DELETE FROM site WHERE name = ?", (name,))
            else:
                db.execute("INSERT OR REPLACE INTO site VALUES (?, ?)", (name, text.encode()))


def _check_note(name: str) -> None:
    if name == _KEY:
        raise StoreError("the site's key must not be read or written as a note. Use another name.")


def read_site_key(db: sqlite3.Connection) -> bytes:
    """The site's secret, made if there is none, inside a transaction that may write."""
    db.execute("INSERT OR IGNORE INTO site VALUES (?, ?)", (_KEY, secrets.token_bytes(32)))
    (key,) = db.execute("SELECT value FROM site WHERE name = ?", (_KEY,)).fetchone()
    return bytes(key)
