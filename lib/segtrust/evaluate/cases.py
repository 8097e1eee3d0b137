"""One labelled scan: totals per region for a single member, the ensemble, and the calibrated ensemble."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust.calibrators import CalibrationVoxels, Calibrator, Identity, calibrate_scan, draw_prediction
from segtrust.decisions import LabelRule
from segtrust.errors import ShapeError
from segtrust.evaluate.answer import Answer
from segtrust.metrics.detection import ErrorHistogram
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
    truth = Answer.of_reference(reference, rule, n_structures, valid)
    own = {id(probs): Answer.of_probs(probs, rule) for probs, _ in systems.values()}
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
        changed[name] = int(answers[name].differs(Answer.of_probs(calibrated, rule)).sum())
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
