"""What a site knows about its scans, in one SQLite file that several processes open at the same time.

- ``scores``: scores of scans; ``roles``: roles of patients and the site's key
- ``leases``: who works on which scan; ``queue``: slots, ranked batches, reviewed slices
- ``drift``: scans watched for drift
- ``information``: what viewers keep with images and labels; ``journal``: changes of it together with files
- ``chain``, ``trail``: the audit trail, whose lines lie in a file of their own
- ``records``: all of this for one scan, when another one gets its id
- ``database``, ``migrations``: the file and its form; ``place``: where it lies
"""

from segtrust.store.chain import ChainError
from segtrust.store.drift import DriftTable, UnwatchedScan, WatchedScan
from segtrust.store.information import Info, InfoKey
from segtrust.store.journal import Change, JournalTable
from segtrust.store.leases import Lease, LeaseTable, Served
from segtrust.store.place import state_dir_for
from segtrust.store.queue import QueueTable, Review
from segtrust.store.records import Record, RecordTable
from segtrust.store.scores import SCORE_SCHEMA, BriefScore, ScoreKey, ScoreTable, StoredScore
from segtrust.store.trail import Found, TrailTable, person_here

__all__ = [
    "SCORE_SCHEMA",
    "BriefScore",
    "ChainError",
    "Change",
    "Found",
    "Info",
    "InfoKey",
    "Lease",
    "Record",
    "Review",
    "ScoreKey",
    "Served",
    "StateStore",
    "StoredScore",
    "UnwatchedScan",
    "WatchedScan",
    "person_here",
    "state_dir_for",
]


class StateStore(ScoreTable, LeaseTable, QueueTable, RecordTable, JournalTable, TrailTable, DriftTable):
    """The state file of one site.

    Every call is one short transaction, so threads, the server, its subprocesses and the command line can
    share it.

    Args:
        path: the file, made with its folder if it does not exist.

    Raises:
        StoreError: if the file is no state file, is newer than this program, or stays locked.
    """
