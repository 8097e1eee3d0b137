"""Whole heads as the app offers them: a search, and the crop model that is served."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from segtrust.errors import ModelError
from segtrust.inference import Prediction, check_device, fingerprint
from segtrust.inference.finder import Finder
from segtrust.inference.head_answer import heads_spec, heads_version
from segtrust.inference.heads import HeadPredictor
from segtrust.inference.predictor import Predictor
from segtrust.label.results import Results, last_results
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.models import ModelSpec, ModelVersion, find_models, open_version, shipped_finders_dir

__all__ = ["ServedHeads", "serve_heads"]


class ServedHeads:
    """A crop model on whole heads; safe to use from several threads. It is neither scored nor trained.

    Args:
        finder: of the search.
        crops: the crop model, in whatever version it is served.
    """

    def __init__(self, finder: Finder, crops: ServedModel) -> None:
        self.finder, self.crops = finder, crops
        self.spec: ModelSpec = heads_spec(finder.spec, crops.spec)
        self._results: Results[Prediction] = last_results()
        self._predictors: dict[tuple[str, str], HeadPredictor] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The task's name."""
        return self.spec.name

    @property
    def settings(self) -> AppSettings:
        """Settings of the app."""
        return self.crops.settings

    def version(self) -> ModelVersion:
        """The version that answers now."""
        return heads_version(self.finder.version, self.crops.version())

    def predict(self, scan: Path, device: str = "", *, views: bool = False) -> Prediction:
        """Predict a scan, or return the result that the last request for it made.

        Args:
            scan: file, or folder with one DICOM series.
            device: where; the app's setting if empty.
            views: with the maps of mirrored views, which whole heads do not have.

        Returns:
            The prediction.

        Raises:
            ScanError: if the scan cannot be used.
            DeviceError: if the device is not there or its memory does not suffice.
            SettingError: if views are wanted.
        """
        where = str(check_device(device or self.settings.device))
        predictor = self._predictor(where)
        if views:
            predictor.views(scan)
        key = (predictor.version.digest, self.crops.settings_digest(), where, str(scan), fingerprint(scan))
        return self._results(key, lambda: predictor.predict(scan))

    def _predictor(self, device: str) -> HeadPredictor:
        crops = self.crops.predictor(device)
        if not isinstance(crops, Predictor):
            raise ModelError(f"whole heads need networks to run; {self.crops.name!r} has stored volumes.")
        key = (crops.version.digest, device)
        with self._lock:
            held = self._predictors.get(key)
            if held is None or held.crops is not crops:  # its members may have left a GPU meanwhile
                held = self._predictors[key] = HeadPredictor(self.finder, crops)
            return held


def serve_heads(served: Mapping[str, ServedModel], only: Sequence[str] = ()) -> dict[str, ServedHeads]:
    """Searches that ship, for the crop models that are served.

    Args:
        served: models of the app.
        only: names that the app restricts itself to; empty for no restriction.

    Returns:
        Name of the task -> what answers it.

    Raises:
        ModelError: if a file of a search is damaged.
    """
    heads: dict[str, ServedHeads] = {}
    for name, folder in find_models(shipped_finders_dir()).items():
        if only and name not in only:
            continue
        finder = Finder(open_version(folder))
        crops = served.get(finder.rule.crops)
        if crops is not None and name not in served and crops.settings.whole_heads:
            heads[name] = ServedHeads(finder, crops)
    return heads
