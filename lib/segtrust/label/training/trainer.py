"""The trainer of a model: one round over the final labels, in a process of its own beside the server."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch
from filelock import FileLock, Timeout
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from segtrust.errors import SegtrustError
from segtrust.inference import check_device
from segtrust.label.environment import server_pid
from segtrust.label.failures import BusyError, LabelError, status_and_code
from segtrust.label.names import RESEARCH_ONLY
from segtrust.label.requests import claimed_name, first_value
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings, read_number
from segtrust.label.training.record import RoundRecord
from segtrust.losses import LOSSES
from segtrust.models import open_version
from segtrust.release.collect import collect_labelled, labels_of
from segtrust.release.plan import Progress, RoundSettings, round_options
from segtrust.release.round import RoundResult, run_round
from segtrust.store import StateStore

__all__ = ["RoundTask", "no_labels", "only_training", "round_settings"]

logger = logging.getLogger(__name__)

# what MONAI Label, its plug-ins or their settings put into every request to train
_PLATFORM_KEYS = frozenset({"model", "client_id", "gpus", "local_rank", "bundle_path"})

_LOCK_SECONDS = 10.0


class RoundTask(TrainTask):
    """``<model>``: train an ensemble on the labels, calibrate it, publish it if it is not worse.

    Args:
        model: the model.
        store: state of the site.
        state_dir: folder of the site; versions, finished members and records are written below it.
    """

    def __init__(self, model: ServedModel, store: StateStore, state_dir: Path) -> None:
        super().__init__(
            f"Trains an ensemble on the final labels, calibrates it and serves it unless it is worse. "
            f"{RESEARCH_ONLY}"
        )
        self.model = model
        self.store = store
        self.record = RoundRecord(state_dir / "training", model.name)
        self._state_dir = state_dir
        self._models_dir = state_dir / "models"
        self._cache = state_dir / "training" / "members"

    def config(self) -> dict[str, Any]:
        """Options that viewers show, with the setting of the app first."""
        settings = self.model.settings
        words = {name: option.metadata["words"] for name, option in round_options().items()}
        words |= {"loss": tuple(LOSSES), "device": ("cpu", *_gpus())}
        return {
            name: list(dict.fromkeys([chosen, *words[name]])) if words[name] else chosen
            for name, chosen in settings.training().items()
        }

    def stats(self) -> dict[str, Any]:
        """What the progress bars of 3D Slicer and OHIF read."""
        record = self.record.read()
        progress = record.get("progress", {})
        if not progress:
            return {}
        total = progress["members"] * progress["epochs"]
        spent = record.get("seconds", progress["seconds"])  # a round that was killed could not say
        ended = {"total_time": spent} if record["state"] != "running" else {}
        return {"epoch": round(progress["done"] * total), "total_epochs": total, **ended}

    def is_running(self) -> bool:
        """Whether some process trains a model of this site."""
        lock = _lock_of(self._state_dir)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        return False

    def labels(self, datastore: Datastore) -> dict[str, str]:
        """Scans that the model can learn from, with a stamp that changes when somebody labels them anew."""
        return labels_of(self.model.name, datastore)

    def new_labels(self, labels: Mapping[str, str]) -> int:
        """How many of the labels the last finished round did not know.

        Args:
            labels: as :meth:`labels` returns them.
        """
        learned = self.record.read().get("learned", {})
        return sum(learned.get(scan) != stamp for scan, stamp in labels.items())

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Run one round.

        Args:
            request: options as :meth:`config` lists them.
            datastore: the scans.

        Returns:
            State, version and reason; the record has the rest.

        Raises:
            SettingError: for an option that is not allowed.
            LabelError: if no scan has a final label.
            BusyError: if another training of the site runs.
            TrainingError: if the round cannot go on; nothing is published then, and finished members stay.
        """
        settings, ignored = round_settings(request, self.model.settings)
        if (server := server_pid()) is not None:
            threading.Thread(target=_end_with, args=(server,), name="end-with-server", daemon=True).start()
        with only_training(self._state_dir):
            started = time.time()
            try:
                self.record.begin(started=started, settings=settings.to_json(), ignored=list(ignored))
                result, facts = self._round(settings, datastore)
                record_round(self.store, self._models_dir / self.model.name, result, claimed_name(request))
                self.record.update(state=result.status, seconds=round(time.time() - started, 1), **facts)
            except Exception as error:
                self._fail(error, round(time.time() - started, 1))
                raise
        logger.info("Training of %s: %s. %s", self.model.name, result.status, result.reason)
        return {"state": result.status, "version": result.version, "reason": result.reason}

    def _round(self, settings: RoundSettings, datastore: Datastore) -> tuple[RoundResult, dict[str, Any]]:
        labels = self.labels(datastore)
        if not labels:
            raise no_labels(self.model.name)
        collected = collect_labelled(self.model.name, datastore, self.store, self.model.settings.subjects)
        new = self.new_labels(labels)
        self.record.update(labels=len(labels), new_labels=new, patients=collected.patients)
        logger.info("Training of %s: %d labels, %d of them new", self.model.name, len(labels), new)
        logger.info("Training of %s: %s", self.model.name, collected.patients)
        result = run_round(
            self.model.folder,
            self._models_dir,
            collected.scans,
            settings,
            cache=self._cache,
            key=self.store.site_key(),
            report=self._report,
        )
        left_out = {**collected.left_out, **result.report["left_out"]}
        return result, {
            "learned": labels,
            "left_out": left_out,
            "version": result.version,
            "reason": result.reason,
            "report": dict(result.report),
        }

    def _report(self, progress: Progress) -> None:
        self.record.update(progress={**asdict(progress), "done": progress.done})
        logger.info("%s: %s", self.model.name, progress.line())

    def _fail(self, error: Exception, seconds: float) -> None:
        status, code = status_and_code(error)
        detail = str(getattr(error, "msg", "") or error)
        if status == 500 and not isinstance(error, SegtrustError):
            detail = f"Unforeseen error, the server's log has the details: {type(error).__name__}."
        self.record.update(state="failed", seconds=seconds, error={"detail": detail, "code": code})


