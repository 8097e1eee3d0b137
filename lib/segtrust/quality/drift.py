"""Do scans still come like those of the calibration? Sequential tests that bound all false alarms together.

:func:`p_values` ranks each scan of a stream among the calibration scans and the stream before it;
:func:`judge_stream` bets against those ranks being even. A bet that is won over and over is the alarm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError, SettingError
from segtrust.quality.typical import DETECTORS, Features, TypicalScans

__all__ = ["FALSE_ALARMS", "WATCHED", "SeenScan", "StreamDrift", "evidence", "judge_stream", "p_values"]

FALSE_ALARMS = 0.05
"""Chance that a site whose scans stay like the calibration scans ever has an alarm, in any stream."""
NUMBERS = ("entropy", "confidence", "predicted_dice")
WATCHED = (*DETECTORS, *NUMBERS)
"""What is watched: the detectors of likeness, and three numbers of a prediction in both directions."""

_WORDS = {
    "brightness": "brightness",
    "sharpness": "sharpness (noise, blur or thick slices)",
    "ensemble": "how sure the members are and how far they agree",
    "entropy": "calibrated entropy",
    "confidence": "the soft Dice of a mask with its own probabilities",
    "predicted_dice": "predicted Dice",
}
_OF_ENSEMBLE = {"entropy": 0, "confidence": -1}  # where they stand among the numbers of that detector
_STAKES = np.array([0.05, 0.15, 0.3, 0.5, 0.75])  # the lower, the more is won by p-values near 0
_TIE = 1e-9
_GOLDEN = (math.sqrt(5) - 1) / 2

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeenScan:
    """What is kept of a scan: its features, ``entropy``, ``confidence`` and ``predicted_dice``, and its lot.

    ``lot`` is drawn evenly from (0, 1) for this scan alone; it decides between equal numbers. What is not
    defined for the scan is left out.

    Raises:
        SettingError: if the lot lies outside (0, 1).
    """

    features: Features
    numbers: Mapping[str, float]
    lot: float

    def __post_init__(self) -> None:
        if not 0 < self.lot < 1:
            raise SettingError(f"`lot` must lie between 0 and 1, got {self.lot}. Draw it evenly.")

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        features = {name: list(row) for name, row in self.features.items()}
        return {"features": features, "numbers": dict(self.numbers), "lot": self.lot}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: as written.

        Returns:
            The scan.

        Raises:
            ModelError: if it has another form.
        """
        try:
            features = {str(name): tuple(map(float, row)) for name, row in document["features"].items()}
            numbers = {str(name): float(value) for name, value in document["numbers"].items()}
            return cls(features, numbers, float(document["lot"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"a scan that was watched must have features, numbers and a lot, got {error!r}."
            ) from error


@dataclass(frozen=True)
class StreamDrift:
    """What a stream of scans says: how many were seen, and whether and at which of them there was an alarm.

    ``evidence`` is that of now: a fair bet against "like the calibration scans" has multiplied its stake by
    this. ``limit`` is where there is an alarm, which stays. ``alarm``: number of the scan, from 1, at which
    the limit was reached; ``unusual``: what the evidence rested on then, the most of it first.
    """

    scans: int
    evidence: float
    limit: float
    alarm: int | None
    unusual: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For a reader."""
        if self.alarm is None:
            return f"Nothing about {self.scans} patients says that scans differ from the calibration scans."
        words = " and ".join(_WORDS[name] for name in self.unusual)
        return (
            f"Scans do not come like those of the calibration any more: noticed at patient {self.alarm} of "
            f"{self.scans}, by {words}. Calibrate anew with labels of such scans."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and words; evidence to three digits."""
        return {
            "scans": self.scans,
            "evidence": float(f"{self.evidence:.3g}"),
            "limit": float(f"{self.limit:.6g}"),
            "alarm": self.alarm,
            "unusual": list(self.unusual),
            "sentence": self.sentence,
        }


def p_values(reference: TypicalScans, earlier: Sequence[SeenScan], scan: SeenScan) -> dict[str, float]:
    r"""Where a scan ranks among the calibration scans and all scans of its stream before it.

    .. math:: p = \frac{\#\{s_i > s\} + U (1 + \#\{s_i = s\})}{n + 1}

    As long as calibration scans and stream are of one kind (exchangeable), these are even on (0, 1) and
    independent from scan to scan, whatever the features and however few calibration scans there are.

    Args:
        reference: the calibration scans.
        earlier: the stream so far, one scan of each patient.
        scan: the next one, of another patient.

    Returns:
        Of :data:`WATCHED` what is defined for the scan -> p-value in (0, 1): low for strange scans, and for
        large numbers. Predicted Dice is compared with the stream alone.

    Source:
        smoothed conformal p-values: Vovk, Gammerman & Shafer 2005, chapter 2.
    """
    values: dict[str, float] = {}
    for number, name in enumerate(WATCHED, start=1):
        strangeness = _strangeness(name, reference, earlier, scan)
        if strangeness is None:
            continue
        lot = min(max(math.fmod(scan.lot + number * _GOLDEN, 1.0), _TIE), 1 - _TIE)
        values[name] = _rank(strangeness, lot)
    return values


def evidence(p_values: Floats) -> Floats:
    r"""What bets against even p-values have made of a stake of 1, after each p-value.

    A bet with exponent :math:`\epsilon` multiplies what is at stake by :math:`\epsilon p^{\epsilon - 1}`, 1
    on average if p is even. A share of :math:`1 / (k (k + 1))` begins to bet at the k-th p-value, so that a
    change is noticed whenever it comes:

    .. math:: R_t = b_t (R_{t-1} + \tfrac{1}{t (t + 1)}), \qquad M_t = R_t + \tfrac{1}{t + 1}

    Args:
        p_values: ``(..., T)`` in (0, 1], independent along the last axis; NaN where there is none, at which
            nothing is won or lost.

    Returns:
        ``M`` after each of them, ``(..., T)``. With even p-values the chance that it ever reaches 1 / a is at
        most a (Ville 1939), however many come.

    Source:
        conformal test martingales: Vovk, Nouretdinov & Gammerman 2003, with a mixture over change points.

    Example:
        >>> evidence(np.array([0.5, 0.5])).round(3).tolist(), bool(evidence(np.full(5, 0.01))[-1] > 1000)
        ([0.745, 0.577], True)
    """
    values = np.asarray(p_values, np.float64)
    total = np.empty(values.shape)
    grown = np.zeros((*values.shape[:-1], len(_STAKES)))
    for step in range(values.shape[-1]):
        p = values[..., step, None]
        won = np.where(np.isnan(p), 1.0, _STAKES * p ** (_STAKES - 1))
        grown = np.minimum(won * (grown + 1 / ((step + 1) * (step + 2))), _MOST)
        total[..., step] = grown.mean(axis=-1) + 1 / (step + 2)
    return total


_MOST = 1e200
"""Evidence is not counted beyond; less than what is true, so that no bound suffers."""


def judge_stream(
    scans: Sequence[Mapping[str, float]], *, number: int = 1, false_alarms: float = FALSE_ALARMS
) -> StreamDrift:
    """Judge a stream by the p-values of its scans.

    Args:
        scans: of each scan, what :func:`p_values` gave when it came.
        number: of the stream among those of the site, from 1, in the order in which they began. The j-th
            gets a share of 1 / (j (j + 1)) of all false alarms.
        false_alarms: chance in (0, 1) of an alarm in any stream, ever, while nothing changes.

    Returns:
        The verdict.

    Raises:
        SettingError: for a number below 1, or a chance outside (0, 1).
    """
    if number < 1 or not 0 < false_alarms < 1:
        raise SettingError(
            "`number` must be at least 1 and `false_alarms` between 0 and 1, got "
            f"{number} and {false_alarms}."
        )
    limit = number * (number + 1) / false_alarms
    values = np.array([[scan.get(name, math.nan) for scan in scans] for name in WATCHED], np.float64)
    each = evidence(values)
    each[len(DETECTORS) :] = (each[len(DETECTORS) :] + evidence(1 - values[len(DETECTORS) :])) / 2
    mean = each.mean(axis=0)
    reached = np.flatnonzero(mean >= limit)
    alarm = int(reached[0]) if len(reached) else None
    unusual: tuple[str, ...] = ()
    if alarm is not None:
        at = each[:, alarm]
        order = np.argsort(-at, kind="stable")
        unusual = tuple(WATCHED[i] for i in order if at[i] >= at.max() / 10)
    last = float(mean[-1]) if len(scans) else 1.0
    return StreamDrift(len(scans), last, limit, None if alarm is None else alarm + 1, unusual)


def _strangeness(
    name: str, reference: TypicalScans, earlier: Sequence[SeenScan], scan: SeenScan
) -> Floats | None:
    """Of all others and, last, of the scan; ``None`` if not defined for it."""
    if name in DETECTORS:
        rows = [seen.features[name] for seen in earlier if name in seen.features]
        return reference.strangeness(name, [*rows, scan.features.get(name, ())])
    if name not in scan.numbers:
        return None
    place = _OF_ENSEMBLE.get(name)
    known = [] if place is None else [row[place] for row in reference.features.get("ensemble", ())]
    stream = [seen.numbers[name] for seen in earlier if name in seen.numbers]
    return np.array([*known, *stream, scan.numbers[name]], np.float64)


def _rank(strangeness: Floats, lot: float) -> float:
    """Share of all that is stranger than the last, the lot deciding among equals."""
    new, others = float(strangeness[-1]), strangeness[:-1]
    tie = _TIE * max(1.0, abs(new))
    above, equal = int((others > new + tie).sum()), int((np.abs(others - new) <= tie).sum())
    return (above + lot * (1 + equal)) / (len(others) + 1)
