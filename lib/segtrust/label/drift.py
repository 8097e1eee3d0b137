"""The watch on drift: one scored scan of each patient joins the stream of its scanner and protocol.

A scan is watched when it is scored, not when somebody looks at it: scoring takes all scans without a label in
the order of their names, while a reader chooses, which alone would make them unlike the calibration scans.
"""

import hashlib
import hmac
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segtrust.errors import SegtrustError
from segtrust.inference import Flag, Prediction
from segtrust.label.served import ServedModel
from segtrust.label.served_heads import ServedHeads
from segtrust.models import ModelVersion
from segtrust.quality import SeenScan, StreamDrift, TypicalScans, judge_stream, logit_dice, p_values
from segtrust.release.collect import LabelledSite, fix_roles
from segtrust.store import StateStore, UnwatchedScan, WatchedScan

__all__ = ["FILES", "DriftReport", "DriftWatch", "stream_of", "watched_facts"]

logger = logging.getLogger(__name__)

FILES = "files"
"""The stream of scans that are no DICOM."""
_AT_ONCE = 200
_DIGITS = 5
_LOT_BITS = 52


def watched_facts(prediction: Prediction) -> dict[str, Any]:
    """What a score keeps of a scan for the watch.

    Args:
        prediction: of the scan.

    Returns:
        ``stream`` (scanner and protocol, or :data:`FILES`), ``features`` and ``numbers`` as in
        :class:`segtrust.quality.SeenScan`, in JSON types.
    """
    scores, assessment = prediction.scores, prediction.assessment
    dice = [s.predicted_dice for s in assessment.structures.values()] if assessment else []
    known = [value for value in dice if value is not None]
    confidence = scores.soft_dice_confidence
    numbers = {
        "entropy": scores.entropy,
        "confidence": None if confidence is None else logit_dice(confidence),
        "predicted_dice": sum(known) / len(known) if known else None,
    }
    return {
        "stream": stream_of(prediction.series),
        "features": {name: [round(v, _DIGITS) for v in row] for name, row in prediction.seen.items()},
        "numbers": {name: round(value, _DIGITS) for name, value in numbers.items() if value is not None},
    }


def stream_of(series: Mapping[str, Any] | None) -> str:
    """The stream of a scan.

    Args:
        series: what is known of its DICOM series; ``None`` for a file.

    Returns:
        Scanner and protocol, or :data:`FILES`.
    """
    if not series:
        return FILES
    scanner = " ".join(filter(None, (series.get("manufacturer"), series.get("scanner"))))
    protocol = series.get("protocol") or series.get("description")
    return f"{scanner or 'scanner not named'}, {protocol or 'protocol not named'}"


@dataclass(frozen=True)
class DriftReport:
    """What the watch says of a model's served version; ``streams`` in the order in which they began."""

    version: str
    compared: int
    streams: dict[str, StreamDrift]

    @property
    def stale(self) -> tuple[str, ...]:
        """Streams with an alarm: the calibration does not speak for their scans any more."""
        return tuple(name for name, stream in self.streams.items() if stream.alarm is not None)

    def to_json(self) -> dict[str, Any]:
        """As routes and the command line give it."""
        return {
            "version": self.version,
            "calibration_scans": self.compared,
            "calibration_stale": bool(self.stale),
            "streams": [{"stream": name, **stream.to_json()} for name, stream in self.streams.items()],
        }


