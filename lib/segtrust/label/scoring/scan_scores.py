"""Scores of scans: which are missing, what one prediction gives, and what is kept of it."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from segtrust.errors import DeviceError, ScanError, SegtrustError
from segtrust.inference import Prediction, fingerprint
from segtrust.label.drift import watched_facts
from segtrust.label.served import ServedModel
from segtrust.store import ScoreKey, StateStore, StoredScore

if TYPE_CHECKING:  # worker processes score without MONAI Label
    from monailabel.interfaces.datastore import Datastore

__all__ = [
    "Fingerprints",
    "GiveWay",
    "failed_score",
    "locate",
    "missing_scores",
    "reason_of",
    "score_file",
]

logger = logging.getLogger(__name__)

_KEPT = ("scores", "structures", "slices")


class GiveWay(Exception):  # noqa: N818 -- no error
    """Raised inside a prediction to give it up: something more urgent waits. Nothing is kept of the scan."""


@runtime_checkable
class LocalScans(Protocol):
    """A datastore that says where a scan's file lies without fetching it, as ours do."""

    def image_path(self, image_id: str) -> Path | None: ...


class Fingerprints:
    """Fingerprints of files; a file is opened again only when its size or its time of change differs."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], str]] = {}

    def of(self, path: Path) -> str:
        """The file's fingerprint, as :func:`segtrust.inference.fingerprint` makes it.

        Args:
            path: the file.

        Returns:
            64 hexadecimal digits.

        Raises:
            ScanError: if nothing is there.

        Note:
            20,000 scans cost 20,000 looks into a folder, and not as many opened files.
        """
        try:
            state = path.stat()
        except OSError as error:
            raise ScanError(f"the scan {path.name!r} cannot be opened: {error}.", "scan_missing") from error
        stamp = (state.st_size, state.st_mtime_ns)
        entry = self._known.get(path)
        if entry is None or entry[0] != stamp:
            entry = self._known[path] = (stamp, fingerprint(path))
        return entry[1]


def missing_scores(
    model: ServedModel, datastore: "Datastore", store: StateStore, fingerprints: Fingerprints
) -> list[str]:
    """Unlabelled scans without a score of their present file under the version and settings of now.

    Args:
        model: the model.
        datastore: the scans. Nothing is fetched from an archive: a series that was scored stays scored.
        store: scores so far; one that says why scoring failed counts, too.
        fingerprints: what is known about files already.

    Returns:
        Ids in order.
    """
    scores = store.scores_brief(model.version().digest, model.settings_digest())
    local = datastore if isinstance(datastore, LocalScans) else None

    def is_scored(scan_id: str) -> bool:
        if (row := scores.get(scan_id)) is None:
            return False
        path = local.image_path(scan_id) if local else None
        try:
            return path is None or fingerprints.of(path) == row.fingerprint
        except ScanError:
            return False  # gone: the attempt to score it says so

    return [scan_id for scan_id in sorted(datastore.get_unlabeled_images()) if not is_scored(scan_id)]


def locate(datastore: "Datastore", scan_id: str) -> Path:
    """The file of a scan, fetched from a PACS if it is not here.

    Args:
        datastore: the scans.
        scan_id: which one.

    Returns:
        A file.

    Raises:
        ScanError: if there is none, or a series cannot be made a volume.
    """
    uri = datastore.get_image_uri(scan_id)
    if not uri:
        raise ScanError(f"no scan {scan_id!r} in the datastore. Was it removed?", "scan_missing")
    return Path(uri)


def score_file(
    model: ServedModel, key: ScoreKey, path: Path, progress: Callable[[int, int], None] | None = None
) -> StoredScore:
    """Score one scan by one prediction; what is wrong with the scan is in the result.

    Args:
        model: the model.
        key: what the score depends on, made before the file is read.
        path: the file.
        progress: called after each sample of the prediction.

    Returns:
        Score, details and flags, or the reason why there are none; under the version that predicted, which
        is a later one than the key's if one was published meanwhile.

    Raises:
        DeviceError: if the device failed, which is no fault of the scan.
        GiveWay: if ``progress`` raised it.
    """
    try:
        prediction = model.predict_apart(path, progress)
        return _stored(key, prediction)
    except (DeviceError, GiveWay):
        raise
    except Exception as error:  # noqa: BLE001 -- one bad scan must not stop the others
        return failed_score(key, error)


def _stored(key: ScoreKey, prediction: Prediction) -> StoredScore:
    score, params = prediction.scores.entropy, prediction.params()
    if score is not None and not math.isfinite(score):
        raise ScanError(f"the score of a scan must be a finite number, got {score}.", "scan_not_finite")
    return StoredScore(
        key=replace(key, version_digest=prediction.digest),
        score=score,
        details={
            **{name: params[name] for name in _KEPT},
            **prediction.selection_facts(),
            "watched": watched_facts(prediction),
        },
        flags=tuple(params.get("flags", ())),
    )


def failed_score(key: ScoreKey, error: Exception) -> StoredScore:
    """What is kept of a scan that cannot be scored: the reason."""
    foreseen = isinstance(error, SegtrustError)
    logger.warning("Scoring a scan failed: %s", error, exc_info=None if foreseen else error)
    logger.debug("It was %s", key.scan_id)
    return StoredScore(key=key, score=None, error=reason_of(error))


def reason_of(error: Exception) -> str:
    """An error in words; one that nobody foresaw with its class."""
    return str(error) if isinstance(error, SegtrustError) else f"{type(error).__name__}: {error}"
