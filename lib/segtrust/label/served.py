"""The models an app serves: the version in use, its predictors, and results that several tasks share."""

import gc
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from segtrust.errors import ModelNotFoundError
from segtrust.inference import Prediction, Predictor, check_device, fingerprint
from segtrust.inference.stored import StoredPredictor, open_predictor
from segtrust.label.results import Results, last_results
from segtrust.label.settings import AppSettings
from segtrust.models import ModelSpec, ModelVersion, find_models, open_version, shipped_models_dir
from segtrust.quality import ContourRule, FineRule
from segtrust.store import ScoreKey

__all__ = ["ServedModel", "serve_models"]

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class ServedModel:
    """One model as the server offers it; safe to use from several threads.

    Args:
        folder: the model folder.
        settings: settings of the app.
        results: the last ones, shared with the other models of the app.
        site: folder of the site's models; a version that training publishes there is served from then on.
    """

    def __init__(
        self,
        folder: Path,
        settings: AppSettings,
        results: Results[Prediction],
        site: Path | None = None,
    ) -> None:
        self.settings = settings
        self._found = folder
        self._site = site / folder.name if site else folder
        self._results = results
        self._views: Results[dict[str, NDArray[np.float32]]] = last_results()
        self._lock = threading.Lock()
        self._version = open_version(self.folder)
        self._predictors: dict[tuple[str, str], Predictor | StoredPredictor] = {}
        self._lent: set[str] = set()

    @property
    def folder(self) -> Path:
        """The model folder: the site's as soon as something was published there, else where it was found."""
        return self._site if (self._site / "current").is_file() else self._found

    @property
    def spec(self) -> ModelSpec:
        """The model's specification; all its versions have the same."""
        return self._version.spec

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    def version(self) -> ModelVersion:
        """The version served now; a version that was published meanwhile is opened and checked first."""
        folder = self.folder
        current = (folder / "current").read_text(encoding="utf-8").strip()
        with self._lock:
            if folder / "versions" / current != self._version.folder:
                self._version = open_version(folder, current)
                for key in [key for key in self._predictors if key[0] != self._version.digest]:
                    del self._predictors[key]  # a request in flight still holds, and finishes on, the old one
                logger.info("Model %s: version %s is served now", self.name, self._version.id)
            return self._version

    def predict(self, scan: Path, device: str = "", *, views: bool = False) -> Prediction:
        """Predict a scan, or return the result that the last request for it made.

        Args:
            scan: file, or folder with one DICOM series.
            device: where; the app's setting if empty.
            views: with the maps of mirrored views, which cost two more runs of one member.

        Returns:
            The prediction.

        Raises:
            ScanError: if the scan cannot be used.
            DeviceError: if the device is not there or its memory does not suffice.
            SettingError: if the model cannot give maps of views.
        """
        version = self.version()
        where = str(check_device(device or self.settings.device))
        key = (version.digest, self.settings_digest(), where, str(scan), fingerprint(scan))
        prediction = self._results(key, lambda: self._predictor(version, where).predict(scan))
        if not views:
            return prediction
        maps = self._views(key, lambda: self._predictor(version, where).views(scan))
        return prediction.with_maps(maps)

    def predict_apart(self, scan: Path, progress: Progress | None = None) -> Prediction:
        """Predict a scan without touching the results that viewers share; for warming up and scoring.

        Args:
            scan: file, or folder with one DICOM series.
            progress: called with (samples done, samples in all); what it raises ends the prediction.

        Returns:
            The prediction.

        Raises:
            ScanError: if the scan cannot be used.
            DeviceError: if the device is not there or its memory does not suffice.
        """
        predictor = self._predictor(self.version(), str(check_device(self.settings.device)))
        return predictor.predict(scan, progress=progress)

    def score_key(self, scan_id: str, fingerprint: str) -> ScoreKey:
        """What the score of a scan depends on, with its file's fingerprint, version and settings of now."""
        return ScoreKey(
            scan_id=scan_id,
            fingerprint=fingerprint,
            version_digest=self.version().digest,
            settings_digest=self.settings_digest(),
        )

    def settings_digest(self) -> str:
        """Name of the settings that change a prediction's numbers."""
        return hashlib.sha256(json.dumps({"precision": self.settings.precision}).encode()).hexdigest()[:16]

    def lend(self, device: str) -> None:
        """Leave a device's memory to a training: its members go, and requests load one at a time.

        Args:
            device: as PyTorch names it.
        """
        with self._lock:
            self._lent.add(device)
        self._forget(device)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def is_lent(self) -> bool:
        """Whether a training has the device that the app's setting names."""
        return bool(self._lent) and str(check_device(self.settings.device)) in self._lent

    def take_back(self) -> None:
        """End what :meth:`lend` began; members are kept again from the next request on."""
        with self._lock:
            lent, self._lent = self._lent, set()
        for device in lent:
            self._forget(device)

    def _forget(self, device: str) -> None:
        with self._lock:
            for key in [key for key in self._predictors if key[1] == device]:
                del self._predictors[key]

    def predictor(self, device: str) -> Predictor | StoredPredictor:
        """What predicts scans with the version served now.

        Args:
            device: as PyTorch names it.
        """
        return self._predictor(self.version(), device)

    def _predictor(self, version: ModelVersion, device: str) -> Predictor | StoredPredictor:
        with self._lock:
            key = (version.digest, device)
            if key not in self._predictors:
                self._predictors[key] = open_predictor(
                    version,
                    device=device,
                    precision=self.settings.precision,
                    keep_members=self.settings.keep_members and device not in self._lent,
                    fine=FineRule(self.settings.fine_dice, self.settings.fine_risk),
                    contours=ContourRule(self.settings.contour_coverage, self.settings.contour_share),
                    confidence=self.settings.interval_confidence,
                )
            return self._predictors[key]


def serve_models(settings: AppSettings, state_dir: Path, only: Sequence[str] = ()) -> dict[str, ServedModel]:
    """Find and check the models that an app serves: of this site, of `models_dir`, then those shipped.

    Args:
        settings: settings of the app; its ``models`` names some, or all if empty.
        state_dir: folder of the site.
        only: names that the app restricts itself to; empty for no restriction.

    Returns:
        Name -> model.

    Raises:
        ModelNotFoundError: if a model that was asked for, or any model at all, is not found.
        ModelError: if a model's files are wrong.
    """
    site = state_dir / "models"
    folders = [site, *filter(None, [settings.models_dir]), shipped_models_dir()]
    folders_of = {name: path for name, path in find_models(*folders).items() if not only or name in only}
    wanted = settings.models or tuple(folders_of)
    if missing := [name for name in wanted if name not in folders_of]:
        raise ModelNotFoundError(
            f"no model {', '.join(map(repr, missing))}. Found: {', '.join(folders_of) or 'none'}; "
            f"looked in {', '.join(map(str, folders))}."
        )
    if not wanted:
        raise ModelNotFoundError(
            f"no model to serve in {', '.join(map(str, folders))}. "
            "Put a model folder there, or name its parent: --conf models_dir FOLDER"
        )
    results: Results[Prediction] = last_results(settings.cache_scans)
    return {name: ServedModel(folders_of[name], settings, results, site) for name in wanted}
