"""Scores of a studies folder without a server: the same state file, in several processes or on a cluster."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segtrust.errors import DeviceError, ScanError, SettingError
from segtrust.label.drift import DriftWatch
from segtrust.label.scoring.jobs import ScoreJob, run_score_job
from segtrust.label.scoring.scan_scores import Fingerprints, locate, missing_scores
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.label.studies.beside import open_site
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.parallel import parallel_results
from segtrust.store import StateStore

if TYPE_CHECKING:
    from monailabel.interfaces.datastore import Datastore

__all__ = ["FolderScores", "score_folder", "score_missing"]

logger = logging.getLogger(__name__)


@dataclass
class FolderScores:
    """What came of scoring a folder.

    ``scores`` and ``failed`` (with the reason) are of this run, ``skipped`` counts scans whose score was
    there, and ``again`` has scans that the device failed at: nothing is kept of them.
    """

    model: str
    version: str
    scores: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)
    skipped: int = 0


def score_folder(
    name: str,
    studies: Path,
    settings: AppSettings,
    *,
    workers: int = 1,
    ray: str | None = None,
    say: Callable[[str], None] = logger.info,
) -> FolderScores:
    """Score the unlabelled scans of a studies folder that have no score under version and settings of now.

    Args:
        name: the model.
        studies: folder of scans, as a server has it. A server may run on it meanwhile.
        settings: those of the server; ``precision`` is part of what a score depends on.
        workers: processes; each holds the model's networks once.
        ray: address of a Ray cluster, see :func:`segtrust.parallel.parallel_map`.
        say: called with a line per scan.

    Returns:
        What came of it; each score is kept as soon as it is there, so that a run that was ended goes on.

    Raises:
        SettingError: if ``studies`` is no folder, or Ray does not answer.
        ModelNotFoundError: if there is no such model.
        StoreError: if the state file cannot be used.
    """
    if not studies.is_dir():
        raise SettingError(
            f"`studies` must be a folder of scans, got {str(studies)!r}. Scans of a DICOMweb server are "
            "scored by the MONAI Label server that serves them: POST /scoring/entropy"
        )
    site = open_site(studies, replace(settings, models=(name,)))
    return score_missing(site.model(name), site.datastore, site.store, workers=workers, ray=ray, say=say)


def score_missing(
    model: ServedModel,
    datastore: "Datastore",
    store: StateStore,
    *,
    workers: int = 1,
    ray: str | None = None,
    say: Callable[[str], None] = logger.info,
) -> FolderScores:
    """Score the unlabelled scans that have no score under version and settings of now.

    Args:
        model: the model.
        datastore: the scans.
        store: where scores are kept, each as soon as it is there.
        workers: as in :func:`score_folder`.
        ray: as there.
        say: as there.

    Returns:
        What came of it.

    Raises:
        SettingError: if Ray does not answer.
        StoreError: if the state file cannot be used.
    """
    fingerprints = Fingerprints()
    missing = missing_scores(model, datastore, store, fingerprints)
    outcome = FolderScores(
        model.name, model.version().id, skipped=len(datastore.get_unlabeled_images()) - len(missing)
    )
    jobs = _jobs(model, datastore, missing, fingerprints, outcome)
    gpus = int(model.settings.device.startswith("cuda"))
    results = parallel_results(run_score_job, jobs, workers=workers, ray=ray, gpus=gpus)
    for number, (scan_id, result) in enumerate(results, start=1):
        if isinstance(result, DeviceError):
            outcome.again[scan_id] = word = str(result)
        else:
            store.put_score(result)
            if result.error is not None:
                outcome.failed[scan_id] = word = result.error
            else:
                outcome.scores[scan_id] = result.score
                word = "empty prediction" if result.score is None else f"{result.score:.4f}"
        say(f"{number}/{len(missing)} {scan_id}: {word}")
    site = datastore if isinstance(datastore, SafeDatastore) else None
    DriftWatch(store, site, model.settings.subjects).look(model)
    return outcome


def _jobs(
    model: ServedModel,
    datastore: "Datastore",
    missing: list[str],
    fingerprints: Fingerprints,
    outcome: FolderScores,
) -> Iterator[ScoreJob]:
    """One job per scan, each made when its turn comes: a PACS is not emptied into the cache beforehand."""
    for scan_id in missing:
        try:
            path = locate(datastore, scan_id).resolve()
            key = model.score_key(scan_id, fingerprints.of(path))
        except ScanError as error:  # gone since it was listed
            outcome.again[scan_id] = str(error)
            continue
        yield ScoreJob(model=model.folder.resolve(), settings=model.settings, key=key, path=path)
