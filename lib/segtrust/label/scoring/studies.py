"""Scores of a studies folder without a server: the same state file, in several processes or on a cluster."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from segtrust.errors import DeviceError, ScanError, SettingError
from segtrust.label.scoring.jobs import ScoreJob, run_score_job
from segtrust.label.scoring.scan_scores import Fingerprints, keep_score, missing_scores
from segtrust.label.served import ServedModel
from segtrust.label.studies.beside import open_site
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.parallel import parallel_results
from segtrust.settings import AppSettings

__all__ = ["FolderScores", "score_folder"]

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
    model, store, datastore = site.model(name), site.store, site.datastore
    fingerprints = Fingerprints()
    missing = missing_scores(model, datastore, store, fingerprints)
    found = FolderScores(
        name, model.version().id, skipped=len(datastore.get_unlabeled_images()) - len(missing)
    )
    jobs = _jobs(model, datastore, missing, fingerprints, found)
    gpus = int(settings.device.startswith("cuda"))
    results = parallel_results(run_score_job, jobs, workers=workers, ray=ray, gpus=gpus)
    for number, (job, result) in enumerate(zip(jobs, results, strict=True), start=1):
        scan_id = job.key.scan_id
        if isinstance(result, DeviceError):
            found.again[scan_id] = word = str(result)
        elif result.error is not None:
            keep_score(store, result)
            found.failed[scan_id] = word = result.error
        else:
            keep_score(store, result)
            found.scores[scan_id] = result.score
            word = "empty prediction" if result.score is None else f"{result.score:.4f}"
        say(f"{number}/{len(jobs)} {scan_id}: {word}")
    return found


def _jobs(
    model: ServedModel,
    datastore: SafeDatastore,
    missing: list[str],
    fingerprints: Fingerprints,
    found: FolderScores,
) -> list[ScoreJob]:
    jobs = []
    for scan_id in missing:
        path = (datastore.image_path(scan_id) or Path(scan_id)).resolve()
        try:
            key = model.score_key(scan_id, fingerprints.of(path))
        except ScanError as error:  # gone since it was listed
            found.again[scan_id] = str(error)
            continue
        jobs.append(ScoreJob(model=model.folder.resolve(), settings=model.settings, key=key, path=path))
    return jobs
