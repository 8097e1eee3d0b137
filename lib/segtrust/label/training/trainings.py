"""Trainings of the server: one at a time, started, watched and stopped for viewers and other clients."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
from monailabel.interfaces.datastore import Datastore
from monailabel.utils.async_tasks.utils import processes, run_background_task, tasks

from segtrust.errors import ModelNotFoundError
from segtrust.label.failures import BusyError, LabelError
from segtrust.label.served import ServedModel
from segtrust.label.training.trainer import RoundTask, no_labels, round_settings
from segtrust.models import open_version

__all__ = ["Trainings"]

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 10.0
_NO_WORD = {
    "detail": "the training must say how it ended, but its process was gone without a word. Did the memory "
    "not suffice? The server's log has what it wrote.",
    "code": "training",
}


class Trainings:
    """What the routes of ``/train/`` do.

    Args:
        rounds: trainer of each model.
        served: all models, whose members leave a GPU while a training uses it.
        datastore: the scans.
        on_end: called when no training runs and none waits any more.
    """

    def __init__(
        self,
        rounds: Mapping[str, RoundTask],
        served: Mapping[str, ServedModel],
        datastore: Datastore,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._rounds = rounds
        self._served = served
        self._datastore = datastore
        self._on_end = on_end
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._ended.set()

    def start(self, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Start the training of one model.

        Args:
            model: its name.
            options: of the request.

        Returns:
            MONAI Label's description of the task; under ``segtrust`` what it will learn from.

        Raises:
            ModelNotFoundError: if there is no trainer of that name.
            BusyError: if a training runs.
            SettingError: for an option that is not allowed.
            LabelError: if no scan has a final label.
            ModelError: if the version to start from is damaged.
        """
        with self._lock:
            self._refuse_second()
            facts = self._check(model, options)
            return {**self._begin([{**options, "model": model}]), "segtrust": facts}

    def start_all(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Train every model that has labels which its last round did not know, one after the other.

        Args:
            options: model -> options of its training, as OHIF sends them.

        Returns:
            Model -> ``result`` (its task, once started) and ``detail`` (why there is none yet, or at all).

        Raises:
            ModelNotFoundError: if an option belongs to no model.
            BusyError: if a training runs.
            LabelError: if no model has a new label.
        """
        with self._lock:
            self._refuse_second()
            asked = {name: value for name, value in options.items() if isinstance(value, Mapping)}
            for name in asked:
                self._round_of(name)
            news = {
                name: task.new_labels(task.labels(self._datastore)) for name, task in self._rounds.items()
            }
            if not any(news.values()):
                raise LabelError(
                    "at least one model must have a final label that its last training did not know, got "
                    f"none: {', '.join(self._rounds) or 'no model can be trained'}. Submit a label first, or "
                    "start the training of one model."
                )
            requests = [{**asked.get(name, {}), "model": name} for name, new in news.items() if new]
            for request in requests:
                self._check(request["model"], request)
            answer: dict[str, Any] = {
                name: {"result": None, "detail": "waits for its turn" if new else "no new label"}
                for name, new in news.items()
            }
            answer[requests[0]["model"]] = {"result": self._begin(requests), "detail": None}
            return answer

    def close_old(self) -> None:
        """Say of trainings that ended with an earlier server that they were stopped."""
        for task in self._rounds.values():
            if not task.is_running():
                task.record.close("stopped")

    def wait(self) -> None:
        """Return when no training runs and none waits."""
        self._ended.wait()

    def status(self, *, running: bool = False) -> dict[str, Any] | None:
        """The last task.

        Args:
            running: only if it runs.

        Returns:
            MONAI Label's description, with the record of the round under ``segtrust``; ``None`` without one.
        """
        trainings = tasks("train")
        if running and self._ended.is_set():
            return None
        if not trainings:
            return None
        return self.described(trainings[-1])

    def described(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """A task as MONAI Label describes it, and what its round has recorded."""
        record = self._rounds[task["request"]["model"]].record.read()
        return {**task, "segtrust": {key: value for key, value in record.items() if key != "learned"}}

    def stop(self) -> dict[str, Any] | None:
        """End the training that runs, with all its processes, and forget those that wait.

        Returns:
            MONAI Label's description of the task; ``None`` if none ran.
        """
        with self._lock:
            if self._ended.is_set():
                return None
            self._stopping.set()
            task: dict[str, Any] = tasks("train")[-1]
        while task["status"] == "SUBMITTED":  # until its process is there
            self._ended.wait(0.05)
        task["status"] = "STOPPED"
        for process in list(processes("train").values()):
            _end(process.pid)
        self._ended.wait(_WAIT_SECONDS)
        result = "Stopped. Finished members stay; the next start goes on with them."
        # 3D Slicer reads the last of the details, and fails where there are none
        return {**self.described(task), "details": [*task.get("details", ()), result], "result": result}

    def _refuse_second(self) -> None:
        if not self._ended.is_set() or any(task.is_running() for task in self._rounds.values()):
            raise BusyError(
                "a training runs already. Wait for its end, or stop it: DELETE /train/, or the button."
            )

    def _round_of(self, model: str) -> RoundTask:
        if model not in self._rounds:
            raise ModelNotFoundError(
                f"no trainer {model!r}. Known: {', '.join(self._rounds) or 'none'}; a model of slices "
                "cannot be trained here."
            )
        return self._rounds[model]

    def _check(self, model: str, options: Mapping[str, Any]) -> dict[str, Any]:
        task = self._round_of(model)
        _, ignored = round_settings(options, task.model.settings)
        labels = task.labels(self._datastore)
        if not labels:
            raise no_labels(model)
        open_version(task.model.folder)  # a damaged one is named here: a process beside us could not start
        return {"labels": len(labels), "new_labels": task.new_labels(labels), "ignored": list(ignored)}

    def _begin(self, requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Run trainings one after the other in a thread; returns the first one's task."""
        self._ended.clear()
        self._stopping.clear()
        before = len(tasks("train"))
        threading.Thread(target=self._work, args=(requests,), name="trainings", daemon=True).start()
        while len(tasks("train")) == before:
            self._ended.wait(0.01)
        first: dict[str, Any] = tasks("train")[before]
        return first

    def _work(self, requests: Sequence[dict[str, Any]]) -> None:
        try:
            for request in requests:
                if not self._stopping.is_set():
                    record = self._rounds[request["model"]].record
                    record.begin()
                    with self._room(request):
                        run_background_task(request, "train", debug=True)  # in this thread
                    if self._stopping.is_set():
                        record.close("stopped")
                    record.close("failed", error=_NO_WORD)
        finally:
            for task in tasks("train"):
                if task["status"] == "SUBMITTED":  # its process could not be started; the log says why
                    task["status"] = "ERROR"
            self._ended.set()
            self._on_end()

    @contextlib.contextmanager
    def _room(self, request: Mapping[str, Any]) -> Iterator[None]:
        """Leave the GPU to a training as long as the block runs."""
        settings = self._rounds[request["model"]].model.settings
        device = round_settings(request, settings)[0].device
        lent = list(self._served.values()) if device != "cpu" and settings.unload_while_training else []
        for model in lent:
            model.lend(device)
        try:
            yield
        finally:
            for model in lent:
                model.take_back()


def _end(pid: int) -> None:
    """End a process and all below it; the first is stopped before they are counted, so that none escapes."""
    try:
        parent = psutil.Process(pid)
        parent.suspend()
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, _WAIT_SECONDS)
