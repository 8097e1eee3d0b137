"""Is a scan like those of the calibration? Detectors, one combined score, and an exact p-value for each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError
from segtrust.quality.conformal import conformal_p_value
from segtrust.quality.log_odds import logit_dice
from segtrust.quality.regression import LEAST_SUBJECTS
from segtrust.scores import ScanScores

__all__ = [
    "DETECTORS",
    "LEAST_TESTED",
    "Features",
    "Likeness",
    "TypicalScans",
    "Unlikeness",
    "fit_typical_scans",
    "scan_features",
]

UNLIKE_BELOW = 0.05
"""A scan with a lower p-value is not like the calibration scans."""
LEAST_TESTED = math.floor(1 / UNLIKE_BELOW)
"""With fewer subjects no p-value can be so low: likeness cannot be tested."""

Features = Mapping[str, tuple[float, ...]]
Likeness = Literal["like", "not tested", "somewhat unlike", "unlike"]
Floats = NDArray[np.float64]

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_TINY = 1e-6
_TIE = 1e-9
_DIGITS = 5
_PREDICTION = "ensemble"
DETECTORS = ("brightness", "sharpness", _PREDICTION)
"""What :func:`scan_features` sees of a scan; not each of them is defined for every scan."""
_WORDS = {
    "brightness": "its brightness",
    "sharpness": "its sharpness (noise, blur or thick slices)",
    _PREDICTION: "how sure the members are and how far they agree",
}


def scan_features(image: NDArray[np.floating[Any]], scores: ScanScores) -> Features:
    """What the detectors see of a scan.

    Args:
        image: the scan on the network's grid, normalised, ``(C, X, Y, Z)``.
        scores: of its prediction.

    Returns:
        Detector -> numbers. ``brightness``: quantiles of each channel's values. ``sharpness``: log mean first
        and second difference along each axis over the channel's spread, which tell noise, blur and thick
        slices. ``ensemble``: how sure the prediction is and how far the members agree, all pairs pooled, as
        in every version that stores such numbers. A detector is left out where a number of it is not defined,
        as ``ensemble`` for an empty prediction, or not finite.

    Source:
        After Vasiliuk et al. 2023 (intensity histograms beat learned detectors on 3-D scans) and Mehrtash et
        al. 2020 (entropy of the prediction).
    """
    values = image.astype(np.float64)
    features = {
        "brightness": tuple(float(q) for channel in values for q in np.quantile(channel, _QUANTILES)),
        "sharpness": tuple(
            _roughness(channel, axis, n) for channel in values for axis in range(3) for n in (1, 2)
        ),
    }
    shares = (scores.pooled_pairwise_dice, scores.soft_dice_confidence)
    if scores.entropy is not None and scores.between_member is not None and None not in shares:
        features["ensemble"] = (
            scores.entropy,
            float(np.log(scores.between_member + _TINY)),
            *(logit_dice(share) for share in shares if share is not None),
        )
    return {name: numbers for name, numbers in features.items() if all(map(math.isfinite, numbers))}


def _roughness(channel: Floats, axis: int, order: int) -> float:
    """Log mean absolute difference along an axis over the spread; 0 where the axis is too short."""
    if channel.shape[axis] <= order:
        return 0.0
    return float(np.log(np.abs(np.diff(channel, order, axis=axis)).mean() / (channel.std() + _TINY) + _TINY))


@dataclass(frozen=True)
class Unlikeness:
    """How like the calibration scans a scan is: one p-value, low = unlike, and that of each detector.

    ``undefined``: detectors of the version that have no number for this scan; the p-value is that of the
    others, ``None`` without any.
    """

    p_value: float | None
    detectors: Mapping[str, float]
    subjects: int
    undefined: tuple[str, ...] = ()

    @property
    def likeness(self) -> Likeness:
        """The grade.

        ``like``: p-value of at least :data:`UNLIKE_BELOW`, and not the strangest of all scans. ``not tested``
        for the same where nothing could have been found unlike, or a detector is not defined. Else
        ``somewhat unlike`` if the same holds for the detector of the prediction, so that only the image is
        unusual, and ``unlike`` if it does not, or where there is no such detector.
        """
        if self.p_value is None or not self._is_low(self.p_value):
            return "like" if self.tested else "not tested"
        own = self.detectors.get(_PREDICTION)
        return "unlike" if own is None or self._is_low(own) else "somewhat unlike"

    @property
    def is_unlike(self) -> bool:
        """Whether the scan is unlike the calibration scans, be it somewhat or wholly."""
        return self.likeness in ("somewhat unlike", "unlike")

    @property
    def tested(self) -> bool:
        """Whether a scan of any kind could have had a p-value below :data:`UNLIKE_BELOW`."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why likeness cannot be tested, for a reader; ``None`` where it can."""
        if self.subjects < LEAST_TESTED:
            return (
                f"Whether a scan is like them cannot be tested with {self.subjects} patients: "
                f"it takes {LEAST_TESTED}."
            )
        if self.p_value is None:
            return "No number of this scan can be compared with theirs."
        if self.undefined:
            words = " and ".join(_WORDS.get(name, name) for name in self.undefined)
            return f"Not defined for this scan: {words}."
        return None

    @property
    def unusual(self) -> tuple[str, ...]:
        """Detectors that find the scan unusual, the strangest first; at least one if it is unlike."""
        if not self.is_unlike:
            return ()
        order = sorted(self.detectors, key=lambda name: self.detectors[name])
        return tuple(n for n in order if self._is_low(self.detectors[n])) or tuple(order[:1])

    @property
    def sentence(self) -> str:
        """The grade, the p-value, what is unusual, and what could not be tested, for a reader."""
        return " ".join(filter(None, (self._grade(), self.reason)))

    def _grade(self) -> str:
        scans = f"the {self.subjects} calibration scans"
        if self.p_value is None:
            return f"Not compared with {scans}."
        p_value = f"(p = {self.p_value:.2g})"
        if self.likeness == "like":
            return f"Like {scans} {p_value}."
        if self.likeness == "not tested":
            compared = "The scan is" if not self.undefined else "What can be compared is"
            return f"{compared} not the strangest beside {scans} {p_value}."
        words = " and ".join(_WORDS.get(name, name) for name in self.unusual)
        sentence = f"{self.likeness.capitalize()} {scans} {p_value}: unusual is {words}."
        if self.likeness == "somewhat unlike":
            sentence += " The members are as sure, and agree as far, as on those scans."
        if self.subjects < LEAST_TESTED:
            sentence += f" Of scans like them one in {self.subjects + 1} is as strange."
        return sentence

    def to_json(self) -> dict[str, Any]:
        """What an answer says of it."""
        return {
            "p_value": self.p_value,
            "likeness": self.likeness,
            "tested": self.tested,
            "reason": self.reason,
            "unusual": list(self.unusual),
            "sentence": self.sentence,
            "detectors": dict(self.detectors),
            "undefined": list(self.undefined),
            "subjects": self.subjects,
        }

    def _is_low(self, p_value: float) -> bool:
        """Low, or the lowest that there can be: with fewer than 20 subjects no p-value is below 0.05."""
        return p_value < UNLIKE_BELOW or round(p_value * (self.subjects + 1)) <= 1


