"""Scoring method ``entropy``: one prediction per unlabelled scan, kept in the state file."""

import logging
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from segtrust.label.queue.strategies import chosen_model
from segtrust.label.requests import model_name
from segtrust.label.scoring.studies import score_missing
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
        model = chosen_model(model_name(request), self._models)
        outcome = score_missing(model, datastore, self._store)
        failed = outcome.failed | outcome.again
        logger.info(
            "Scored %d scans, %d had a score, %d failed", len(outcome.scores), outcome.skipped, len(failed)
        )
        return {
            "model": model.name,
            "version": outcome.version,
            "scores": outcome.scores,
            "skipped": outcome.skipped,
            "failed": failed,
        }
