"""Scans whose probabilities are at hand: measured without a network, each once, and added up later."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from segtrust.adapters import CaseFiles, ProbabilityCase
from segtrust.calibrators import CalibrationVoxels, Calibrator, Identity, calibrate_scan, draw_prediction
from segtrust.decisions import label_type
from segtrust.evaluate.cases import REGIONS, CaseRecord, evaluate_case
from segtrust.evaluate.methods import ScanView, map_errors, score_methods
from segtrust.evaluate.protocol import Protocol
from segtrust.metrics.detection import ErrorHistogram
from segtrust.regions import BAND_MM, distance_to, in_band

__all__ = ["RAW", "draw_case", "folder_protocol", "measure_case", "view_of"]

RAW = "raw"
"""System of the probabilities as they were given."""


def folder_protocol(cases: Sequence[CaseFiles], structures: Sequence[str]) -> Protocol:
    """The protocol of a folder: the labels, whose they are, and how everything is measured.

    Args:
        cases: scans with labels.
        structures: names of the structures.

    Returns:
        A protocol; its hash is the same for every model that is judged on the same labels.
    """
    return Protocol.of({
        "name": "segtrust folder protocol 1",
        "data": {
            "labels": {case.id: _sha256(case.label) for case in cases if case.label is not None},
            "subjects": {case.id: case.subject for case in cases},
        },
        "structures": list(structures),
        "regions": {"band_mm": BAND_MM, "chosen_by": "the prediction", "measured": list(REGIONS)},
        "calibration": {"ece_bins": 15, "ece": "top label, equal width, right-closed, voxels pooled"},
        "bootstrap": {"unit": "subject", "level": 0.95, "kind": "percentile", "draws": 1000, "seed": 0},
    })  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def measure_case(
    case: ProbabilityCase, systems: Mapping[str, Calibrator | None], *, main: str
) -> tuple[CaseRecord, ScanView]:
    """Measure one scan under several calibrators.

    Args:
        case: the scan.
        systems: name -> calibrator; ``None`` for the probabilities as they are.
        main: the system whose maps and scores are judged.

    Returns:
        The record with all registered methods, and what they saw: calibrated probabilities and the mask.

    Raises:
        ShapeError: if ``main`` is no system.
    """
    record = evaluate_case(
        case.id,
        case.subject,
        {name: (case.probs, calibrator) for name, calibrator in systems.items()},
        case.labels,
        case.spacing,
        case.valid,
        main=main,
    )
    view = view_of(case, systems[main])
    near = in_band(distance_to(view.mask > 0, case.spacing)) & case.valid
    wrong = torch.from_numpy(view.mask != case.labels.numpy())
    maps = map_errors(torch.from_numpy(view.probs), wrong, torch.from_numpy(near))
    for name, values in case.maps.items():
        maps[name] = ErrorHistogram.of(torch.from_numpy(values[near]), wrong[torch.from_numpy(near)])
    return replace(record, scores=view.scores, maps=maps, methods=score_methods(view)), view


def view_of(case: ProbabilityCase, calibrator: Calibrator | None) -> ScanView:
    """A scan as methods see it: the mask is that of the probabilities as they were given.

    Args:
        case: the scan.
        calibrator: fitted without this subject, or ``None``.

    Returns:
        Calibrated probabilities and mask.
    """
    mask = case.probs.argmax(dim=0).numpy().astype(label_type(case.probs.shape[0]))
    probs = calibrate_scan(calibrator or Identity(), case.probs, mask, case.spacing)
    return ScanView(probs.numpy(), mask, case.spacing, case.valid)


def draw_case(case: ProbabilityCase, *, seed: int) -> CalibrationVoxels:
    """Draw the voxels of a scan that a calibrator is fitted to.

    Args:
        case: the scan.
        seed: of the draw.

    Returns:
        See :func:`segtrust.calibrators.draw_prediction`.
    """
    return draw_prediction(
        case.probs, case.labels, case.spacing, subject=case.subject, seed=seed, valid=case.valid
    )