@dataclass(frozen=True)
class TypicalScans:
    """Features of one scan of each calibration subject: detector -> ``(subjects, numbers)``."""

    features: Mapping[str, tuple[tuple[float, ...], ...]]

    @property
    def subjects(self) -> int:
        """Number of subjects."""
        return len(next(iter(self.features.values())))

    def compare(self, scan: Features) -> Unlikeness:
        """Compare a scan with the calibration scans, by the detectors that are defined for it.

        Every scan, the new one included, is compared with all of them together. So the p-value is exact: for
        a scan of the same kind, a p-value of at most ``a`` has a chance of at most ``a``.

        Args:
            scan: its :func:`scan_features`.

        Returns:
            The p-values. Each is exact; where one of the detectors is not defined, the p-value is that of
            the others: an empty prediction is compared by its image.

        Source:
            full conformal prediction (Vovk et al. 2005) of Mahalanobis distances with the covariance of
            Ledoit & Wolf 2004; the combined score is the largest distance, each over its detector's 90th
            percentile (ours).
        """
        measured = {name: self.strangeness(name, [scan.get(name, ())]) for name in self.features}
        distances = {name: far for name, far in measured.items() if far is not None}
        undefined = tuple(name for name, far in measured.items() if far is None)
        if not distances:
            return Unlikeness(None, {}, self.subjects, undefined)
        scaled = [d / max(float(np.quantile(d, 0.9)), _TINY) for d in distances.values()]
        combined = np.max(scaled, axis=0)
        return Unlikeness(
            _p_value(combined),
            {name: _p_value(d) for name, d in distances.items()},
            self.subjects,
            undefined,
        )

    def strangeness(self, detector: str, scans: Sequence[tuple[float, ...]]) -> Floats | None:
        """How strange the calibration scans and others are, all compared with all of them together.

        Args:
            detector: its name.
            scans: what it sees of the others, as in :func:`scan_features`; the last one is what is asked for.

        Returns:
            Squared distances ``(subjects + scans,)``, calibration scans first; ``None`` if the detector is
            not known here, or not defined for one of the scans.
        """
        rows = self.features.get(detector, ())
        if not rows or not all(_fits(rows[0], scan) for scan in scans):
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest that there are
            return _distances(np.array([*rows, *map(_rounded, scans)], np.float64))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, without names of subjects."""
        return {name: [list(row) for row in rows] for name, rows in self.features.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: detector -> rows.

        Returns:
            The features.

        Raises:
            ModelError: if the detectors have different numbers of rows.
        """
        features = {name: tuple(tuple(row) for row in rows) for name, rows in document.items()}
        if len({len(rows) for rows in features.values()}) != 1:
            raise ModelError("features of typical scans must have one row per subject for each detector.")
        return cls(features)


