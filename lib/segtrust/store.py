"""What a site knows about its scans, in one SQLite file that several processes open at the same time."""

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segtrust.errors import StoreError
from segtrust.roles import Role, patient_hash, role_of

__all__ = ["SCORE_SCHEMA", "ScoreKey", "Served", "StateStore", "StoredScore", "state_dir_for"]

SCORE_SCHEMA = 1
"""Meaning of the stored numbers; raised when a score's definition changes."""

_BUSY_MS = 15_000
_COLUMNS = (
    "SELECT scan_id, fingerprint, version_digest, settings_digest, schema, score, details, flags, error,"
    " updated FROM scores"
)
_MIGRATIONS = (
    """
    CREATE TABLE scores (
        scan_id TEXT NOT NULL, fingerprint TEXT NOT NULL, version_digest TEXT NOT NULL,
        settings_digest TEXT NOT NULL, schema INTEGER NOT NULL,
        score REAL, details TEXT NOT NULL, flags TEXT NOT NULL, error TEXT, updated REAL NOT NULL,
        PRIMARY KEY (version_digest, settings_digest, schema, scan_id, fingerprint)
    ) WITHOUT ROWID;
    CREATE TABLE served (
        scan_id TEXT NOT NULL, client_id TEXT NOT NULL, strategy TEXT NOT NULL, ts REAL NOT NULL
    );
    CREATE INDEX served_by_scan ON served (scan_id, ts);
    """,
    """
    CREATE TABLE site (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE roles (
        scan_id TEXT PRIMARY KEY, patient TEXT NOT NULL, role TEXT NOT NULL, fixed REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX roles_by_patient ON roles (patient, fixed);
    """,
)


@dataclass(frozen=True, kw_only=True)
class ScoreKey:
    """What a score depends on; if any part changes, the score is made anew."""

    scan_id: str
    fingerprint: str
    version_digest: str
    settings_digest: str
    schema: int = SCORE_SCHEMA


@dataclass(frozen=True, kw_only=True)
class StoredScore:
    """One scan's result: ``score`` (high = less sure; ``None`` if empty or failed), details, flags, error."""

    key: ScoreKey
    score: float | None
    details: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    updated: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """A scan that was handed to somebody: who asked, which strategy chose it, when (seconds since 1970)."""

    scan_id: str
    client_id: str
    strategy: str
    ts: float


