"""Scoring method ``entropy``: one prediction per unlabelled scan, kept in the state file."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from segtrust.errors import DeviceError, ScanError, SegtrustError
from segtrust.label.served import ServedModel
from segtrust.label.strategies import chosen_model
from segtrust.store import ScoreKey, StateStore

__all__ = ["EntropyScoring"]

logger = logging.getLogger(__name__)

_KEPT = ("scores", "structures", "slices")


class EntropyScoring(ScoringMethod):
    """Score what has no score yet under the version and settings of now; a scan that fails stops nothing.

    Args:
        models: models of the app.
        store: where scores are kept.
    """

    def __init__(self, models: Mapping[str, ServedModel], store: StateStore) -> None:
        super().__init__("Mean entropy around the structures of every unlabelled scan; high = less sure.")
        self._models = models
        self._store = store

    def info(self) -> dict[str, Any]:
        return {**super().info(), "config": {"model": list(self._models)}}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        model = chosen_model(request, self._models)
        scores: dict[str, float | None] = {}
        failed: dict[str, str] = {}
        waiting = sorted(datastore.get_unlabeled_images())
        for scan_id in waiting:
            path = Path(datastore.get_image_uri(scan_id))
            try:
                key = model.score_key(scan_id, path)
            except ScanError as error:  # gone since it was listed
                failed[scan_id] = str(error)
                continue
            if self._store.get_score(key) is not None:
                continue
            try:
                scores[scan_id] = self._score(model, key, path)
            except Exception as error:  # noqa: BLE001 -- one bad scan must not stop the others
                failed[scan_id] = self._fail(key, error)
        skipped = len(waiting) - len(scores) - len(failed)
        logger.info("Scored %d scans, %d had a score, %d failed", len(scores), skipped, len(failed))
        return {
            "model": model.name,
            "version": model.version().id,
            "scores": scores,
            "skipped": skipped,
            "failed": failed,
        }

    def _score(self, model: ServedModel, key: ScoreKey, path: Path) -> float | None:
        params = (prediction := model.predict_apart(path)).params()
        details: dict[str, Any] = {name: params[name] for name in _KEPT if name in params}
        self._store.put_score(key, prediction.scores.entropy, details=details, flags=params.get("flags", ()))
        return prediction.scores.entropy

    def _fail(self, key: ScoreKey, error: Exception) -> str:
        known = isinstance(error, SegtrustError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        logger.warning("Scoring %s failed: %s", key.scan_id, reason, exc_info=None if known else error)
        if not isinstance(error, DeviceError):  # another device or an idle one may do: try again next time
            self._store.mark_failed(key, reason)
        return reason
