"""The tables of the state file, form after form; a file of an older form is brought up when it is opened."""

__all__ = ["MIGRATIONS"]

MIGRATIONS = (
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
    """
    ALTER TABLE scores ADD COLUMN flag_codes TEXT NOT NULL DEFAULT '';
    UPDATE scores SET flag_codes = (
        SELECT coalesce(group_concat(json_extract(value, '$.code'), ','), '') FROM json_each(scores.flags)
    );
    CREATE INDEX scores_in_brief ON scores (
        version_digest, settings_digest, schema, updated, scan_id, score, error, flag_codes, fingerprint
    );
    CREATE TABLE leases (
        scan_id TEXT NOT NULL, client_id TEXT NOT NULL, strategy TEXT NOT NULL,
        begun REAL NOT NULL, ends REAL NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (scan_id, client_id)
    ) WITHOUT ROWID;
    CREATE TABLE slots (name TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE batches (
        model TEXT NOT NULL, version_digest TEXT NOT NULL, strategy TEXT NOT NULL, seed INTEGER NOT NULL,
        stamp TEXT NOT NULL, picks TEXT NOT NULL, made REAL NOT NULL,
        PRIMARY KEY (model, version_digest, strategy, seed)
    );
    CREATE TABLE reviews (
        scan_id TEXT PRIMARY KEY, reviewed TEXT NOT NULL, slices INTEGER NOT NULL, ts REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE information (
        kind TEXT NOT NULL, id TEXT NOT NULL, tag TEXT NOT NULL, info TEXT NOT NULL, updated REAL NOT NULL,
        written TEXT,
        PRIMARY KEY (kind, id, tag)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE journal (
        number INTEGER PRIMARY KEY AUTOINCREMENT, scan_id TEXT NOT NULL, steps TEXT NOT NULL,
        before TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE trail (
        id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, hash TEXT NOT NULL,
        size INTEGER NOT NULL, begins INTEGER NOT NULL
    );
    CREATE TABLE trail_tail (number INTEGER PRIMARY KEY, place INTEGER NOT NULL, line BLOB NOT NULL);
    """,
    """
    CREATE TABLE watched (
        number INTEGER PRIMARY KEY AUTOINCREMENT, version_digest TEXT NOT NULL, stream TEXT NOT NULL,
        patient TEXT NOT NULL, scan TEXT NOT NULL, p_values TEXT NOT NULL, seen REAL NOT NULL,
        UNIQUE (version_digest, stream, patient)
    );
    """,
)
"""Statements that lead from one form (``user_version``) to the next; never changed once released."""
