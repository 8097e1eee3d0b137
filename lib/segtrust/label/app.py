"""What an app's ``main.py`` adds to ``MONAILabelApp``: models, tasks, strategies, datastore and routes."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import requests
import torch
from monailabel.config import settings as platform
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from segtrust import __version__
from segtrust.errors import ModelNotFoundError, ScanError, SegtrustError, SettingError
from segtrust.files import set_limits
from segtrust.files.series import keep_warm
from segtrust.inference import Prediction
from segtrust.label.archive import Archive, objects_of
from segtrust.label.drift import DriftWatch
from segtrust.label.environment import announce_server, background_method, before_end, listening_host
from segtrust.label.infer import CombinedTask, MaskTask, ModelTask, UncertaintyTask
from segtrust.label.login.middleware import install_login
from segtrust.label.login.policy import gate_for
from segtrust.label.logs import hide_names
from segtrust.label.names import (
    NOT_SEEN,
    RESEARCH_ONLY,
    agreement_labels,
    app_labels,
    band_labels,
    combined_labels,
    structure_labels,
)
from segtrust.label.queue.queue import Queue
from segtrust.label.queue.strategies import chosen_model, queue_strategies
from segtrust.label.requests import (
    ResultRequest,
    SampleRequest,
    claimed_name,
    model_name,
    recorded_options,
    result_tag,
    uses_several_gpus,
)
from segtrust.label.routes.inference import NO_SLIDES
from segtrust.label.routes.install import install_routes
from segtrust.label.routes.origins import OriginPolicy, guard
from segtrust.label.samples import SamplesTask
from segtrust.label.scoring.method import EntropyScoring
from segtrust.label.scoring.worker import ScoringWorker
from segtrust.label.served import ServedModel, serve_models
from segtrust.label.served_heads import ServedHeads, serve_heads
from segtrust.label.sessions import remove_expired
from segtrust.label.settings import AppSettings
from segtrust.label.studies.connection import connect, forget_defaults, image_filters, listing_seconds
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.label.studies.dicomweb import DicomwebDatastore, cache_dir
from segtrust.label.studies.pacs import Pacs
from segtrust.label.studies.unread import Unread
from segtrust.label.temporary import PrivateFolder, make_private, sweep_parts
from segtrust.label.trail import AuditTrail
from segtrust.label.training.trainer import RoundTask, round_settings
from segtrust.label.training.trainings import Trainings
from segtrust.label.warmup import warm_up
from segtrust.release.cohort import subjects_of
from segtrust.release.collect import fix_roles
from segtrust.store import StateStore, state_dir_for

if TYPE_CHECKING:
    from monailabel.interfaces.app import MONAILabelApp as _Host
else:
    _Host = object  # MONAI Label takes the class with `MONAILabelApp` as a direct base: that of main.py

__all__ = ["SegtrustApp"]

logger = logging.getLogger(__name__)

_PLATFORM_CONF = ("server_mode",)


class SegtrustApp(_Host):
    """Mixin for an app class that names ``MONAILabelApp`` as its other base.

    Args:
        app_dir: folder of the app.
        studies: folder of the scans, or URL of a DICOMweb server.
        conf: what follows ``--conf`` on the command line.
        name: name shown in viewers.
        description: shown in viewers.

    Raises:
        SettingError: for an unknown setting or a bad value.
        ModelNotFoundError: if there is nothing to serve.
    """

    only: ClassVar[tuple[str, ...]] = ()
    """Models that the app restricts itself to; empty for every model found."""

    def __init__(
        self, app_dir: str, studies: str, conf: Mapping[str, str] | None, *, name: str, description: str
    ) -> None:
        options = dict(conf or {})
        if background_method():
            hide_names()
        self._inferences, self._counting = 0, threading.Lock()
        self.settings = AppSettings.from_conf({k: v for k, v in options.items() if k not in _PLATFORM_CONF})
        self.origins = OriginPolicy(self.settings.allowed_hosts, self.settings.allowed_origins)
        set_limits(self.settings.file_limits())
        self.state_dir = state_dir_for(studies, self.settings.state_dir)
        self.gate = None if background_method() else gate_for(self.settings, self.state_dir, listening_host())
        self.served = serve_models(self.settings, self.state_dir, self.only)
        self.heads = serve_heads(self.served, self.only)
        self.store = StateStore(self.state_dir / "state.sqlite")
        self.audit = AuditTrail(self.store)
        self.queue = Queue(self.store, self.settings)
        self.structures = {name: structure_labels(m.spec) for name, m in self.answering.items()}
        several = len(self.served) > 1
        self.bands = {m: band_labels(self.settings.band_edges, m if several else "") for m in self.served}
        self.bands |= {name: self.bands[heads.crops.name] for name, heads in self.heads.items()}
        self.levels = {
            model: agreement_labels(self.structures[model], model if several else "")
            for model, m in self.served.items()
            if m.spec.head.rank is not None
        }
        levels = [
            {name: value for name, value in names.items() if name not in self.structures[model]}
            for model, names in self.levels.items()
        ]
        views = [combined_labels(self.structures[m], bands) for m, bands in self.bands.items()]
        unseen = [{NOT_SEEN: 0}] if self.heads else []
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=options,
            name=name,
            description=f"{description} {RESEARCH_ONLY}",
            version=__version__,
            labels=app_labels([*self.bands.values(), *unseen, *levels, *views], self.structures.values()),
        )
        self._auto_update_scoring = self.settings.auto_score
        rounds = {name: task for name, task in self._trainers.items() if isinstance(task, RoundTask)}
        self.trainings = Trainings(
            rounds, self.served, self.datastore(), on_end=lambda: self.async_scoring(None)
        )
        site = self.datastore() if isinstance(self.datastore(), SafeDatastore) else None
        self.drift = DriftWatch(self.store, site, self.settings.subjects)
        self.scoring_worker = ScoringWorker(
            self.served, self.store, self.datastore(), self.drift, self.viewer_busy
        )

    @property
    def answering(self) -> Mapping[str, ServedModel | ServedHeads]:
        """What answers for scans, by name: the models, and those of them that also find what they need."""
        return {**self.served, **self.heads}

    def init_infers(self) -> dict[str, InferTask]:
        tasks: dict[str, InferTask] = {}
        archive = self._archive()
        for name, model in self.answering.items():
            tasks[name] = MaskTask(model, archive)
            tasks[f"{name}_uncertainty"] = UncertaintyTask(model, self.bands[name], archive)
            tasks[f"{name}_with_uncertainty"] = CombinedTask(model, self.bands[name], archive)
            if isinstance(model, ServedModel) and name in self.levels:
                tasks[f"{name}_samples"] = SamplesTask(model, self.levels[name], archive)
        return tasks

    def init_strategies(self) -> dict[str, Strategy]:
        return queue_strategies(self.served, self.queue, self.settings.ohif_strategy)

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        return {"entropy": EntropyScoring(self.served, self.store)}

    def init_trainers(self) -> dict[str, TrainTask]:
        subjects_of((), rule=self.settings.subjects)  # a rule that cannot be read stops the start
        round_settings({}, self.settings)  # and so does a value out of its range
        if not isinstance(self.datastore(), SafeDatastore):
            return {}  # an archive of which MONAI Label alone knows the labels
        return {
            name: RoundTask(model, self.store, self.state_dir)
            for name, model in self.served.items()
            if model.spec.spatial_dims == 3 and not model.spec.shares_values
        }

    def init_batch_infer(self) -> BatchInferTask:
        return _BatchInfer()

    def init_datastore(self) -> Datastore:
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()  # which calls `init_remote_datastore`
        datastore = SafeDatastore(
            self.studies,
            structures=self.structures,
            store=self.store,
            on_served=self.store.mark_served,
            keep=self.settings.label_history,
            frozen=background_method() == "train",
            extensions=platform.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=platform.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=platform.MONAI_LABEL_DATASTORE_READ_ONLY,
            channels=max((len(model.spec.channels) for model in self.served.values()), default=1),
        )
        for reason, count in datastore.unread().counts.items():
            logger.warning("Not read in the studies folder: %s (%d; /info has names)", reason, count)
        if not datastore.is_writable:
            logger.warning(
                "READ-ONLY: the studies folder %s cannot be written to. Inference and scoring work; scans "
                "and labels are not stored (403). What the site knows is kept in %s.",
                self.studies,
                self.state_dir,
            )
        return datastore

    def init_remote_datastore(self) -> Datastore:
        if platform.MONAI_LABEL_DATASTORE.lower() in ("xnat", "dsa"):
            return super().init_remote_datastore()
        names = {name.lower() for labels in self.structures.values() for name in labels}
        pacs = Pacs(connect(self.studies), image_filters(), frozenset(names), listing_seconds())
        return DicomwebDatastore(
            cache_dir(self.studies),
            pacs,
            specs={name: model.spec for name, model in self.answering.items()},
            store=self.store,
            on_served=self.store.mark_served,
            keep=self.settings.label_history,
            frozen=background_method() == "train",
        )

    def _archive(self) -> Archive | None:
        datastore = self.datastore()
        wanted = self.settings.store_in_pacs
        if isinstance(datastore, DicomwebDatastore):
            for model in self.served.values():
                objects_of(model.spec, wanted)  # a wrong name stops the start
            return Archive(datastore)
        if wanted:
            raise SettingError("`store_in_pacs` needs a DICOMweb server as studies; this is a folder.")
        return None

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Run one infer task; unlike MONAI Label's, an image is never a path that a client made up."""
        wanted, store = ResultRequest.from_request(request), datastore or self.datastore()
        task = self._infers.get(wanted.task)
        if task is None:
            raise ModelNotFoundError(f"no model {wanted.task!r}. Served: {', '.join(self._infers)}.")
        path, owned = self._scan_path(wanted.image, store)
        tag = wanted.tag if owned else None
        if tag is not None and isinstance(store, SafeDatastore):
            store.check_writable(tag)  # before the model runs, not after it
        public = {key: value for key, value in request.items() if not key.startswith("_")}
        with self._viewer_waits():
            file, params = task({**public, "image": str(path), "description": task.description})
        if owned and isinstance(task, ModelTask):
            params["segtrust"] = self.drift.marked(task.model, params["segtrust"])
        self._record(wanted.task, str(wanted.image) if owned else None, path, request, params, Path(file))
        info = {"model": wanted.task, "params": params}
        label = file if tag is None else _save_result(store, str(wanted.image), file, tag, info)
        return {"label": label, "tag": DefaultLabelTag.ORIGINAL.value, "file": file, "params": params}

    def infer_wsi(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:  # noqa: ARG002 -- MONAI Label's interface
        """Refuse whole-slide inference: MONAI Label's takes any path of the server, also a folder."""
        raise ModelNotFoundError(NO_SLIDES)

    def info(self) -> dict[str, Any]:
        datastore = self.datastore()
        unread = datastore.unread() if isinstance(datastore, SafeDatastore) else Unread()
        return {**super().info(), "unread": unread.to_json()}

    def prediction(self, model: str, image: str) -> Prediction:
        """What a model says about a scan of the datastore; its infer tasks share the same computation.

        Args:
            model: name of a served model.
            image: id of the scan.

        Returns:
            The prediction.

        Raises:
            ModelNotFoundError: if no such model is served.
            ScanError: if the scan is missing or cannot be used.
        """
        if model not in self.answering:
            raise ModelNotFoundError(f"no model {model!r}. Served: {', '.join(self.answering)}.")
        path, _ = self._scan_path(image, self.datastore())
        prediction = self.answering[model].predict(path)
        about = {"version": prediction.version_id, "flags": [vars(flag) for flag in prediction.flags]}
        self._record(model, image, path, {}, {"segtrust": about}, None)
        return prediction

    def _record(
        self,
        task: str,
        scan: str | None,
        path: Path,
        request: Mapping[str, Any],
        params: Mapping[str, Any],
        file: Path | None,
    ) -> None:
        about = params["segtrust"]
        version = self._infers[task].model.version()
        digest = version.digest if version.id == about["version"] else ""  # another was published meanwhile
        flags = tuple(str(flag["code"]) for flag in about.get("flags", ()))
        options = recorded_options(request)
        self.audit.inference(
            task,
            scan,
            path,
            {"version": about["version"], "digest": digest, "options": options, "flags": list(flags)},
            file,
            claimed_name(request),
        )

    def _scan_path(self, image: object, store: Datastore) -> tuple[Path, bool]:
        """Where a scan lies, and whether the datastore has it."""
        if isinstance(
            image, Path
        ):  # from a route, for a file that came along or a session; no JSON makes one
            return image, False
        if not isinstance(image, str) or not image:
            raise ScanError("`image` must name a scan of the datastore.", "scan_missing")
        try:
            uri = store.get_image_uri(image)
        except (requests.RequestException, LookupError) as error:
            raise ScanError(f"the scan {image!r} cannot be fetched: {error}.", "scan_missing") from error
        if not uri or not Path(uri).exists():
            raise ScanError(f"no scan {image!r} in the datastore. Is the id right?", "scan_missing")
        return Path(uri), True

    def cleanup_sessions(self) -> None:
        if (sessions := self.sessions()) is not None:
            remove_expired(sessions)

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The scan that a strategy picks; one that cannot be read comes with the reason, to be looked at."""
        strategy = self._strategies.get(SampleRequest.from_request(request).strategy)
        if strategy is None:
            return dict(super().next_sample(request))  # which says that there is none
        sample = strategy(request, self.datastore())
        if not sample or not sample.get("id"):
            return {}
        try:
            sample["path"] = self.datastore().get_image_uri(sample["id"])
        except ScanError as error:
            sample |= {"path": "", "reason": f"it cannot be read: {error}"}
        if self._auto_update_scoring:
            self.async_scoring(None)
        return dict(sample)

    def async_scoring(self, method: str | None, params: dict[str, Any] | None = None) -> dict[str, Any]:
        if not self._server_mode:  # a process beside the server asks the server
            return super().async_scoring(method, params) if method else {}
        worker = self.scoring_worker
        if method:
            model = chosen_model(model_name((params or {}).get(method) or {}), self.served)
            return worker.described(worker.request(model.name))
        for name in self.served if self.settings.auto_score else ():  # at start, and after a next sample
            worker.request(name)
        return {}

    @contextmanager
    def _viewer_waits(self) -> Iterator[None]:
        with self._counting:
            self._inferences += 1
        try:
            yield
        finally:
            with self._counting:
                self._inferences -= 1

    def viewer_busy(self) -> bool:
        """Whether a viewer waits for an inference."""
        return self._inferences > 0

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        super().on_save_label(image_id, label_id)
        info = self.datastore().get_label_info(label_id, DefaultLabelTag.FINAL.value)
        return {"segtrust": info["segtrust"]} if "segtrust" in info else {}

    def on_init_complete(self) -> None:
        # exists only in a server process; to import it elsewhere would build one
        from monailabel.app import app as server  # noqa: PLC0415

        announce_server()
        hide_names()
        folder = self._use_private_folder()
        if isinstance(datastore := self.datastore(), SafeDatastore):
            before_end(datastore.close)
        forget_defaults()
        if isinstance(datastore, DicomwebDatastore):  # a folder has DICOM in sessions only
            keep_warm()
        self.scoring_worker.resume()
        self.trainings.close_old()
        install_routes(server)
        self.audit.look_after(self.settings.audit_days)
        guard(server, self.origins)
        if self.gate is not None:
            self.gate.on_attempt = self.audit.login
            install_login(server, self.gate)
        folder.give_requests_folders(server)
        super().on_init_complete()
        threading.Thread(target=self._fix_roles, name="roles", daemon=True).start()
        if self.settings.warm_up:
            models = list(self.served.values())
            threading.Thread(target=warm_up, args=(models,), name="warm-up", daemon=True).start()

    def _use_private_folder(self) -> PrivateFolder:
        """Put temporary files into a folder of this server alone from now on; sweep what killed ones left."""
        folder = PrivateFolder(self.state_dir, self.settings.temp_dir)
        folder.use()
        if (sessions := self.sessions()) is not None:
            make_private(Path(sessions.store_path))
        datastore = self.datastore()
        sweeps = isinstance(datastore, SafeDatastore) and datastore.is_writable
        parts = datastore.part_folders() if sweeps else []
        sweep_parts(parts, folder.sweep())
        return folder

    def _fix_roles(self) -> None:
        """Roles are there before anything is selected; a PACS that is asleep must not stop the server."""
        datastore = self.datastore()
        if not isinstance(datastore, SafeDatastore):
            return
        try:
            fix_roles(datastore, self.store, self.settings.subjects)
            datastore.look_at_labels()
        except (SegtrustError, requests.RequestException) as error:
            logger.warning("Roles of the scans are not fixed yet: %s", error)


def _save_result(store: Datastore, image: str, file: str, tag: str, info: dict[str, Any]) -> str:
    save = store.save_result if isinstance(store, SafeDatastore) else store.save_label
    return str(save(image, file, tag, info))


class _BatchInfer(BatchInferTask):
    """MONAI Label's batch inference; its default of several GPUs divides by their number, also by zero."""

    def __call__(
        self, request: dict[str, Any], datastore: Datastore, infer: Callable[..., Any]
    ) -> dict[str, Any]:
        result_tag(request)  # refused before the first scan, not after it
        several = torch.cuda.is_available() and uses_several_gpus(request)
        results: dict[str, Any] = super().__call__({**request, "multi_gpu": several}, datastore, infer)
        return results
