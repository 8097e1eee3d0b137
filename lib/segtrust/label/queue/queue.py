"""The queue: hands out one scan at a time, to several annotators, under leases."""

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

from segtrust.errors import ScanError
from segtrust.inference import fingerprint
from segtrust.label.queue.ranking import Ranking, Rankings, Waiting
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.release.collect import fix_roles
from segtrust.roles import HELD_OUT, Role, is_held_out
from segtrust.store import StateStore

__all__ = ["CHECK", "Queue"]

CHECK = "check"
"""Strategy that hands out the scans that somebody should look at before they are labelled."""

_LOT = "lot"  # what an answer says instead of calibration or test
_DRAWN = "Drawn by lot for checking the model. Please go through the whole scan."
_CHANGED = "The file changed since it was scored: run scoring again."


class Queue:
    """Which scan next; safe to use from several threads.

    Scans of the role `train` come as a strategy ranks them. In every so many turns a scan that calibrates or
    tests comes first, in the order of its patient's keyed hash, whatever a model thinks of it. Scans to be
    checked come last, and first under the strategy :data:`CHECK`.

    Args:
        store: scores, rankings, leases and roles.
        settings: settings of the app.
    """

    def __init__(self, store: StateStore, settings: AppSettings) -> None:
        self._store = store
        self._settings = settings
        self._rankings = Rankings(store, settings.rounds_planned)
        self._lock = threading.Lock()
        self._patients: Mapping[str, str] = {}
        self._by_lot: list[str] = []
        self._listed: list[str] = []
        self._waiting = Waiting(frozenset(), {}, {})

    def next_scan(
        self, strategy: str, model: ServedModel, datastore: Datastore, *, seed: int = 0, client_id: str = ""
    ) -> dict[str, Any] | None:
        """Hand out a scan that nobody has labelled and no live lease holds.

        Args:
            strategy: one of :data:`segtrust.selection.STRATEGIES`, or :data:`CHECK`.
            model: whose scores count.
            datastore: the scans.
            seed: of what the strategy draws.
            client_id: who asks; empty for somebody without a name. What a named client holds unsubmitted
                counts as skipped.

        Returns:
            The scan with score, rank, reason, slices to look at first and the end of its lease, in seconds
            since 1970; ``None`` if no scan is left.
        """
        listed = list(datastore.get_unlabeled_images())
        with self._lock:
            if listed != self._listed:
                self._listed, self._waiting = listed, self._look(frozenset(listed), datastore)
            waiting = self._waiting
            ranking = self._rankings.get(strategy, model, seed, waiting)
        active, check = list(ranking.active), list(ranking.check)
        drawn = [scan for scan in waiting.held_out if scan not in ranking.check]
        by_lot = frozenset(drawn)

        def recorded(scan: str) -> str:
            return HELD_OUT if scan in by_lot else CHECK if scan in ranking.check else strategy

        scan = self._store.lease(
            check if strategy == CHECK else [*self._in_turn(active, drawn), *check],
            client_id,
            strategy=recorded,
            minutes=self._settings.lease_minutes,
        )
        if scan is None:
            return None
        answer = {"id": scan, "of": len(check if strategy == CHECK else active), "rank": None}
        held = (lease for lease in self._store.leases() if lease.state == "held")
        answer["lease_ends"] = next((lease.ends for lease in held if lease.scan_id == scan), None)
        if scan in by_lot:
            return {**answer, "score": None, "strategy": _LOT, "reason": _DRAWN, "slices": [], "flags": []}
        if scan in ranking.active and ranking.active[scan].score is not None:
            answer["rank"] = active.index(scan) + 1
        return {**answer, "strategy": recorded(scan), **self._explained(scan, ranking, model, datastore)}

    def _in_turn(self, active: list[str], drawn: list[str]) -> list[str]:
        turn = self._store.advance("turns")
        return [*drawn, *active] if turn % self._settings.held_out_every == 0 else [*active, *drawn]

    def _explained(
        self, scan: str, ranking: Ranking, model: ServedModel, datastore: Datastore
    ) -> dict[str, Any]:
        """What is known about the one scan that is handed out: the only one whose file is looked at."""
        pick = ranking.check.get(scan) or ranking.active[scan]
        try:
            key = model.score_key(scan, fingerprint(Path(datastore.get_image_uri(scan))))
            score = self._store.get_score(key)
        except ScanError:  # it cannot be read, which is why it is to be checked, or is gone since
            score = None
        if score is None:
            reason = pick.reason if pick.score is None else _CHANGED
            return {"score": None, "reason": reason, "slices": [], "flags": []}
        return {
            "score": pick.score,
            "reason": pick.reason,
            "slices": list(score.details.get("slices", ())),
            "flags": [dict(flag) for flag in score.flags],
        }

    def _look(self, scans: frozenset[str], datastore: Datastore) -> Waiting:
        """Roles of the scans that wait; a scan that came since the start gets its role now."""
        if not isinstance(datastore, SafeDatastore):
            return Waiting(scans, {}, {})
        if scans.difference(self._patients):
            if scans.difference(roles := self._store.roles()):
                fix_roles(datastore, self._store, self._settings.subjects)
                roles = self._store.roles()
            self._patients = {scan: patient for scan, (patient, _) in roles.items()}
            self._by_lot = _by_lot(roles)
        held_out = dict.fromkeys(scan for scan in self._by_lot if scan in scans)
        return Waiting(scans, held_out, self._patients)


def _by_lot(roles: Mapping[str, tuple[str, Role]]) -> list[str]:
    """Scans that calibrate or test, by the hash of their patient; no patient twice before all have come."""
    held_out = [(patient, scan) for scan, (patient, role) in roles.items() if is_held_out(role)]
    turns: Counter[str] = Counter()
    numbered = []
    for patient, scan in sorted(held_out):
        numbered.append((turns[patient], patient, scan))
        turns[patient] += 1
    return [scan for _, _, scan in sorted(numbered)]
