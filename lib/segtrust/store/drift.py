"""Scans that were watched for drift: what is kept of one scan of each patient, stream by stream."""

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from segtrust.store.database import Database
from segtrust.store.scores import SCORE_SCHEMA

__all__ = ["DriftTable", "UnwatchedScan", "WatchedScan"]


class UnwatchedScan(NamedTuple):
    """A scored scan of a patient who was not watched yet: keyed hash of the patient, and what was scored."""

    patient: str
    facts: Mapping[str, Any]


class WatchedScan(NamedTuple):
    """A scan that was watched, in the order of watching: what was seen, its p-values, and when."""

    stream: str
    scan: Mapping[str, Any]
    p_values: Mapping[str, float]
    seen: float


class DriftTable(Database):
    """One row for each patient, version and stream; never changed once written."""

    def unwatched(self, version_digest: str, settings_digest: str, limit: int) -> list[UnwatchedScan]:
        """Scored scans of patients who were not watched yet, in the order of scoring.

        Args:
            version_digest: which version.
            settings_digest: under which settings.
            limit: at most so many.

        Returns:
            One for each patient and stream; scans without a patient's role, and scores of a time when
            nothing was watched, are left out.
        """
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT r.patient, json_extract(s.details, '$.watched') FROM scores s"
                " JOIN roles r ON r.scan_id = s.scan_id"
                " WHERE s.version_digest = ? AND s.settings_digest = ? AND s.schema = ? AND s.error IS NULL"
                " AND json_extract(s.details, '$.watched') IS NOT NULL"
                " AND NOT EXISTS (SELECT 1 FROM watched w WHERE w.version_digest = s.version_digest"
                " AND w.stream = json_extract(s.details, '$.watched.stream') AND w.patient = r.patient)"
                " GROUP BY r.patient, json_extract(s.details, '$.watched.stream')"
                " ORDER BY min(s.updated), s.scan_id LIMIT ?",
                (version_digest, settings_digest, SCORE_SCHEMA, limit),
            ).fetchall()
        return [UnwatchedScan(patient, json.loads(facts)) for patient, facts in rows]

    def watched(self, version_digest: str) -> list[WatchedScan]:
        """All scans that were watched under a version, in the order of watching."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT stream, scan, p_values, seen FROM watched WHERE version_digest = ? ORDER BY number",
                (version_digest,),
            ).fetchall()
        return [WatchedScan(stream, json.loads(scan), json.loads(p), seen) for stream, scan, p, seen in rows]

    def watched_count(self, version_digest: str) -> int:
        """How many scans were watched under a version."""
        with self._transaction("DEFERRED") as db:
            (count,) = db.execute(
                "SELECT count(*) FROM watched WHERE version_digest = ?", (version_digest,)
            ).fetchone()
        return int(count)

    def watch(
        self,
        version_digest: str,
        patient: str,
        row: WatchedScan,
        *,
        after: int,
    ) -> bool:
        """Keep one more scan, unless another process kept one meanwhile.

        Args:
            version_digest: under which version.
            patient: keyed hash of the patient.
            row: what to keep; its time is that of the store.
            after: number of scans that the p-values rest on, from :meth:`watched_count`.

        Returns:
            Whether it was kept.

        Raises:
            StoreError: if the file cannot be written.
        """
        scan = json.dumps(dict(row.scan), allow_nan=False)
        values = json.dumps(dict(row.p_values), allow_nan=False)
        with self._transaction() as db:
            (count,) = db.execute(
                "SELECT count(*) FROM watched WHERE version_digest = ?", (version_digest,)
            ).fetchone()
            if count != after:
                return False
            db.execute(
                "INSERT OR IGNORE INTO watched (version_digest, stream, patient, scan, p_values, seen)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (version_digest, row.stream, patient, scan, values, time.time()),
            )
        return True

    def unwatch(self, patient: str) -> int:
        """Forget what was watched of a patient.

        Args:
            patient: keyed hash of the name.

        Returns:
            How many rows went.
        """
        with self._transaction() as db:
            return db.execute("DELETE FROM watched WHERE patient = ?", (patient,)).rowcount

    def watch_anew(self, version_digest: str) -> int:
        """Forget what was watched under a version, so that its streams begin anew.

        Args:
            version_digest: which version.

        Returns:
            How many scans were forgotten. Scans scored before are not watched again.
        """
        with self._transaction() as db:
            cursor = db.execute("DELETE FROM watched WHERE version_digest = ?", (version_digest,))
            db.execute(
                "UPDATE scores SET details = json_remove(details, '$.watched') WHERE version_digest = ?",
                (version_digest,),
            )
            return cursor.rowcount