class StateStore:
    """The state file of one site.

    Every call opens the file, does one short transaction and closes it, so threads, the server and its
    subprocesses can share it.

    Args:
        path: the file, made with its folder if it does not exist.

    Raises:
        StoreError: if the file is no state file, is newer than this program, or stays locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {error}. Name another `state_dir`.") from error
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(_MIGRATIONS):
                raise StoreError(
                    f"{path} has form {version}, this program knows forms up to {len(_MIGRATIONS)}. "
                    "Update segtrust, or name another `state_dir`."
                )
            for step in _MIGRATIONS[version:]:
                for statement in filter(str.strip, step.split(";")):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")

    def put_score(
        self,
        key: ScoreKey,
        score: float | None,
        *,
        details: Mapping[str, Any] | None = None,
        flags: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Keep a scan's score.

        Args:
            key: what the score depends on; an earlier score of the same key is replaced.
            score: high = less sure; ``None`` if the prediction is empty.
            details: further numbers and words, JSON types.
            flags: what a reader should know about the scan, JSON types.

        Raises:
            StoreError: if a number is NaN or infinite, or the file cannot be written.
        """
        self._put(StoredScore(key=key, score=score, details=details or {}, flags=tuple(flags)))

    def mark_failed(self, key: ScoreKey, error: str) -> None:
        """Keep the reason why a scan has no score, so that it is not tried again until something changes."""
        self._put(StoredScore(key=key, score=None, error=error))

    def get_score(self, key: ScoreKey) -> StoredScore | None:
        """The score of exactly this key, or ``None``."""
        found = self._select(
            "version_digest = ? AND settings_digest = ? AND schema = ? AND scan_id = ? AND fingerprint = ?",
            (key.version_digest, key.settings_digest, key.schema, key.scan_id, key.fingerprint),
        )
        return found[0] if found else None

    def scores(self, version_digest: str, settings_digest: str) -> dict[str, StoredScore]:
        """All scores of one model version.

        Args:
            version_digest: which version.
            settings_digest: under which settings.

        Returns:
            Scan id -> its newest score.
        """
        rows = self._select(
            "version_digest = ? AND settings_digest = ? AND schema = ?",
            (version_digest, settings_digest, SCORE_SCHEMA),
        )
        return {row.key.scan_id: row for row in sorted(rows, key=lambda row: row.updated)}

    def mark_served(self, scan_id: str, client_id: str, strategy: str, ts: float | None = None) -> None:
        """Note that a scan was handed out.

        Args:
            scan_id: the scan.
            client_id: who asked; empty if unknown.
            strategy: key that was called.
            ts: when, in seconds since 1970; now unless given.
        """
        when = time.time() if ts is None else float(ts)
        with self._transaction() as db:
            db.execute("INSERT INTO served VALUES (?, ?, ?, ?)", (scan_id, client_id, strategy, when))

    def served(self, scan_id: str) -> list[Served]:
        """When and to whom a scan was handed out, oldest first."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT scan_id, client_id, strategy, ts FROM served WHERE scan_id = ? ORDER BY ts",
                (scan_id,),
            ).fetchall()
        return [Served(scan_id=r[0], client_id=r[1], strategy=r[2], ts=r[3]) for r in rows]

    def site_key(self) -> bytes:
        """The site's secret, 32 random bytes made once: roles and hashes of patients follow from it."""
        with self._transaction() as db:
            return _site_key(db)

    def fix_roles(self, subjects: Mapping[str, str]) -> dict[str, Role]:
        """Give every scan its patient's role, for ever.

        Args:
            subjects: scan id -> name of the patient. Only a keyed hash of the name is kept.

        Returns:
            Scan id -> role. A scan that has a role keeps it, whatever is said about its patient now; a new
            scan of a known patient gets the patient's role.

        Raises:
            StoreError: if the file cannot be written.

        Source:
            ours.
        """
        with self._transaction() as db:
            key, now = _site_key(db), time.time()
            roles: dict[str, Role] = {}
            for scan_id, subject in sorted(subjects.items()):
                patient = patient_hash(subject, key)
                row = db.execute("SELECT role FROM roles WHERE scan_id = ?", (scan_id,)).fetchone()
                if row is None:
                    row = db.execute(
                        "SELECT role FROM roles WHERE patient = ? ORDER BY fixed, scan_id LIMIT 1", (patient,)
                    ).fetchone() or (role_of(subject, key),)
                    db.execute("INSERT INTO roles VALUES (?, ?, ?, ?)", (scan_id, patient, row[0], now))
                roles[scan_id] = row[0]
            return roles

    def _put(self, row: StoredScore) -> None:
        try:
            details = json.dumps(dict(row.details), allow_nan=False, sort_keys=True)
            flags = json.dumps([dict(flag) for flag in row.flags], allow_nan=False)
            json.dumps(row.score, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"the score of {row.key.scan_id!r} must be made of finite numbers and JSON types: {error}."
            ) from error
        key = row.key
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO scores (scan_id, fingerprint, version_digest, settings_digest,"
                " schema, score, details, flags, error, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(key.scan_id, key.fingerprint, key.version_digest, key.settings_digest, key.schema),
                    *(row.score, details, flags, row.error, time.time()),
                ),
            )

    def _select(self, where: str, values: Sequence[Any]) -> list[StoredScore]:
        query = f"{_COLUMNS} WHERE {where}"
        with self._transaction("DEFERRED") as db:
            return [_row(row) for row in db.execute(query, values).fetchall()]

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        db = None
        try:
            db = sqlite3.connect(self.path, timeout=_BUSY_MS / 1000, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"BEGIN {mode}")
            yield db
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(
                f"the state file {self.path} cannot be used: {error}. "
                "Is the disk full or read-only, or the file damaged? Move it away to start anew; "
                "scores are then computed again."
            ) from error
        finally:
            if db is not None:
                db.close()


def _site_key(db: sqlite3.Connection) -> bytes:
    db.execute("INSERT OR IGNORE INTO site VALUES ('key', ?)", (secrets.token_bytes(32),))
    (key,) = db.execute("SELECT value FROM site WHERE name = 'key'").fetchone()
    return bytes(key)


def _row(values: Sequence[Any]) -> StoredScore:
    scan_id, fingerprint, version, settings, schema, score, details, flags, error, updated = values
    return StoredScore(
        key=ScoreKey(
            scan_id=scan_id,
            fingerprint=fingerprint,
            version_digest=version,
            settings_digest=settings,
            schema=schema,
        ),
        score=score,
        details=json.loads(details),
        flags=tuple(json.loads(flags)),
        error=error,
        updated=updated,
    )


def state_dir_for(studies: str, setting: Path | None = None) -> Path:
    """Folder for everything a site writes.

    Args:
        studies: MONAI Label's studies: a folder, or the URL of a DICOMweb server.
        setting: a folder that the site chose; it wins.

    Returns:
        ``setting``, or ``<studies>/.segtrust``, or for a URL a folder of the user named by a hash of it.

    Source:
        ours.

    Example:
        >>> state_dir_for("/data/scans").name
        '.segtrust'
    """
    if setting is not None:
        return setting.expanduser().resolve()
    if studies.startswith(("http://", "https://")):
        # only a remote archive needs it, and only the extra `label` installs it
        from platformdirs import user_data_path  # noqa: PLC0415

        digest = hashlib.sha256(studies.rstrip("/").encode()).hexdigest()[:16]
        return Path(user_data_path("segtrust", appauthor=False)) / digest
    return Path(studies).expanduser().resolve() / ".segtrust"
