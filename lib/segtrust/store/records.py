"""Everything that is derived from one scan: taken out when another scan gets its id, and put back."""

from collections.abc import Mapping, Sequence
from typing import Any

from segtrust.store.database import Database

__all__ = ["Record", "RecordTable"]

Record = Mapping[str, Sequence[Mapping[str, Any]]]
"""Table -> its rows, as column -> value."""

_NAMING = {"scores": "scan_id", "leases": "scan_id", "reviews": "scan_id", "served": "scan_id",
           "roles": "scan_id", "journal": "scan_id", "information": "id"}  # fmt: skip
_TABLES = ("scores", "leases", "reviews")


class RecordTable(Database):
    """Scores, leases and reviewed slices of one scan, as one thing."""

    def record_of(self, scan_id: str) -> dict[str, list[dict[str, Any]]]:
        """Everything that is derived from a scan, in JSON types."""
        record = {}
        with self._transaction("DEFERRED") as db:
            for table in _TABLES:
                cursor = db.execute(f"SELECT * FROM {table} WHERE scan_id = ?", (scan_id,))  # noqa: S608 -- ours
                columns = [column[0] for column in cursor.description]
                record[table] = [dict(zip(columns, row, strict=True)) for row in cursor]
        return record

    def put_record(self, scan_id: str, record: Record) -> None:
        """Let this be everything that is derived from a scan.

        Args:
            scan_id: the scan.
            record: from :meth:`record_of`; empty forgets everything.
        """
        with self._transaction() as db:
            for table in _TABLES:
                db.execute(f"DELETE FROM {table} WHERE scan_id = ?", (scan_id,))  # noqa: S608 -- ours
                columns = {column[1] for column in db.execute(f"PRAGMA table_info({table})")}
                for row in record.get(table, ()):
                    names = [name for name in row if name in columns]
                    marks = ", ".join("?" * len(names))
                    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 -- ours
                    db.execute(statement, [row[name] for name in names])

    def forget_scan(self, scan_id: str) -> int:
        """Delete every row that names a scan, and ranked batches, which may; nothing brings them back.

        Args:
            scan_id: the scan.

        Returns:
            How many rows there were.
        """
        with self._transaction(durable=True) as db:
            rows = 0
            for table, column in _NAMING.items():
                rows += db.execute(f"DELETE FROM {table} WHERE {column} = ?", (scan_id,)).rowcount  # noqa: S608 -- ours
            db.execute("DELETE FROM batches")
        return rows

    def scrub(self) -> None:
        """Write the file anew, so that nothing of deleted rows is left in it or beside it."""
        with self._lock:
            db = self._connection()
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
