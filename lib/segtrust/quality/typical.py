"""Is a scan like those of the calibration? Detectors, one combined score, and an exact p-value for each."""

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
    "Features",
    "Likeness",
    "TypicalScans",
    "Unlikeness",
    "fit_typical_scans",
    "scan_features",
]

UNLIKE_BELOW = 0.05
"""A scan with a lower p-value is not like the calibration scans."""

Features = Mapping[str, tuple[float, ...]]
Likeness = Literal["like", "somewhat unlike", "unlike"]
Floats = NDArray[np.float64]

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_TINY = 1e-6
_PREDICTION = "ensemble"
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
        slices. ``ensemble``: how sure the prediction is and how far the members agree; left out where a score
        is not defined, as for an empty prediction.

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
    shares = (scores.pairwise_dice, scores.soft_dice_confidence)
    if scores.entropy is not None and scores.between_member is not None and None not in shares:
        features["ensemble"] = (
            scores.entropy,
            float(np.log(scores.between_member + _TINY)),
            *(logit_dice(share) for share in shares if share is not None),
        )
    return features


def _roughness(channel: Floats, axis: int, order: int) -> float:
    """Log mean absolute difference along an axis over the spread; 0 where the axis is too short."""
    if channel.shape[axis] <= order:
        return 0.0
    return float(np.log(np.abs(np.diff(channel, order, axis=axis)).mean() / (channel.std() + _TINY) + _TINY))


@dataclass(frozen=True)
class Unlikeness:
    """How like the calibration scans a scan is: one p-value, low = unlike, and that of each detector."""

    p_value: float
    detectors: Mapping[str, float]
    subjects: int

    @property
    def likeness(self) -> Likeness:
        """The grade.

        ``like``: p-value of at least :data:`UNLIKE_BELOW`, and not the strangest of all scans. Else
        ``somewhat unlike`` if the same holds for the detector of the prediction, so that only the image is
        unusual, and ``unlike`` if it does not, or where there is no such detector.
        """
        if not self._is_low(self.p_value):
            return "like"
        own = self.detectors.get(_PREDICTION)
        return "unlike" if own is None or self._is_low(own) else "somewhat unlike"

    @property
    def unusual(self) -> tuple[str, ...]:
        """Detectors that find the scan unusual, the strangest first; at least one unless it is like."""
        if self.likeness == "like":
            return ()
        order = sorted(self.detectors, key=lambda name: self.detectors[name])
        return tuple(n for n in order if self._is_low(self.detectors[n])) or tuple(order[:1])

    @property
    def sentence(self) -> str:
        """The grade, the p-value and what is unusual, for a reader."""
        scans = f"the {self.subjects} calibration scans (p = {self.p_value:.2g})"
        if self.likeness == "like":
            return f"Like {scans}."
        words = " and ".join(_WORDS.get(name, name) for name in self.unusual)
        sentence = f"{self.likeness.capitalize()} {scans}: unusual is {words}."
        if self.likeness == "somewhat unlike":
            sentence += " The members are as sure, and agree as far, as on those scans."
        return sentence

    def to_json(self) -> dict[str, Any]:
        """What an answer says of it."""
        return {
            "p_value": self.p_value,
            "likeness": self.likeness,
            "unusual": list(self.unusual),
            "sentence": self.sentence,
            "detectors": dict(self.detectors),
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

    def compare(self, scan: Features) -> Unlikeness | None:
        """Compare a scan with the calibration scans.

        Every scan, the new one included, is compared with all of them together. So the p-value is exact: for
        a scan of the same kind, a p-value of at most ``a`` has a chance of at most ``a``.

        Args:
            scan: its :func:`scan_features`.

        Returns:
            The p-values; ``None`` if a detector that was fitted is not defined for the scan.

        Source:
            full conformal prediction (Vovk et al. 2005) of Mahalanobis distances with the covariance of
            Ledoit & Wolf 2004; the combined score is the largest distance, each over its detector's 90th
            percentile (ours).
        """
        if any(name not in scan for name in self.features):
            return None
        distances = {name: _distances(np.array([*rows, scan[name]])) for name, rows in self.features.items()}
        scaled = [d / max(float(np.quantile(d, 0.9)), _TINY) for d in distances.values()]
        combined = np.max(scaled, axis=0)
        return Unlikeness(
            _p_value(combined), {name: _p_value(d) for name, d in distances.items()}, self.subjects
        )

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
        The features, of the detectors that all scans have; ``None`` with fewer than ten subjects.
    """
    if len(scans) < LEAST_SUBJECTS:
        return None
    names = [name for name in scans[0] if all(name in scan for scan in scans)]
    return TypicalScans(
        {name: tuple(tuple(round(v, 5) for v in scan[name]) for scan in scans) for name in names}
    )


def _distances(rows: Floats) -> Floats:
    """Squared Mahalanobis distance of each row to the mean of all."""
    # here, so that reading an evaluation needs no scikit-learn
    from sklearn.covariance import ledoit_wolf  # noqa: PLC0415

    spread = rows.std(axis=0)
    centred = (rows - rows.mean(axis=0)) / np.where(spread > _TINY, spread, 1.0)
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    solved: Floats = np.linalg.solve(covariance + _TINY * np.eye(len(covariance)), centred.T)
    distances: Floats = (centred.T * solved).sum(axis=0)
    return distances


def _p_value(strangeness: Floats) -> float:
    return conformal_p_value(strangeness[:-1].tolist(), float(strangeness[-1]))
