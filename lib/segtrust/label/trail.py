"""What goes into the audit trail: who did what, and never a patient by name."""

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from segtrust.errors import SegtrustError, StoreError
from segtrust.inference.scan import fingerprint
from segtrust.store import ChainError, StateStore

__all__ = ["AuditTrail", "act_as", "acting", "file_hash"]

logger = logging.getLogger(__name__)

_SECONDS_OF_A_DAY = 86_400.0
_acting: ContextVar[str] = ContextVar("acting", default="")


def act_as(name: str) -> None:
    """Note who asks, for everything that the present request or command does."""
    _acting.set(name)


def acting() -> str:
    """Who asks; empty for nobody known."""
    return _acting.get()


class AuditTrail:
    """What is done, as records.

    Args:
        store: state file of the site, which has the trail.

    Note:
        What shows or gives out something is recorded before it is sent: where the trail cannot be written,
        the request fails. What changes something is recorded with the change
        (:class:`~segtrust.label.studies.changes.FileChanges`).
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def scan(self, scan_id: str) -> dict[str, Any]:
        """Names of a scan and its patient that say nothing to whoever lacks the site's key."""
        patient = self._store.patient_of(scan_id)
        return {"scan": self._store.scan_hash(scan_id)} | ({"patient": patient} if patient else {})

    def inference(
        self,
        task: str,
        scan_id: str | None,
        path: Path,
        about: Mapping[str, Any],
        result: Path | None,
        by: str = "",
    ) -> None:
        """A model said something about a scan.

        Args:
            task: what was asked for.
            scan_id: the scan's id; ``None`` for one that a client sent.
            path: its file.
            about: version and digest of the model, options of the request, codes of the flags.
            result: the file that is sent; ``None`` for numbers alone.
            by: who asked, where nobody logs in.
        """
        facts = {
            "task": task,
            **(self.scan(scan_id) if scan_id else {}),
            "fingerprint": fingerprint(path),
            **about,
        }
        if result is not None:
            facts["result"] = file_hash(result)
        self._store.append("inference", acting() or by, facts)

    def export(self, what: str, scan_id: str | None = None, tag: str = "") -> None:
        """Somebody fetched a scan, a label, or all of them."""
        facts = {"what": what, **(self.scan(scan_id) if scan_id else {}), **({"tag": tag} if tag else {})}
        self._store.append("export", acting(), facts)

    def login(self, name: str, how: str, let_in: bool) -> None:
        """Somebody logged in, or tried.

        Args:
            name: of a user; empty where none has the name that was sent: people type passwords there.
            how: by what.
            let_in: whether it was right.
        """
        try:
            self._store.append("log-in" if let_in else "log-in refused", name, {"how": how})
        except StoreError as error:  # a full disk must not keep an administrator out who could make room
            logger.warning("A log-in could not be recorded: %s", error)

    def act(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Something that changes the site: a training, a publication."""
        self._store.append(kind, acting(), facts, durable=True)

    def look_after(self, days: float) -> None:
        """Check the trail, and drop what is older than the site keeps, in a thread of its own.

        Args:
            days: how long records are kept; 0 for ever.
        """

        def run() -> None:
            try:
                found = self._store.verify_trail()
                logger.info("The audit trail checks: %d records, the last %s", found.records, found.end.hash)
                if days and found.records:
                    self._store.prune_trail(time.time() - days * _SECONDS_OF_A_DAY, "")
            except ChainError as error:
                logger.critical("THE AUDIT TRAIL DOES NOT CHECK: %s", error)
            except SegtrustError as error:
                logger.warning("The audit trail cannot be read: %s", error)

        threading.Thread(target=run, name="audit", daemon=True).start()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