def fit_typical_scans(scans: Sequence[Features]) -> TypicalScans | None:
    """Keep what the detectors see of the calibration scans.

    Args:
        scans: features of one scan of each subject.

    Returns:
        The features, of the detectors that all scans have; ``None`` with fewer than ten subjects, or without
        such a detector.
    """
    if len(scans) < LEAST_SUBJECTS:
        return None
    names = [
        name
        for name in scans[0]
        if all(name in scan and all(map(math.isfinite, scan[name])) for scan in scans)
    ]
    if not names:
        return None
    return TypicalScans({name: tuple(_rounded(scan[name]) for scan in scans) for name in names})


def _rounded(numbers: Sequence[float]) -> tuple[float, ...]:
    """As versions keep them; the new scan's too, or a number that all scans share would set it apart."""
    return tuple(round(v, _DIGITS) for v in numbers)


def _fits(row: Sequence[float], scan: Sequence[float]) -> bool:
    return len(scan) == len(row) and all(map(math.isfinite, scan))


def _distances(rows: Floats) -> Floats | None:
    """Squared Mahalanobis distance of each row to the mean of all; ``None`` where one is not finite."""
    # here, so that reading an evaluation needs no scikit-learn
    from sklearn.covariance import ledoit_wolf  # noqa: PLC0415

    spread = rows.std(axis=0)
    centred = (rows - rows.mean(axis=0)) / np.where(spread > _TINY, spread, 1.0)
    if not np.isfinite(centred).all():
        return None
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    solved: Floats = np.linalg.solve(covariance + _TINY * np.eye(len(covariance)), centred.T)
    distances: Floats = (centred.T * solved).sum(axis=0)
    return distances if np.isfinite(distances).all() else None


def _p_value(strangeness: Floats) -> float:
    """Share of scans at least as strange as the last one; equal ones may differ by rounding."""
    new = float(strangeness[-1])
    return conformal_p_value(strangeness[:-1].tolist(), new - _TIE * max(1.0, abs(new)))