def record_round(store: StateStore, model: Path, result: RoundResult, by: str) -> None:
    """Write into the audit trail what a round made, and that it is served.

    Args:
        store: state file of the site.
        model: the model's folder.
        result: of the round.
        by: who started it.
    """
    facts = {"model": model.name, "status": result.status, "version": result.version}
    facts["digest"] = open_version(model, result.version).digest
    store.append("training ended", by, facts, durable=True)
    if result.status != "kept":
        store.append("publication", by, facts, durable=True)


@contextmanager
def only_training(state_dir: Path) -> Iterator[None]:
    """Let no other process train a model of the site while the ``with`` runs.

    Args:
        state_dir: folder of the site.

    Raises:
        BusyError: if another one trains.
    """
    lock = _lock_of(state_dir)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout as error:
        raise BusyError("only one training of a site can run. Stop the other one, or wait.") from error
    try:
        yield
    finally:
        lock.release()


def _lock_of(state_dir: Path) -> FileLock:
    return FileLock(state_dir / "training" / "running.lock")


def no_labels(model: str) -> LabelError:
    """The error of a training that has nothing to learn from."""
    return LabelError(
        f"training of {model!r} must have at least one scan with a final label, got none. Submit one first."
    )


def round_settings(
    request: Mapping[str, Any], settings: AppSettings
) -> tuple[RoundSettings, tuple[str, ...]]:
    """Read a request to train.

    Args:
        request: the request's dictionary.
        settings: the app's settings, which supply what the request leaves open.

    Returns:
        Settings of the round, and the keys of the request that nothing here understands.

    Raises:
        SettingError: for an option that is not allowed; its range is named.
        DeviceError: if the device is not there.
    """
    defaults = settings.training()
    options: dict[str, Any] = {}
    for name, default in defaults.items():
        value = first_value(request.get(name))
        value = default if value in (None, "") else value
        options[name] = read_number(value, name, int) if isinstance(default, int) else str(value)
    options["device"] = str(check_device(options["device"]))
    ignored = tuple(sorted(set(request) - set(defaults) - _PLATFORM_KEYS))
    return RoundSettings(**options, precision=settings.precision), ignored


def _gpus() -> list[str]:
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _end_with(pid: int) -> None:
    """A training that nobody could stop any more would publish behind the back of the next server."""
    parent = psutil.Process().parent()
    if parent is not None and parent.pid == pid:  # else it has ended before this one was ready
        psutil.wait_procs([parent])
    os._exit(1)  # files are replaced by renaming, so that nothing is left half written
