"""Which calibrator: each is fitted without one subject and judged on it, in turn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segtrust._binning import bin_index
from segtrust.calibrators.distance_fit import fit_distance_temperature
from segtrust.calibrators.identity import Calibrator, Identity
from segtrust.calibrators.isotonic import fit_top_label_isotonic
from segtrust.calibrators.outcome import chance_and_errors, check_head, voxel_nll
from segtrust.calibrators.temperature import fit_pooled_temperature
from segtrust.calibrators.topclass import fit_top_class_temperature
from segtrust.calibrators.voxels import (
    MIN_SUBJECTS,
    CalibrationVoxels,
    calibrated_probs,
    count_subjects,
    leave_one_subject_out,
    thinned,
)
from segtrust.decisions import LabelRule
from segtrust.errors import ShapeError
from segtrust.regions import in_band

__all__ = [
    "CANDIDATES",
    "LEAST_GAIN",
    "OF_SETS",
    "Choice",
    "Fit",
    "choose_calibrator",
    "choose_served",
    "fit_to_part",
    "name_of_best",
]

LEAST_GAIN = 0.005
"""Share of the band's or the volume's NLL that a calibrator must gain to replace the identity."""

_ROUNDING = 1e-9
_BINS = 15
_REGIONS = ("band", "outside", "volume")


class Fit(Protocol):
    """Fits one kind of calibrator; returns the identity with fewer than ``least`` subjects."""

    def __call__(self, scans: Sequence[CalibrationVoxels], *, least: int = MIN_SUBJECTS) -> Calibrator: ...


CANDIDATES: Mapping[str, Fit] = {
    "pooled_temperature": fit_pooled_temperature,
    "distance_temperature": fit_distance_temperature,
    "top_class_temperature": fit_top_class_temperature,
    "top_label_isotonic": fit_top_label_isotonic,
}
"""Every kind that can be fitted to a softmax model, by name."""
OF_SETS = ("pooled_temperature", "distance_temperature")
"""Those of them that can be fitted to a sigmoid model: they move probabilities away from their thresholds."""


@dataclass(frozen=True)
class Choice:
    """What was chosen and why.

    ``calibrator`` is fitted on all subjects. ``figures[candidate][nll | ece][band | outside | volume]`` are
    cross-fitted: nats per voxel (of a sigmoid head summed over the structures) and 15 right-closed bins of
    the chance that what is shown is right, every subject counting alike; ``None`` where no voxel lies in the
    region. Empty with fewer than five subjects.
    """

    name: str
    calibrator: Calibrator
    subjects: int
    figures: Mapping[str, Mapping[str, Mapping[str, float | None]]]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "name": self.name,
            "calibrator": self.calibrator.to_json(),
            "subjects": self.subjects,
            "least_gain": LEAST_GAIN,
            "figures": {
                name: {figure: dict(regions) for figure, regions in figures.items()}
                for name, figures in self.figures.items()
            },
        }


def choose_calibrator(
    scans: Sequence[CalibrationVoxels],
    candidates: Mapping[str, Fit] = CANDIDATES,
    *,
    folds: Mapping[str, int] | None = None,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
) -> Choice:
    """Choose by cross-fitted NLL, of the band and of the volume, leaving out one subject, or fold, at a time.

    Args:
        scans: voxels of calibration scans.
        candidates: name -> fit; ``identity`` always takes part. Of a sigmoid model those in :data:`OF_SETS`.
        folds: subject -> fold; each subject is its own unless given.
        rule: of the model's head.

    Returns:
        The candidate that :func:`name_of_best` names, fitted to all; identity with fewer than five subjects.

    Raises:
        ShapeError: for voxels of another head, or a kind that a sigmoid head cannot have.

    Source:
        Leave-one-group-out cross-validation (Stone 1974).
    """
    check_head(scans, rule)
    if rule.head == "sigmoid" and (others := sorted(candidates.keys() & CANDIDATES.keys() - set(OF_SETS))):
        raise ShapeError(
            f"calibrators of a sigmoid head must be of {', '.join(OF_SETS)}, got {', '.join(others)}."
        )
    if (subjects := count_subjects(scans)) < MIN_SUBJECTS:
        return Choice("identity", Identity(), subjects, {})
    totals = {name: _Tally(rule) for name in ("identity", *candidates)}
    for inside, held_out in leave_one_subject_out(scans, folds):
        fitted = {name: fit(inside, least=MIN_SUBJECTS - 1) for name, fit in candidates.items()}
        share: dict[str, float] = {}
        for scan in held_out:
            share[scan.subject] = share.get(scan.subject, 0.0) + float(scan.weight.sum())
        for name, calibrator in {"identity": Identity(), **fitted}.items():
            for scan in held_out:
                totals[name].add(calibrator, scan, share[scan.subject])
    figures = {name: total.figures() for name, total in totals.items()}
    name = name_of_best({name: figures[name]["nll"] for name in figures})
    calibrator = Identity() if name == "identity" else candidates[name](scans)
    if isinstance(calibrator, Identity):  # a fit to all may be refused where fits to parts were not
        name = Identity.name
    return Choice(name, calibrator, subjects, figures)


def choose_served(
    scans: Sequence[CalibrationVoxels],
    kind: str = "distance_temperature",
    *,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
) -> Choice:
    """Whether a version is served behind one kind of calibrator: every path that publishes asks here.

    Args:
        scans: voxels of calibration scans.
        kind: name in :data:`CANDIDATES`.
        rule: of the model's head.

    Returns:
        The calibrator fitted to all voxels if the kind passes :func:`choose_calibrator`, else the identity.
        Cross-fitted with a part of the voxels (:func:`~segtrust.calibrators.voxels.thinned`).

    Raises:
        ShapeError: as :func:`choose_calibrator`.
    """
    choice = choose_calibrator(scans, {kind: fit_to_part(kind)}, rule=rule)
    if choice.name != kind:
        return choice
    calibrator = CANDIDATES[kind](scans)
    name = Identity.name if isinstance(calibrator, Identity) else kind
    return replace(choice, name=name, calibrator=calibrator)


def fit_to_part(kind: str) -> Fit:
    """A fit for where many are needed: to a part of the voxels.

    Args:
        kind: name in :data:`CANDIDATES`, or ``identity``.

    Returns:
        The fit.
    """

    def fit(scans: Sequence[CalibrationVoxels], *, least: int = MIN_SUBJECTS) -> Calibrator:
        return Identity() if kind == Identity.name else CANDIDATES[kind](thinned(scans), least=least)

    return fit


def name_of_best(nll: Mapping[str, Mapping[str, float | None]]) -> str:
    """Which candidate replaces the identity, by cross-fitted NLL in the band and in the volume.

    Args:
        nll: candidate, ``identity`` among them -> region -> nats per voxel; ``None`` where there is no voxel.

    Returns:
        Of the candidates that raise neither figure and lower one of them by at least 0.5 %, the one with the
        lowest mean of the two, each relative to the identity's; ``identity`` if there is none.

    Example:
        >>> before, after = {"band": 0.2465, "volume": 0.0141}, {"band": 0.2473, "volume": 0.0138}
        >>> name_of_best({"identity": before, "pooled_temperature": after})
        'identity'
    """
    base = {region: value for region in ("band", "volume") if (value := nll["identity"][region])}
    ratios = {
        name: [
            math.inf if (nats := regions[region]) is None else nats / value for region, value in base.items()
        ]
        for name, regions in nll.items()
        if name != "identity"
    }
    able = {
        name: sum(each)
        for name, each in ratios.items()
        if each and max(each) <= 1 + _ROUNDING and min(each) <= 1 - LEAST_GAIN
    }
    return min(able, key=lambda name: able[name]) if able else "identity"


class _Tally:
    """Weighted sums over voxels per region."""

    def __init__(self, rule: LabelRule) -> None:
        self._rule = rule
        self._weight = dict.fromkeys(_REGIONS, 0.0)
        self._nll = dict.fromkeys(_REGIONS, 0.0)
        self._gap: dict[str, NDArray[np.float64]] = {region: np.zeros(_BINS) for region in _REGIONS}

    def add(self, calibrator: Calibrator, scan: CalibrationVoxels, total: float) -> None:
        q = calibrated_probs(calibrator, scan)
        nll = voxel_nll(q, scan.labels)
        chance, wrong = chance_and_errors(q, scan, self._rule)
        gap = (chance - wrong.double()).numpy()
        cell = bin_index((1 - chance).clamp(0, 1), _BINS).numpy()
        weight, near = scan.weight / total, in_band(scan.distance)
        for region, mask in zip(_REGIONS, (near, ~near, np.ones_like(near)), strict=True):
            w = weight[mask]
            self._weight[region] += float(w.sum())
            self._nll[region] += float(w @ nll[mask])
            self._gap[region] += np.bincount(cell[mask], w * gap[mask], _BINS)

    def figures(self) -> dict[str, dict[str, float | None]]:
        def per_voxel(value: float, region: str) -> float | None:
            return value / self._weight[region] if self._weight[region] > 0 else None

        return {
            "nll": {region: per_voxel(self._nll[region], region) for region in _REGIONS},
            "ece": {region: per_voxel(float(np.abs(self._gap[region]).sum()), region) for region in _REGIONS},
        }
