"""Who works on which scan, so that two people never get the same one."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from segtrust.store.database import Database

__all__ = ["Lease", "LeaseTable", "Served"]

_NAMED_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """A scan that was handed to somebody: who asked, which strategy chose it, when (seconds since 1970)."""

    scan_id: str
    client_id: str
    strategy: str
    ts: float


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A scan in somebody's hands; ``begun`` and ``ends`` in seconds since 1970.

    ``held``: until ``ends`` nobody else gets it. ``expired``: it may be served again. ``skipped``: the client
    asked for another one. ``submitted``: its label is there.
    """

    scan_id: str
    client_id: str
    strategy: str
    begun: float
    ends: float
    state: Literal["held", "expired", "skipped", "submitted"]


class LeaseTable(Database):
    """Scans in people's hands, and every scan that was ever handed out."""

    def lease(
        self,
        scan_ids: Sequence[str],
        client_id: str,
        *,
        strategy: str | Callable[[str], str],
        now: float | None = None,
        minutes: float = 60,
    ) -> str | None:
        """Hand out the first scan that is free, and note who has it.

        What a named client holds unsubmitted counts as skipped: the client gets it again only when nothing
        else is free, the one skipped longest ago first. Others may get it at once.

        Args:
            scan_ids: scans that may be served, in the order of the strategy.
            client_id: who asks; empty for somebody without a name, who may be several people.
            strategy: which strategy chose the scan, or a function from the scan to its strategy's name.
            now: seconds since 1970; the clock's unless given.
            minutes: after how long the scan of somebody without a name is free again. Named: 24 h.

        Returns:
            The scan; ``None`` if each is submitted or in somebody's hands.

        Raises:
            StoreError: if the file cannot be written.
        """
        when = time.time() if now is None else float(now)
        with self._transaction() as db:
            if client_id:
                db.execute(
                    "UPDATE leases SET state = 'skipped' WHERE client_id = ? AND state = 'held'", (client_id,)
                )
            taken, skipped = _taken(db, when), _skipped(db, client_id) if client_id else {}
            free = (scan for scan in scan_ids if scan not in taken)
            scan_id = next((scan for scan in free if scan not in skipped), None)
            if scan_id is None:
                offered = set(scan_ids) - taken
                scan_id = next((scan for scan in skipped if scan in offered), None)
            if scan_id is None:
                return None
            chosen_by = strategy if isinstance(strategy, str) else strategy(scan_id)
            ends = when + (_NAMED_S if client_id else 60 * minutes)
            db.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, 'held')",
                (scan_id, client_id, chosen_by, when, ends),
            )
            db.execute("INSERT INTO served VALUES (?, ?, ?, ?)", (scan_id, client_id, chosen_by, when))
            return scan_id

    def submitted(self, scan_id: str, client_id: str = "") -> None:
        """Close all leases of a scan whose final label is there; it is never served again.

        Args:
            scan_id: the scan.
            client_id: who submitted it; empty if unknown.
        """
        now = time.time()
        with self._transaction() as db:
            db.execute("UPDATE leases SET state = 'submitted' WHERE scan_id = ?", (scan_id,))
            db.execute(
                "INSERT OR IGNORE INTO leases VALUES (?, ?, '', ?, ?, 'submitted')",
                (scan_id, client_id, now, now),
            )

    def submitted_anew(self, scan_id: str, client_id: str = "") -> None:
        """As :meth:`submitted`, and what was noted about an earlier label of the scan is forgotten.

        At no time in between is the scan free: it would be handed to somebody else.

        Args:
            scan_id: the scan.
            client_id: who submitted it; empty if unknown.
        """
        now = time.time()
        with self._transaction() as db:
            db.execute("DELETE FROM leases WHERE scan_id = ?", (scan_id,))
            db.execute("DELETE FROM reviews WHERE scan_id = ?", (scan_id,))
            db.execute(
                "INSERT INTO leases VALUES (?, ?, '', ?, ?, 'submitted')", (scan_id, client_id, now, now)
            )

    def withdrawn(self, scan_id: str) -> None:
        """Let a scan be served again, as if nobody had had it: its final label was removed."""
        with self._transaction() as db:
            db.execute("DELETE FROM leases WHERE scan_id = ?", (scan_id,))
            db.execute("DELETE FROM reviews WHERE scan_id = ?", (scan_id,))

    def leases(self, now: float | None = None) -> list[Lease]:
        """The latest lease of every scan and client, oldest first.

        Args:
            now: seconds since 1970; the clock's unless given.

        Returns:
            Leases with their state at that time.
        """
        when = time.time() if now is None else float(now)
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT scan_id, client_id, strategy, begun, ends, state FROM leases ORDER BY begun, scan_id"
            ).fetchall()
        return [
            Lease(
                scan_id=scan_id,
                client_id=client_id,
                strategy=strategy,
                begun=begun,
                ends=ends,
                state="expired" if state == "held" and ends <= when else state,
            )
            for scan_id, client_id, strategy, begun, ends, state in rows
        ]

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


def _taken(db: sqlite3.Connection, when: float) -> set[str]:
    rows = db.execute(
        "SELECT scan_id FROM leases WHERE state = 'submitted' OR (state = 'held' AND ends > ?)", (when,)
    )
    return {scan_id for (scan_id,) in rows}


def _skipped(db: sqlite3.Connection, client_id: str) -> dict[str, float]:
    rows = db.execute(
        "SELECT scan_id, begun FROM leases WHERE client_id = ? AND state = 'skipped' ORDER BY begun, scan_id",
        (client_id,),
    )
    return dict(rows.fetchall())
