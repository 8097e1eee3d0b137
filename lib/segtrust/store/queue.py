"""What the queue remembers: used slots, ranked batches, and which slices of a label were looked at."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from segtrust.errors import StoreError
from segtrust.store.database import Database

__all__ = ["QueueTable", "Review"]

_BATCHES = 16  # kept for each model: every seed that somebody asks for makes one


@dataclass(frozen=True, kw_only=True)
class Review:
    """Which slices of a scan's label somebody looked at, of how many."""

    scan_id: str
    reviewed: tuple[int, ...]
    slices: int

    @property
    def is_complete(self) -> bool:
        """Whether every slice was looked at."""
        return len(self.reviewed) == self.slices


class QueueTable(Database):
    """State of the queue that a restart must not lose."""

    def advance(self, name: str) -> int:
        """Use one more slot of a queue.

        Args:
            name: which queue.

        Returns:
            How many are used now; no two callers get the same number.
        """
        with self._transaction() as db:
            (used,) = db.execute(
                "INSERT INTO slots VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET used = used + 1"
                " RETURNING used",
                (name,),
            ).fetchone()
        return int(used)

    def put_batch(
        self,
        model: str,
        version_digest: str,
        strategy: str,
        seed: int,
        picks: Sequence[Mapping[str, Any]],
        *,
        stamp: str,
    ) -> None:
        """Keep a ranked batch; those of other versions of the model are dropped.

        Args:
            model: name of the model.
            version_digest: version whose scores were ranked.
            strategy: that ranked them.
            seed: of the ranking.
            picks: the batch in its order, JSON types.
            stamp: of the scores that were ranked, from :meth:`StateStore.scores_stamp`.

        Raises:
            StoreError: if a pick is not made of finite numbers and JSON types.
        """
        try:
            text = json.dumps([dict(pick) for pick in picks], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise StoreError(f"a batch must be made of finite numbers and JSON types: {error}.") from error
        with self._transaction() as db:
            db.execute("DELETE FROM batches WHERE model = ? AND version_digest <> ?", (model, version_digest))
            db.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)",
                (model, version_digest, strategy, seed, stamp, text, time.time()),
            )
            db.execute(
                "DELETE FROM batches WHERE model = ? AND rowid NOT IN"
                " (SELECT rowid FROM batches WHERE model = ? ORDER BY made DESC, rowid DESC LIMIT ?)",
                (model, model, _BATCHES),
            )

    def batch(
        self, model: str, version_digest: str, strategy: str, seed: int, *, stamp: str
    ) -> list[dict[str, Any]] | None:
        """The batch that :meth:`put_batch` kept.

        Args:
            model: name of the model.
            version_digest: version whose scores were ranked.
            strategy: that ranked them.
            seed: of the ranking.
            stamp: of the scores as they are now.

        Returns:
            The picks; ``None`` if there is none, or scores came since: then rank anew.
        """
        with self._transaction("DEFERRED") as db:
            row = db.execute(
                "SELECT picks FROM batches WHERE model = ? AND version_digest = ? AND strategy = ?"
                " AND seed = ? AND stamp = ?",
                (model, version_digest, strategy, seed, stamp),
            ).fetchone()
        return list(json.loads(row[0])) if row else None

    def keep_review(self, scan_id: str, reviewed: Sequence[int] | Literal["all"], slices: int) -> None:
        """Note which slices of a label somebody looked at.

        Args:
            scan_id: the scan.
            reviewed: numbers of the slices, from 0; ``"all"`` for every one. Replaces what was noted before.
            slices: how many the scan has.

        Raises:
            StoreError: if a number is not that of a slice.
        """
        numbers = sorted(set(range(slices) if reviewed == "all" else map(int, reviewed)))
        if slices < 1 or (numbers and not 0 <= numbers[0] <= numbers[-1] < slices):
            raise StoreError(
                f"reviewed slices of {scan_id!r} must be numbers from 0 to {slices - 1}, got {numbers}. "
                "Are they counted from 1?"
            )
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO reviews VALUES (?, ?, ?, ?)",
                (scan_id, json.dumps(numbers), slices, time.time()),
            )

    def review(self, scan_id: str) -> Review | None:
        """What of a scan's label was looked at; ``None`` if nobody said."""
        with self._transaction("DEFERRED") as db:
            row = db.execute("SELECT reviewed, slices FROM reviews WHERE scan_id = ?", (scan_id,)).fetchone()
        return row and Review(scan_id=scan_id, reviewed=tuple(json.loads(row[0])), slices=row[1])
