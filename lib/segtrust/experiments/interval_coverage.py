"""How often intervals hold, as an answer shows them, over many made-up calibration sets."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from segtrust.inference.prediction import StructureSummary
from segtrust.quality import (
    COVERAGE,
    FineRule,
    Quality,
    QualityCase,
    StructureTruth,
    fit_quality,
)
from segtrust.quality.line_scores import line_scores
from segtrust.scores import ScanScores, StructureScores

__all__ = ["LAWS", "TARGETS", "World", "coverage_of", "simulate"]

LAWS = ("beta", "lognormal", "mixture")
TARGETS = ("dice", "volume", "border")
_PRECISION = {0.5: 8.0, 0.83: 15.0, 0.97: 60.0, 0.993: 400.0}
_NEAR = 0.7
_RNG = np.random.Generator


@dataclass(frozen=True)
class World:
    """How scans come out: the Dice of a scan, a score that follows it, volume and border.

    ``law``: of the Dice. ``beta``; ``lognormal``, 1 less a log-normal error; ``mixture``, a beta with 10 % of
    scans at 0 and 15 % at 1. ``mean``: of the Dice, .5, .83, .97 or .993, of a mixture that of its beta.
    ``scans``: of each patient; the Dice of two scans of one patient have a rank correlation of about .7.
    ``targets``: that have a true value; fewer are quicker.
    """

    law: str
    mean: float
    scans: int = 1
    targets: tuple[str, ...] = TARGETS

    def patient(self, rng: _RNG) -> list[StructureTruth]:
        """How the scans of one more patient come out."""
        shared, own = rng.normal(), rng.normal(size=self.scans)
        ranks = special.ndtr(math.sqrt(_NEAR) * shared + math.sqrt(1 - _NEAR) * own)
        return [self._scan(float(rank), rng) for rank in ranks]

    def _scan(self, rank: float, rng: _RNG) -> StructureTruth:
        dice = self._dice(rank)
        if dice == 0 and rng.random() < 0.5:  # nothing is there
            return StructureTruth(0.0, 0.0 if "volume" in self.targets else None, None)
        ratio, border = math.exp(2 * (1 - dice) * rng.normal()), 3 * (1 - dice) * math.exp(0.3 * rng.normal())
        return StructureTruth(
            dice, ratio if "volume" in self.targets else None, border if "border" in self.targets else None
        )

    def _dice(self, rank: float) -> float:
        if self.law == "lognormal":
            error = (1 - self.mean) * math.exp(0.7 * float(special.ndtri(1 - rank)) - 0.245)
            return max(1 - error, 0.0)
        if self.law == "mixture":
            if not 0.1 <= rank < 0.85:
                return float(rank > 0.5)
            rank = (rank - 0.1) / 0.75
        precision = _PRECISION[self.mean]
        return float(special.betaincinv(precision * self.mean, precision * (1 - self.mean), rank))


def _case_of(subject: str, truth: StructureTruth, rng: _RNG) -> QualityCase:
    """A scan with scores: one follows the Dice, on the scale of log odds, the other says nothing."""
    logit = special.logit(np.clip(truth.dice, 1e-3, 1 - 1e-3)) + 0.6 * rng.normal()
    details = StructureScores(0.2, None, None, float(special.expit(logit)), None)
    scores = ScanScores(0.2, None, None, None, None, None, 0.1, {1: 0.2}, {1: details})
    return QualityCase(subject, True, scores, {}, {1: truth}, None)


def simulate(world: World, subjects: int, sets: int, fresh: int, seed: int) -> dict[str, Any]:
    """Draw calibration sets, fit the quality part on each, and judge scans of fresh patients.

    Args:
        world: how scans come out.
        subjects: calibration patients.
        sets: calibration sets.
        fresh: patients judged for each, one scan each.
        seed: of all draws.

    Returns:
        ``usual``, ``confident`` and ``closed`` (the usual ones with ends at the clip not opened, as they were
        before) -> target -> share of scans whose interval holds the truth, one for each set; a scan without
        an interval, or without a true value, does not count, NaN for a set without any.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, dict[str, float]]] = []
    for _ in range(sets):
        cases = [_case_of(f"{i:03d}", truth, rng) for i in range(subjects) for truth in world.patient(rng)]
        quality = fit_quality(cases, [1])
        if quality is None:
            continue
        held: dict[str, dict[str, list[bool]]] = {}
        for _ in range(fresh):
            scans = world.patient(rng)
            case = _case_of("fresh", scans[int(rng.integers(len(scans)))], rng)
            for kind, target, holds in _held(quality, case):
                held.setdefault(kind, {}).setdefault(target, []).append(holds)
        rows.append({k: {t: float(np.mean(h)) for t, h in by.items()} for k, by in held.items()})
    kinds = ("closed", "usual", "confident")
    return {k: {t: [r.get(k, {}).get(t, math.nan) for r in rows] for t in TARGETS} for k in kinds}


def _held(quality: Quality, case: QualityCase) -> Iterator[tuple[str, str, bool]]:
    """Kind of interval, target, and whether it holds, for all intervals that an answer shows."""
    assessed = quality.assess(case.scores, case.features, FineRule()).structures[1]
    truth, volume = case.truth[1], 10.0
    shown = StructureSummary("structure", 1, 1000, volume, 0.2, empty=False).judged(assessed)
    ratio = truth.volume_ratio
    true = {
        "dice": truth.dice,
        "volume": None if ratio is None else ratio * volume,
        "border": truth.border_mm,
    }
    fields = dict(
        zip(TARGETS, ("predicted_dice_interval", "volume_interval_ml", "border_interval_mm"), strict=True)
    )
    for target, field in fields.items():
        value, usual = true[target], getattr(shown, field)
        if value is None:
            continue
        if usual is not None:
            yield "usual", target, usual[0] <= value <= usual[1]
            yield "closed", target, _closed(quality, case, target, value, volume)
        if (confident := (shown.confident_intervals or {}).get(field)) is not None:
            yield "confident", target, confident[0] <= value <= confident[1]


def _closed(quality: Quality, case: QualityCase, target: str, value: float, volume: float) -> bool:
    ends = quality.lines[1][target].interval(line_scores(case.scores.details[1]), COVERAGE)
    if ends is None:
        return False
    if target == "dice":
        low, high = special.expit(ends)
    else:
        low, high = np.exp(ends) * (volume if target == "volume" else 1.0)
    return bool(low <= value <= high)


def coverage_of(shares: Mapping[str, list[float]]) -> dict[str, Any]:
    """Figures of one kind of interval.

    Args:
        shares: target -> share of scans held, of each calibration set.

    Returns:
        Target -> ``mean`` over calibration sets, its standard ``error``, what the ``worst`` 5 % of sets do
        not exceed, and the share of sets that ``reach`` the nominal coverage; absent without any interval.
    """
    figures = {}
    for target, values in shares.items():
        share: NDArray[np.float64] = np.asarray(values, np.float64)
        share = share[np.isfinite(share)]
        if len(share):
            figures[target] = {
                "mean": float(share.mean()),
                "error": float(share.std(ddof=1) / math.sqrt(len(share))) if len(share) > 1 else None,
                "worst": float(np.quantile(share, 0.05)),
                "reach": float(np.mean(share >= COVERAGE)),
            }
    return figures