class DriftWatch:
    """Watches the scans of a site, and remembers the last verdict until another scan was watched.

    Args:
        store: state of the site, which keeps what was watched.
        site: the scans, for those whose patient is not known yet; ``None`` where the site has no patients.
        rule: how patients are told apart, as :func:`~segtrust.release.cohort.subjects_of` reads it.
    """

    def __init__(self, store: StateStore, site: LabelledSite | None = None, rule: str = "") -> None:
        self._store, self._site, self._rule, self._lock = store, site, rule, threading.Lock()
        self._reports: dict[str, tuple[int, DriftReport]] = {}

    def update(self, model: ServedModel) -> int:
        """Watch what was scored since the last time.

        Args:
            model: the model, whose served version counts.

        Returns:
            How many scans were watched.

        Raises:
            StoreError: if the state file cannot be used.
        """
        if self._site is not None:
            fix_roles(self._site, self._store, self._rule)
        version, settings, count = model.version(), model.settings_digest(), 0
        while new := self._store.unwatched(version.digest, settings, _AT_ONCE):
            rows = self._store.watched(version.digest)
            streams: dict[str, list[SeenScan]] = {}
            for row in rows:
                streams.setdefault(row.stream, []).append(SeenScan.from_json(row.scan))
            for number, one in enumerate(new, start=len(rows)):
                if not self._watch(version, one, streams, after=number):
                    break  # another process watches, too: look again at what it left
                count += 1
        return count

    def look(self, model: ServedModel) -> None:
        """Watch what was scored; what goes wrong is logged, since scoring goes on without a watch."""
        try:
            self.update(model)
            for name in self.report(model).stale:
                logger.warning("%s: the calibration is stale for the scans of %r", model.name, name)
        except SegtrustError as error:
            logger.warning("Drift of %s is not watched: %s", model.name, error)

    def marked(self, model: ServedModel | ServedHeads, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Say in an answer where the calibration is stale.

        Args:
            model: that answers.
            numbers: ``params.segtrust`` of a scan.

        Returns:
            The same with ``calibration_stale``, the streams with an alarm, and a flag if the scan's own is
            one; unchanged without an alarm.
        """
        stale = self.report(model).stale
        if not stale:
            return dict(numbers)
        own = stream_of(numbers.get("series"))
        flags = [*numbers.get("flags", ()), *([vars(_flag(own))] if own in stale else [])]
        return {**numbers, "calibration_stale": list(stale), "flags": flags}

    def report(self, model: ServedModel | ServedHeads) -> DriftReport:
        """What the watch says of the version that is served.

        Args:
            model: the model.

        Returns:
            The verdict, of what was watched so far.

        Raises:
            StoreError: if the state file cannot be used.
        """
        version = model.version()
        number = self._store.watched_count(version.digest)
        with self._lock:
            known = self._reports.get(version.digest)
        if known is None or known[0] != number:
            known = (number, self._judge(version))
            with self._lock:
                self._reports[version.digest] = known
        return known[1]

    def _watch(
        self, version: ModelVersion, new: UnwatchedScan, streams: dict[str, list[SeenScan]], *, after: int
    ) -> bool:
        name = str(new.facts["stream"])
        lot = _lot(self._store.site_key(), version.digest, name, new.patient)
        scan, earlier = SeenScan.from_json({**new.facts, "lot": lot}), streams.setdefault(name, [])
        row = WatchedScan(name, scan.to_json(), p_values(_typical(version), earlier, scan), 0.0)
        if not self._store.watch(version.digest, new.patient, row, after=after):
            return False
        earlier.append(scan)
        return True

    def _judge(self, version: ModelVersion) -> DriftReport:
        streams: dict[str, list[WatchedScan]] = {}
        for row in self._store.watched(version.digest):
            streams.setdefault(row.stream, []).append(row)
        judged = {
            name: judge_stream([row.p_values for row in rows], number=number)
            for number, (name, rows) in enumerate(streams.items(), start=1)
        }
        typical = _typical(version)
        return DriftReport(version.id, typical.subjects if typical.features else 0, judged)


def _flag(stream: str) -> Flag:
    return Flag(
        "calibration_stale",
        f"Scans of {stream!r} do not come like those of the calibration any more: probabilities, predicted "
        "Dice and intervals may not hold. Calibrate anew with labels of such scans.",
    )


def _typical(version: ModelVersion) -> TypicalScans:
    part = version.calibration.get("quality", {}).get("typical")
    return TypicalScans.from_json(part) if part else TypicalScans({})


def _lot(key: bytes, *parts: str) -> float:
    """Even on (0, 1), the same whenever it is drawn, and known to nobody who does not know the site's key."""
    digest = hmac.digest(key, "\0".join(("drift", *parts)).encode(), hashlib.sha256)
    return ((int.from_bytes(digest[:8], "big") >> (64 - _LOT_BITS)) + 0.5) / (1 << _LOT_BITS)
