"""One request to score, how far it has come, and how MONAI Label's clients are told."""

import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from segtrust.label.scoring.scan_scores import reason_of
from segtrust.models import ModelVersion

__all__ = ["ScoringRun"]

State = Literal["queued", "running", "done", "stopped", "failed"]

_PACE = 20  # scans over which the time left is estimated
_REASONS_TOLD = 20
_TASK_STATES = {
    "queued": "SUBMITTED",
    "running": "RUNNING",
    "done": "DONE",
    "stopped": "STOPPED",
    "failed": "ERROR",
}
_TIME = "%Y-%m-%d %H:%M:%S"  # MONAI Label's, in local time


def _now() -> datetime:
    return datetime.now(UTC).astimezone()


@dataclass(eq=False)
class ScoringRun:
    """A run of one model over the scans that have no score under the version of now.

    ``total`` scans have no label, ``done`` of them are scored or known to fail; ``failed`` has the reasons
    that this run found. ``waits_for`` says in words what has the way before the next scan.
    """

    model: str
    state: State = "queued"
    version: ModelVersion | None = None
    total: int = 0
    done: int = 0
    scores: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    waits_for: str | None = None
    error: Exception | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    pace: deque[float] = field(default_factory=lambda: deque(maxlen=_PACE))
    asked: datetime = field(default_factory=_now)
    ended: datetime | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def is_open(self) -> bool:
        """Whether it runs or waits for its turn."""
        return self.state in ("queued", "running")

    @property
    def left_s(self) -> float | None:
        """Seconds left at the pace of the last scans; ``None`` before the first one, 0 at the end."""
        if not self.is_open:
            return 0.0
        left = self.total - self.done
        return round(left * sum(self.pace) / len(self.pace), 1) if self.pace else None

    def begin(self, version: ModelVersion, total: int, missing: int) -> None:
        """Count from here on; what was done under an older version does not count."""
        if self.version is None or version.digest != self.version.digest:
            self.scores, self.failed = {}, {}
        self.version, self.total, self.done = version, total, total - missing

    def end(self, state: State) -> None:
        """Note how it ended."""
        self.state, self.ended, self.waits_for = state, _now(), None

    def result(self) -> dict[str, Any]:
        """What a client that waited for the end is answered."""
        return {
            "model": self.model,
            "version": self.version.id if self.version else None,
            "scores": dict(self.scores),
            "skipped": max(0, self.total - len(self.scores) - len(self.failed)),
            "failed": dict(self.failed),
        }

    def status(self) -> dict[str, Any]:
        """What only the run knows: time left, what it waits for, first reasons of scans that failed."""
        return {
            "state": self.state,
            "left_s": self.left_s,
            "waits_for": self.waits_for,
            "error": reason_of(self.error) if self.error else None,
            "reasons": dict(list(self.failed.items())[:_REASONS_TOLD]),
        }

    def task(self, status: dict[str, Any]) -> dict[str, Any]:
        """The run as MONAI Label describes a task.

        Args:
            status: of the model, put under ``segtrust``.

        Returns:
            ``id``, ``status`` (``SUBMITTED``, ``RUNNING``, ``DONE``, ``STOPPED``, ``ERROR``), ``request``,
            ``start_ts``, ``end_ts`` if it has ended, ``details`` and ``segtrust``.
        """
        details = [f"{status['done']} of {status['total']} scans have a score, {status['failed']} failed"]
        if self.error:
            details.append(reason_of(self.error))
        return {
            "id": self.id,
            "status": _TASK_STATES[self.state],
            "request": {"method": "entropy", "model": self.model},
            "start_ts": self.asked.strftime(_TIME),
            **({"end_ts": self.ended.strftime(_TIME)} if self.ended else {}),
            "details": details,
            "segtrust": status,
        }
