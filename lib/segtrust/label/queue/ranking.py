"""Rankings of the waiting scans: made once per strategy and version, and kept in memory.

A restart makes them anew. For `entropy` that costs time: over 20,000 scans the first call after a restart
takes 2.2 s, and took 0.5 s with a stored copy of the ranking. The copy gained nothing for `uniform` and
`clasp`, and at most 0.3 s for `diverse` (`benchmarks/results/queue.json`).
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cachetools import LRUCache

from segtrust.errors import SegtrustError
from segtrust.label.served import ServedModel
from segtrust.models import published_versions
from segtrust.selection import STRATEGIES, Pick, check_queue, make_candidate, order
from segtrust.store import BriefScore, StateStore, StoredScore

__all__ = ["Ranking", "Rankings", "Waiting"]

_BY_DETAILS = ("doubt", "foreground_random", "clasp", "diverse", "cold_start")
_KEPT = 8
_AT_ONCE = 0.03  # seconds of a processor: a ranking that took longer is renewed beside the calls
_SHARE = 0.1  # of a processor's time for renewing, at most

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Waiting:
    """Scans without a label, those of them that calibrate or test, and the patient of each.

    Patients are named by a hash; a scan that is not among them is a patient of its own. One object stands for
    one state of the site: who has seen the object need not look at its scans again.
    """

    scans: frozenset[str]
    held_out: Collection[str]
    patients: Mapping[str, str]


@dataclass(frozen=True)
class Ranking:
    """Scans to label, in order, and scans that somebody should check, by id; ``stamp`` names their scores."""

    stamp: str
    active: Mapping[str, Pick]
    check: Mapping[str, Pick]

    def of(self, scans: Collection[str]) -> "Ranking":
        """The same ranking of some of its scans."""
        active = {scan: pick for scan, pick in self.active.items() if scan in scans}
        return Ranking(self.stamp, active, {scan: p for scan, p in self.check.items() if scan in scans})


class _Made(NamedTuple):
    version: str
    whole: Ranking
    waiting: Waiting
    left: Ranking  # of `whole`, what waits
    took: float  # seconds of a processor
    ended: float  # time.monotonic()


_Key = tuple[str, str, int]


class Rankings:
    """Rankings of a site. One is made anew when the version, one of its scores, or the list of scans changed.

    Whether a score changed is one number of the state file; whether a scan came, a comparison of two sets. A
    large site's ranking, once there is one of the version, is renewed in a thread: until then calls get the
    last one, less what no longer waits.

    Args:
        store: the scores.
        rounds: rounds of training that the site plans.
    """

    def __init__(self, store: StateStore, rounds: int) -> None:
        self._store = store
        self._rounds = rounds
        self._lock = threading.Lock()
        self._made: LRUCache[_Key, _Made] = LRUCache(_KEPT)
        self._renewing: dict[_Key, threading.Thread] = {}

    def get(self, strategy: str, model: ServedModel, seed: int, waiting: Waiting) -> Ranking:
        """The ranking of now, or, on a large site, of a moment ago.

        Args:
            strategy: one of :data:`segtrust.selection.STRATEGIES`; any other name ranks nothing and lists the
                scans to check.
            model: whose scores count.
            seed: of what the strategy draws.
            waiting: the scans. Those that calibrate or test are not ranked, and are to be checked only if
                they cannot be scored.

        Returns:
            The ranking of the scans that wait.
        """
        key, version = (model.name, strategy, seed), model.version().digest
        stamp = f"{version}-{self._store.scores_stamp(version, model.settings_digest())}"
        with self._lock:
            before = self._made.get(key)
        last = before if before is not None and before.version == version else None
        if last is not None and last.whole.stamp == stamp and last.waiting is waiting:
            return last.left

        def make() -> _Made:
            return self._make(strategy, model, seed, waiting, stamp, last)

        stale = last is None or last.whole.stamp != stamp or self._came(strategy, last.whole, waiting)
        if last is None or (stale and last.took <= _AT_ONCE):
            made = make()
        else:
            if stale:
                self._renew(key, last, make)
            made = last._replace(waiting=waiting, left=last.whole.of(waiting.scans))
        with self._lock:
            if self._made.get(key) is before:  # else a thread was faster
                self._made[key] = made
        return made.left

    def wait(self) -> None:
        """Wait until no ranking is being renewed."""
        for thread in list(self._renewing.values()):
            thread.join()

    def _renew(self, key: _Key, last: _Made, make: Callable[[], _Made]) -> None:
        """Make a ranking in a thread, unless one is being made or was a moment ago."""

        def work() -> None:
            try:
                made = make()
            except (OSError, SegtrustError) as error:
                logger.warning("Scans cannot be ranked anew, the last ranking stays: %s", error)
            else:
                with self._lock:
                    self._made[key] = made
            finally:
                del self._renewing[key]

        if key in self._renewing or time.monotonic() < last.ended + last.took / _SHARE:
            return
        self._renewing[key] = threading.Thread(target=work, name="ranking", daemon=True)
        self._renewing[key].start()

    def _make(
        self, strategy: str, model: ServedModel, seed: int, waiting: Waiting, stamp: str, last: _Made | None
    ) -> _Made:
        begun, version = time.thread_time(), model.version().digest
        whole = last.whole if last is not None and last.whole.stamp == stamp else None
        if whole is None or self._came(strategy, whole, waiting):
            active, check = self._rank(strategy, model, seed, waiting)
            whole = Ranking(stamp, {p.scan_id: p for p in active}, {p.scan_id: p for p in check})
        took, left = time.thread_time() - begun, whole.of(waiting.scans)
        return _Made(version, whole, waiting, left, took, time.monotonic())

    @staticmethod
    def _came(strategy: str, ranking: Ranking, waiting: Waiting) -> bool:
        """Whether a scan waits that is not in a ranking."""
        return strategy in STRATEGIES and bool(
            waiting.scans.difference(ranking.active, ranking.check, waiting.held_out)
        )

    def _rank(
        self, strategy: str, model: ServedModel, seed: int, waiting: Waiting
    ) -> tuple[list[Pick], list[Pick]]:
        version, settings = model.version(), model.settings_digest()
        scores = self._store.scores if strategy in _BY_DETAILS else self._store.scores_brief
        rows: Mapping[str, StoredScore | BriefScore] = scores(version.digest, settings)
        candidates = [
            make_candidate(scan, waiting.patients.get(scan, scan), rows.get(scan))
            for scan in waiting.scans
            if scan not in waiting.held_out or (scan in rows and rows[scan].error is not None)
        ]
        check = check_queue(candidates)
        if strategy not in STRATEGIES:
            return [], check
        done = published_versions(model.folder).index(version.id)
        picks = order(
            strategy,
            candidates,
            seed=seed,
            round=min(done, self._rounds - 1),
            rounds=self._rounds,
            labelled_features=[
                tuple(row.details["features"])
                for scan, row in rows.items()
                if scan not in waiting.scans and row.details.get("features")
            ],
        )
        return picks, check
