"""Scores of scans, and why a scan has none."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from segtrust.errors import StoreError
from segtrust.store.database import Database

__all__ = ["SCORE_SCHEMA", "BriefScore", "ScoreKey", "ScoreTable", "StoredScore"]

SCORE_SCHEMA = 2
"""Meaning of the stored numbers; raised when a score's definition changes."""

_COLUMNS = (
    "SELECT scan_id, fingerprint, version_digest, settings_digest, schema, score, details, flags, error,"
    " updated FROM scores"
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
    """One scan's result: ``score`` (high = less sure; ``None`` if empty or failed), details, flags, error.

    ``details`` are further numbers and words; ``flags`` say what a reader should know of the scan, each with
    a ``code``; ``error`` is why there is no score. All are of JSON types. ``updated`` is when it was stored.
    """

    key: ScoreKey
    score: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    updated: float = 0.0

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the flags."""
        return tuple(str(flag["code"]) for flag in self.flags)


class BriefScore(NamedTuple):
    """Score, reason of failure, codes of the flags, and the file that was scored."""

    score: float | None
    error: str | None
    codes: tuple[str, ...]
    fingerprint: str

    @property
    def details(self) -> Mapping[str, Any]:
        """Nothing: they were not read."""
        return {}


class ScoreTable(Database):
    """One row for each scan, version, settings and content of the file."""

    def put_score(self, row: StoredScore) -> None:
        """Keep a scan's score, or why it has none; an earlier row of the same key is replaced.

        Args:
            row: what to keep; the store notes the time itself.

        Raises:
            StoreError: if a number is NaN or infinite, a flag has no code, or the file cannot be written.
        """
        try:
            details = json.dumps(dict(row.details), allow_nan=False, sort_keys=True)
            flags = json.dumps([dict(flag) for flag in row.flags], allow_nan=False)
            json.dumps(row.score, allow_nan=False)
            codes = ",".join(row.codes)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"the score of {row.key.scan_id!r} must be made of finite numbers and JSON types, "
                f"each flag with its `code`: {error!r}."
            ) from error
        key = row.key
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO scores (scan_id, fingerprint, version_digest, settings_digest,"
                " schema, score, details, flags, flag_codes, error, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(key.scan_id, key.fingerprint, key.version_digest, key.settings_digest, key.schema),
                    *(row.score, details, flags, codes, row.error, time.time()),
                ),
            )

    def get_score(self, key: ScoreKey) -> StoredScore | None:
        """The score of exactly this key, or ``None``."""
        scores = self._select(
            "version_digest = ? AND settings_digest = ? AND schema = ? AND scan_id = ? AND fingerprint = ?",
            (key.version_digest, key.settings_digest, key.schema, key.scan_id, key.fingerprint),
        )
        return scores[0] if scores else None

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

    def scores_brief(self, version_digest: str, settings_digest: str) -> dict[str, BriefScore]:
        """All scores of one model version without their details: cheap for any number of scans.

        Args:
            version_digest: which version.
            settings_digest: under which settings.

        Returns:
            Scan id -> its newest score.
        """
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT scan_id, score, error, flag_codes, fingerprint FROM scores WHERE version_digest = ?"
                " AND settings_digest = ? AND schema = ? ORDER BY updated",
                (version_digest, settings_digest, SCORE_SCHEMA),
            ).fetchall()
        return {
            scan_id: BriefScore(score, error, tuple(codes.split(",")) if codes else (), fingerprint)
            for scan_id, score, error, codes, fingerprint in rows
        }

    def scores_stamp(self, version_digest: str, settings_digest: str) -> str:
        """A text that changes whenever a score of a model version is added or replaced.

        Args:
            version_digest: which version.
            settings_digest: under which settings.

        Returns:
            Number of scores and time of the latest.
        """
        with self._transaction("DEFERRED") as db:
            count, latest = db.execute(
                "SELECT count(*), max(updated) FROM scores WHERE version_digest = ?"
                " AND settings_digest = ? AND schema = ?",
                (version_digest, settings_digest, SCORE_SCHEMA),
            ).fetchone()
        return f"{count} {latest!r}"

    def _select(self, where: str, values: Sequence[Any]) -> list[StoredScore]:
        query = f"{_COLUMNS} WHERE {where}"
        with self._transaction("DEFERRED") as db:
            rows = db.execute(query, values).fetchall()
        return [_row(row) for row in rows]


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
