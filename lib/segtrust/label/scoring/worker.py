"""Scoring in the background of the server: one thread, which yields to viewers and outlives a restart."""

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monailabel.interfaces.datastore import Datastore

from segtrust.errors import ModelNotFoundError, ScanError, SegtrustError
from segtrust.label.drift import DriftWatch
from segtrust.label.scoring.run import ScoringRun
from segtrust.label.scoring.scan_scores import (
    Fingerprints,
    GiveWay,
    failed_score,
    locate,
    missing_scores,
    reason_of,
    score_file,
)
from segtrust.label.served import ServedModel
from segtrust.store import StateStore, StoredScore

__all__ = ["ScoringWorker"]

logger = logging.getLogger(__name__)

_NOTE = "scoring"  # name of the open requests in the state file
_LOOK_SECONDS = 0.1
_TRIES = 2  # of a scan whose file or device did not answer, in one run
_WATCH_EVERY = 100  # scans
_YIELDS = 3  # a scan that was given up so often for viewers is then finished


class ScoringWorker:
    """Scores the unlabelled scans of a site one after the other, with the networks that are served.

    Its thread is there from the first request on.

    Args:
        served: models of the app.
        store: where scores, and open requests, are kept.
        datastore: the scans.
        drift: watches what was scored.
        busy: whether a viewer waits for an inference; no scan is begun meanwhile, and one that was begun is
            given up after the member that runs.
    """

    def __init__(
        self,
        served: Mapping[str, ServedModel],
        store: StateStore,
        datastore: Datastore,
        drift: DriftWatch,
        busy: Callable[[], bool],
    ) -> None:
        self._served, self._store, self._datastore, self._busy = served, store, datastore, busy
        self._drift = drift
        self._fingerprints = Fingerprints()
        self._changed = threading.Condition()
        self._queue: deque[ScoringRun] = deque()
        self._runs: dict[str, ScoringRun] = {}
        self._thread: threading.Thread | None = None

    def request(self, model: str) -> ScoringRun:
        """Have a model's missing and outdated scores made; a request that is open already is not doubled.

        Args:
            model: its name.

        Returns:
            The run that does it.

        Raises:
            ModelNotFoundError: if no such model is served.
            StoreError: if the request cannot be kept for the next start of the server.
        """
        if model not in self._served:
            raise ModelNotFoundError(f"no model {model!r}. Served: {', '.join(self._served)}.")
        with self._changed:
            run = self._runs.get(model)
            if run is None or not run.is_open:
                run = self._runs[model] = ScoringRun(model)
                self._queue.append(run)
                self._changed.notify_all()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)
                    self._thread.start()
                self._keep_open()
            return run

    def resume(self) -> list[str]:
        """Take up requests that were open when the server ended.

        Returns:
            Names of the models; those no longer served are left out.
        """
        names = json.loads(self._store.note(_NOTE) or "[]")
        models = [name for name in names if name in self._served]
        for model in models:
            self.request(model)
        return models

    def stop(self) -> list[ScoringRun]:
        """End what runs, after the member that runs, and forget what waits. Scores made so far stay.

        Returns:
            The runs that were ended.
        """
        with self._changed:
            ended = [run for run in self._runs.values() if run.is_open]
            for run in self._runs.values():
                if run.state not in {"done", "stopped"}:
                    run.stopping.set()
                    run.end("stopped")
            self._queue.clear()
            self._changed.notify_all()
            self._keep_open()
            return ended

    def wait(self, run: ScoringRun, seconds: float | None = None) -> bool:
        """Return when a run has ended, or after some seconds.

        Args:
            run: from :meth:`request`.
            seconds: longest time; without limit if ``None``.

        Returns:
            Whether it has ended.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not run.is_open, timeout=seconds)

    def runs(self) -> Sequence[ScoringRun]:
        """The last run of each model that was asked for since the start, in the order of asking."""
        with self._changed:
            return sorted(self._runs.values(), key=lambda run: run.asked)

    def status(self) -> dict[str, dict[str, Any]]:
        """How far scoring is.

        Returns:
            Model -> ``state`` (``idle`` if nobody has asked since the start, else that of the run),
            ``version``, ``total`` unlabelled scans, ``done`` (scored, or known to fail), ``failed``, and with
            a run ``left_s`` (seconds; ``None`` if not known yet), ``waits_for``, ``error`` and the first
            ``reasons`` of scans that failed.
        """
        with self._changed:
            runs = dict(self._runs)
        return {name: self._status(name, runs.get(name)) for name in self._served}

    def described(self, run: ScoringRun) -> dict[str, Any]:
        """A run as MONAI Label describes a task, with the status of its model under ``segtrust``."""
        return run.task(self._status(run.model, run))

    def _status(self, name: str, run: ScoringRun | None) -> dict[str, Any]:
        model = self._served[name]
        version, unlabelled = model.version(), self._datastore.get_unlabeled_images()
        scores = self._store.scores_brief(version.digest, model.settings_digest())
        rows = [scores[scan_id] for scan_id in unlabelled if scan_id in scores]
        status: dict[str, Any] = {
            "state": "idle",
            "version": version.id,
            "total": len(unlabelled),
            "done": len(rows),
            "failed": sum(row.error is not None for row in rows),
        }
        if run is None:
            return status
        if run.state == "running" and run.version is not None:  # scores of files that changed are not done
            status |= {"version": run.version.id, "total": run.total, "done": run.done}
        return status | run.status() | {"failed": max(status["failed"], len(run.failed))}

    def _keep_open(self) -> None:
        """Keep what the next start takes up: also what ended by an error, such as an archive that sleeps."""
        names = [name for name, run in self._runs.items() if run.is_open or run.state == "failed"]
        self._store.keep_note(_NOTE, json.dumps(names) if names else None)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                run = self._queue.popleft()
                run.state = "running"
            try:
                self._score_all(run, self._served[run.model])
            except GiveWay:
                logger.info("Scoring by %s was stopped: %d of %d are done", run.model, run.done, run.total)
            except Exception as error:
                logger.exception("Scoring by %s ended", run.model)
                run.error = error
            with self._changed:
                if run.is_open:
                    run.end("failed" if run.error else "done")
                    self._forget_request(run)
                    self._changed.notify_all()

    def _forget_request(self, run: ScoringRun) -> None:
        try:
            self._keep_open()
        except SegtrustError as error:  # the next start then looks once more what is missing
            run.error = run.error or error

    def _score_all(self, run: ScoringRun, model: ServedModel) -> None:
        tries: Counter[tuple[str, str]] = Counter()
        while True:
            version = model.version()
            missing = missing_scores(model, self._datastore, self._store, self._fingerprints)
            run.begin(version, len(self._datastore.get_unlabeled_images()), len(missing))
            todo = [scan_id for scan_id in missing if tries[version.digest, scan_id] < _TRIES]
            self._drift.look(model)
            if not todo:
                logger.info("Scored %d scans by %s, %d failed", len(run.scores), run.model, len(run.failed))
                return
            for number, scan_id in enumerate(todo, start=1):
                self._give_way(run, model)
                if model.version().digest != version.digest:
                    break  # what is done is outdated, what is left is scored by the new version only
                if scan_id in self._datastore.get_unlabeled_images():  # else labelled meanwhile
                    tries[version.digest, scan_id] += 1
                    self._score(run, model, scan_id)
                run.done += 1
                if number % _WATCH_EVERY == 0:
                    self._drift.look(model)

    def _score(self, run: ScoringRun, model: ServedModel, scan_id: str) -> None:
        began = time.monotonic()
        try:
            row = self._row(run, model, scan_id)
        except GiveWay:
            raise
        except Exception as error:  # noqa: BLE001 -- device, network or folder: no fault of the scan, tried again
            logger.warning("Scoring a scan failed for now: %s", error)
            logger.debug("It was %s", scan_id)
            run.failed[scan_id] = reason_of(error)
            return
        self._store.put_score(row)
        if row.error is None:
            run.scores[scan_id] = row.score
            run.failed.pop(scan_id, None)
        else:
            run.failed[scan_id] = row.error
        run.pace.append(time.monotonic() - began)

    def _row(self, run: ScoringRun, model: ServedModel, scan_id: str) -> StoredScore:
        try:
            path = locate(self._datastore, scan_id)
        except ScanError as error:
            if error.code == "scan_unreadable":  # a series that makes no volume has no file to fingerprint
                return failed_score(model.score_key(scan_id, ""), error)
            raise
        key = model.score_key(scan_id, self._fingerprints.of(path))
        yields = 0

        def between_members(done: int, total: int) -> None:
            nonlocal yields
            if run.stopping.is_set():
                raise GiveWay
            if done < total and yields < _YIELDS and (self._busy() or model.is_lent):
                yields += 1
                raise GiveWay

        while True:
            try:
                return score_file(model, key, path, between_members)
            except GiveWay:
                self._give_way(run, model)

    def _give_way(self, run: ScoringRun, model: ServedModel) -> None:
        """Return as soon as nothing is more urgent; raise :class:`GiveWay` if the run is stopped."""
        while not run.stopping.is_set():
            run.waits_for = "a training" if model.is_lent else "a viewer" if self._busy() else None
            if run.waits_for is None:
                return
            run.stopping.wait(_LOOK_SECONDS)
        raise GiveWay
