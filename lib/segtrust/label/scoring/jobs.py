"""Scoring one scan in whatever process; nothing here needs MONAI Label."""

import functools
from dataclasses import dataclass
from pathlib import Path

from segtrust.errors import DeviceError
from segtrust.label.results import last_results
from segtrust.label.scoring.scan_scores import score_file
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.store import ScoreKey, StoredScore

__all__ = ["ScoreJob", "run_score_job"]


@dataclass(frozen=True, kw_only=True)
class ScoreJob:
    """One scan for one model: the model's folder, the settings, and which file under which key."""

    model: Path
    settings: AppSettings
    key: ScoreKey
    path: Path


def run_score_job(job: ScoreJob) -> tuple[str, StoredScore | DeviceError]:
    """Score a scan; a process opens a model once for all its jobs.

    Args:
        job: what to do.

    Returns:
        The scan, and its score or reason as :func:`segtrust.label.scoring.scan_scores.score_file`; an error
        of the device instead of raising it, so that other jobs go on.

    Raises:
        ModelError: if the model's files are wrong.
    """
    try:
        return job.key.scan_id, score_file(_model(job.model, job.settings), job.key, job.path)
    except DeviceError as error:
        return job.key.scan_id, error


@functools.cache
def _model(folder: Path, settings: AppSettings) -> ServedModel:
    return ServedModel(folder, settings, last_results())
