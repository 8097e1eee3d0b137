"""One labelled scan: totals per region for a single member, the ensemble, and the calibrated ensemble."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._checks import check_labels
from segtrust.calibrators import CalibrationVoxels, Calibrator, Identity, calibrate_scan, draw_prediction
from segtrust.decisions import LabelRule
from segtrust.errors import ShapeError
from segtrust.evaluate.surfaces import SURFACE_FIGURES, surface_figures
from segtrust.metrics.detection import ErrorHistogram
from segtrust.metrics.overlap import dice_of_sets, dice_per_structure
from segtrust.metrics.voxels import VoxelTotals, voxel_totals
from segtrust.quality import StructureTruth
from segtrust.quality.typical import Features
from segtrust.regions import make_regions, missed_voxels
from segtrust.scores import ScanScores
from segtrust.uncertainty import entropy, summarise_channels

if TYPE_CHECKING:  # probabilities from elsewhere are measured without MONAI
    from segtrust.inference.predictor import Predictor
    from segtrust.inference.scan import Scan

__all__ = ["REGIONS", "CaseRecord", "draw_scan", "evaluate_case"]

REGIONS = ("band", "outside", "volume")


@dataclass(frozen=True)
class CaseRecord:
    """What is kept of one scan, so that sets can be pooled again without running a network.

    ``totals[system][region]`` are voxel totals; ``dice[system]`` has one value per structure;
    ``errors[system]`` counts wrong and right voxels of the band by entropy; ``changed[system]`` counts voxels
    whose most likely class calibration changed. ``maps[name]`` counts like ``errors``, for every registered
    map of the main system, and ``methods[name]`` is a registered score of the scan
    (:mod:`segtrust.evaluate.methods`); both are empty where nobody asked for them. ``features`` and ``truth``
    (structure -> how the main system's prediction came out) are what a quality part is judged by; empty where
    it is not. ``surfaces[system]`` are the figures of :data:`segtrust.evaluate.surfaces.SURFACE_FIGURES`, one
    value per structure; empty where the spacing is unknown, and the band is 5 in-plane voxels wide then.
    """

    id: str
    subject: str
    dice: Mapping[str, NDArray[np.float64]]
    totals: Mapping[str, Mapping[str, VoxelTotals]]
    errors: Mapping[str, ErrorHistogram]
    missed: tuple[int, int]
    changed: Mapping[str, int]
    scores: ScanScores | None = None
    maps: Mapping[str, ErrorHistogram] = field(default_factory=dict)
    methods: Mapping[str, float | None] = field(default_factory=dict)
    features: Features = field(default_factory=dict)
    truth: Mapping[int, StructureTruth] = field(default_factory=dict)
    surfaces: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)


def evaluate_case(  # noqa: PLR0913  # what is measured, where, and how calibrators see it
    scan_id: str,
    subject: str,
    systems: Mapping[str, tuple[Tensor, Calibrator | None]],
    reference: Tensor,
    spacing: tuple[float, float, float] | None,
    valid: NDArray[np.bool_],
    *,
    main: str,
    scores: ScanScores | None = None,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
    assumed: tuple[float, float, float] | None = None,
) -> CaseRecord:
    """Measure several systems on one scan, all in the same regions.

    Args:
        scan_id: the scan.
        subject: whose scan it is.
        systems: name -> (uncalibrated mean ``(C, X, Y, Z)``, calibrator or ``None``). The calibrator sees the
            distance to its own system's prediction, and does nothing where it needs an unknown voxel size.
        reference: labels, ``(X, Y, Z)`` integers; of structures that overlap also ``(N, X, Y, Z)`` booleans.
        spacing: millimetres per voxel.
        valid: voxels that are no padding and that somebody labelled; what is predicted elsewhere plays no
            part in Dice and surfaces, nor does a label there that is no class.
        main: the system whose missed voxels are kept.
        scores: scores of the main system, kept beside the totals.
        rule: of the models' head. For a sigmoid head every structure is measured on all voxels that it holds,
            and a voxel is wrong where the set of its structures is.
        assumed: voxel size by which calibrators see the scan; ``spacing`` unless given.

    Raises:
        ShapeError: if ``main`` is no system.

    Returns:
        The record. The band is the union of all systems' bands, so that they are compared on the same voxels.
    """
    if main not in systems:
        raise ShapeError(f"`main` must be one of {', '.join(systems)}, got {main!r}.")
    n_structures = rule.n_structures(next(iter(systems.values()))[0].shape[0])
    truth = _Answer.of_reference(reference, rule, n_structures, valid)
    own = {id(probs): _Answer.of_probs(probs, rule) for probs, _ in systems.values()}
    answers = {name: own[id(probs)] for name, (probs, _) in systems.items()}
    union = np.logical_or.reduce([answer.foreground for answer in answers.values()]).astype(np.uint8)
    whole = make_regions(union, spacing, valid=valid)
    regions = {"band": whole.band, "outside": whole.masks["outside"]}
    inside = torch.from_numpy(regions["band"])
    totals: dict[str, dict[str, VoxelTotals]] = {}
    errors: dict[str, ErrorHistogram] = {}
    changed: dict[str, int] = {}
    for name, (probs, calibrator) in systems.items():
        mask = answers[name].values if rule.head == "softmax" else rule.labels(probs).numpy()
        calibrated = calibrate_scan(calibrator or Identity(), probs, mask, assumed or spacing, rule=rule)
        near, far = (
            voxel_totals(calibrated, truth.tensor(), torch.from_numpy(where), head=rule.head, rule=rule)
            for where in regions.values()
        )
        totals[name] = {"band": near, "outside": far, "volume": near + far}
        changed[name] = int(answers[name].differs(_Answer.of_probs(calibrated, rule)).sum())
        unsure = entropy(calibrated[None, :, inside], head=rule.head, normalize=True)
        errors[name] = ErrorHistogram.of(
            summarise_channels(unsure, head=rule.head)[0].clamp(0, 1),
            torch.from_numpy(answers[name].differs(truth))[inside],
        )
    outside = make_regions(answers[main].foreground.astype(np.uint8), spacing, valid=valid).masks["outside"]
    there = truth.foreground.astype(np.uint8)
    count, _ = missed_voxels(there, outside)
    # what lies in voxels that nobody labelled is neither right nor wrong
    rated = {key: answer.only(valid) for key, answer in own.items()}
    own_dice = {key: answer.dice(truth, n_structures) for key, answer in rated.items()}
    own_surfaces = (
        {key: answer.surfaces(truth, n_structures, spacing) for key, answer in rated.items()}
        if spacing
        else {}
    )
    return CaseRecord(
        id=scan_id,
        subject=subject,
        dice={name: own_dice[id(probs)] for name, (probs, _) in systems.items()},
        totals=totals,
        errors=errors,
        missed=(count, int(np.count_nonzero(there))),
        changed=changed,
        scores=scores,
        surfaces={
            name: own_surfaces[id(probs)] for name, (probs, _) in systems.items() if id(probs) in own_surfaces
        },
    )


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a model or a reference says of every voxel: labels ``(X, Y, Z)``, or sets ``(N, X, Y, Z)``."""

    values: NDArray[Any]

    @classmethod
    def of_probs(cls, probs: Tensor, rule: LabelRule) -> Self:
        return cls((rule.labels(probs) if rule.head == "softmax" else rule.sets(probs)).numpy())

    @classmethod
    def of_reference(
        cls, reference: Tensor, rule: LabelRule, n_structures: int, valid: NDArray[np.bool_]
    ) -> Self:
        labels = reference.numpy()
        if reference.dtype != torch.bool and not valid.all():
            labels = np.where(valid | ((labels >= 0) & (labels <= n_structures)), labels, 0)
        if rule.head == "softmax":
            return cls(labels)
        if reference.dtype != torch.bool:
            check_labels(torch.from_numpy(labels), n_structures + 1)
        return cls(rule.sets_of(torch.from_numpy(labels), n_structures).numpy())

    @property
    def overlaps(self) -> bool:
        return self.values.dtype == np.bool_

    @property
    def foreground(self) -> NDArray[np.bool_]:
        held: NDArray[np.bool_] = self.values.any(axis=0) if self.overlaps else self.values > 0
        return held

    def tensor(self) -> Tensor:
        values = torch.from_numpy(self.values)
        return values.long() if self.overlaps else values

    def differs(self, other: "_Answer") -> NDArray[np.bool_]:
        different: NDArray[np.bool_] = self.values != other.values
        return different.any(axis=0) if self.overlaps else different

    def only(self, valid: NDArray[np.bool_]) -> Self:
        return (
            self
            if valid.all()
            else replace(self, values=np.where(valid, self.values, 0).astype(self.values.dtype))
        )

    def dice(self, truth: "_Answer", n_structures: int) -> NDArray[np.float64]:
        if self.overlaps:
            return dice_of_sets(self.values, truth.values)
        return dice_per_structure(self.values, truth.values, n_structures)

    def surfaces(
        self, truth: "_Answer", n_structures: int, spacing: Sequence[float]
    ) -> dict[str, NDArray[np.float64]]:
        if not self.overlaps:
            return surface_figures(self.values, truth.values, n_structures, spacing)
        each = [
            surface_figures(mine.astype(np.uint8), theirs.astype(np.uint8), 1, spacing)
            for mine, theirs in zip(self.values, truth.values, strict=True)
        ]
        return {name: np.concatenate([figures[name] for figures in each]) for name in SURFACE_FIGURES}


def draw_scan(
    predictor: "Predictor", scan: "Scan", labels: Tensor, *, subject: str, seed: int
) -> CalibrationVoxels:
    """Predict a scan and draw the voxels that a calibrator is fitted to.

    Args:
        predictor: of the model; its calibrator plays no part.
        scan: a labelled scan.
        labels: its labels, ``(X, Y, Z)`` integers; of structures that overlap also ``(N, X, Y, Z)`` booleans.
        subject: whose scan it is.
        seed: of the draw.

    Returns:
        Uncalibrated voxels, see :func:`segtrust.calibrators.draw_prediction`.
    """
    prepared, statistics, _ = predictor.sample(scan)
    spacing, rule = predictor.spacing_of(scan), predictor.spec.head.rule
    return draw_prediction(
        statistics.mean, labels, spacing, subject=subject, seed=seed, valid=prepared.valid, rule=rule
    )
