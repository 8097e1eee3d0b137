"""Scoring method ``entropy``: one prediction per unlabelled scan, kept in the state file."""

import logging
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from segtrust.errors import DeviceError, ScanError
from segtrust.label.queue.strategies import chosen_model
from segtrust.label.scoring.scan_scores import Fingerprints, keep_score, locate, missing_scores, score_scan
from segtrust.label.served import ServedModel
from segtrust.store import StateStore

__all__ = ["EntropyScoring"]

logger = logging.getLogger(__name__)


class EntropyScoring(ScoringMethod):
    """Score what has no score yet, in the calling process; a server has a worker for it instead.

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
        waiting, fingerprints = len(datastore.get_unlabeled_images()), Fingerprints()
        for scan_id in missing_scores(model, datastore, self._store, fingerprints):
            try:
                path = locate(datastore, scan_id)
                row = score_scan(model, model.score_key(scan_id, fingerprints.of(path)), path)
            except (ScanError, DeviceError) as error:  # gone since it was listed; another device may do
                failed[scan_id] = str(error)
                continue
            keep_score(self._store, row)
            if row.error is None:
                scores[scan_id] = row.score
            else:
                failed[scan_id] = row.error
        skipped = waiting - len(scores) - len(failed)
        logger.info("Scored %d scans, %d had a score, %d failed", len(scores), skipped, len(failed))
        return {
            "model": model.name,
            "version": model.version().id,
            "scores": scores,
            "skipped": skipped,
            "failed": failed,
        }
