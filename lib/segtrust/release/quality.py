"""The quality part of a version, measured and fitted on its calibration scans."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance
from numpy.typing import NDArray
from torch import Tensor

from segtrust.calibrators import (
    CANDIDATES,
    MIN_SUBJECTS,
    CalibrationVoxels,
    Calibrator,
    DistanceTemperature,
    Identity,
    fit_to_part,
)
from segtrust.calibrators.voxels import leave_one_subject_out
from segtrust.evaluate.answer import Answer
from segtrust.evaluate.cases import draw_scan
from segtrust.evaluate.probabilities import KeptSource
from segtrust.evaluate.quality_figures import quality_figures
from segtrust.evaluate.shifts import SHIFT_SUITE, corrupt, shift_seed
from segtrust.inference.prediction import Prediction
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan
from segtrust.models import ModelVersion, open_version, publish_version
from segtrust.quality import (
    QualityCase,
    RimTotals,
    StructureTruth,
    fit_quality,
    needed_margins,
    scan_features,
)
from segtrust.training.cases import read_labelled, read_splits, read_subjects

__all__ = ["add_quality", "measure_cases", "quality_case", "worsened_copies"]

Say = Callable[[str], None]

COPIES = 3
"""Worsened copies per calibration scan."""
_SEED = 20260101


def add_quality(
    model: Path, data: Path, *, cache: Path | None = None, say: Say = lambda _line: None
) -> ModelVersion:
    """Publish the served version again with a quality part fitted on ``val``; weights stay as they are.

    Args:
        model: the model folder.
        data: folder with images, labels and splits; only the scans of ``val`` are read.
        cache: folder that keeps what members answered, so that a run that was stopped goes on where it was.
        say: called with one plain line per scan.

    Returns:
        The new version; its card names the old one as parent.

    Raises:
        ModelError: if the version does not check.
        ScanError: if a scan cannot be read.
    """
    version = open_version(model)
    source = None if cache is None else KeptSource(version.spec, version.members, cache)
    predictor = Predictor(version, source=source)
    subjects = read_subjects(data)
    ids = read_splits(data)["val"]
    drawn = [
        draw_scan(
            predictor,
            *read_labelled(data, scan_id, version.spec),
            subject=subjects.get(scan_id, scan_id),
            seed=index,
        )
        for index, scan_id in enumerate(ids)
    ]
    scans = ((scan_id, *read_labelled(data, scan_id, version.spec)) for scan_id in ids)
    cases = list(measure_cases(predictor, scans, drawn, say))
    quality = fit_quality(cases, [label.value for label in version.spec.labels])
    calibration = {name: part for name, part in version.calibration.items() if name != "quality"}
    card = {name: part for name, part in version.card.items() if name not in ("files", "quality")}
    card["parent"] = version.id
    if quality is not None:
        calibration["quality"] = quality.to_json()
        card["quality"] = quality_figures(quality, cases, version.spec)
    return publish_version(
        model, version.spec, version.members, calibration, card, documents=version.documents
    )


def measure_cases(
    predictor: Predictor,
    scans: Iterable[tuple[str, Scan, Tensor]],
    drawn: Sequence[CalibrationVoxels],
    say: Say = lambda _line: None,
) -> Iterator[QualityCase]:
    """Predict calibration scans and worsened copies, each with a calibrator that never saw its subject.

    Args:
        predictor: of the version, with the calibrator that is served.
        scans: id, scan and labels of each calibration scan.
        drawn: their voxels in the same order, as a calibrator is fitted to; they name the subjects.
        say: called with one plain line per scan.

    Yields:
        The scan itself, then its copies.
    """
    without = _calibrators_without(drawn, predictor.calibrator)
    for index, ((scan_id, scan, labels), voxels) in enumerate(zip(scans, drawn, strict=True)):
        judge = Predictor(predictor.version, source=predictor.source, calibrator=without[voxels.subject])
        for copy in (scan, *worsened_copies(scan, scan_id, index)):
            prepared, statistics, _ = judge.sample(copy)
            prediction = judge.conclude(copy, prepared, statistics)
            yield quality_case(
                prediction,
                prepared.image.numpy(),
                labels.numpy(),
                subject=voxels.subject,
                ordinary=copy is scan,
            )
        say(f"quality {index + 1}/{len(drawn)} {scan_id}")


def worsened_copies(scan: Scan, scan_id: str, index: int) -> Iterator[Scan]:
    """Three worsened copies of a scan; sixteen scans in a row have every shift in its two upper strengths.

    Args:
        scan: the scan.
        scan_id: decides what is random.
        index: which calibration scan it is.

    Yields:
        Scans with the same geometry.

    Note:
        Good scans differ too little to show how Dice follows a score.
    """
    wanted = [(name, strength) for strength in (3, 2) for name in SHIFT_SUITE]
    for number in range(COPIES):
        name, strength = wanted[(COPIES * index + number) % len(wanted)]
        values = corrupt(scan.data.numpy(), name, strength, shift_seed(_SEED, scan_id, name))
        yield replace(scan, data=torch.from_numpy(values))


def quality_case(
    prediction: Prediction,
    image: NDArray[np.float32],
    reference: NDArray[np.int64 | np.bool_],
    *,
    subject: str,
    ordinary: bool,
) -> QualityCase:
    """What a fit keeps of one scan.

    Args:
        prediction: of the scan.
        image: the scan on the network's grid.
        reference: labels on the scan's own voxels, ``(X, Y, Z)``; of structures that overlap also
            ``(N, X, Y, Z)`` booleans.
        subject: whose scan it is.
        ordinary: whether it is a scan as they are met, no worsened copy.

    Returns:
        Scores, features, how each structure came out, and the chances of error around its borders.
    """
    spec, mask, spacing = prediction.spec, prediction.mask, prediction.spacing
    n, rule = len(spec.labels), spec.head.rule
    answer = Answer(prediction.sets if rule.head == "sigmoid" else mask)
    truth = Answer.of_reference(torch.from_numpy(reference), rule, n)
    return QualityCase(
        subject=subject,
        ordinary=ordinary,
        scores=prediction.scores,
        features=scan_features(image, prediction.scores),
        truth={
            label.value: _truth(answer.segment(label.value), truth.segment(label.value), float(d), spacing)
            for label, d in zip(spec.labels, answer.dice(truth, n), strict=True)
        },
        rim=RimTotals.of(
            prediction.map("chance_of_error"),
            mask,
            spacing,
            prediction.valid,
            n_structures=n,
        )
        if ordinary and spacing is not None
        else None,
    )


def _truth(
    predicted: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    dice: float,
    spacing: tuple[float, float, float] | None,
) -> StructureTruth:
    volume = None if spacing is None else np.count_nonzero(reference) * math.prod(spacing) / 1000
    if not predicted.any():
        return StructureTruth(dice, None, None, volume_ml=volume)
    ratio = np.count_nonzero(reference) / np.count_nonzero(predicted)
    margins = None if spacing is None else needed_margins(predicted, reference, spacing)
    if not reference.any() or spacing is None:
        return StructureTruth(dice, ratio, None, margins, volume)
    one, two = (torch.from_numpy(part)[None, None].float() for part in (predicted, reference))
    with warnings.catch_warnings():  # MONAI 1.6 warns of an argument that it passes to itself
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_average_surface_distance(
            one, two, include_background=True, symmetric=True, spacing=list(spacing)
        )
    return StructureTruth(dice, ratio, float(distance), margins, volume)


def _calibrators_without(drawn: Sequence[CalibrationVoxels], served: Calibrator) -> Mapping[str, Calibrator]:
    """Subject -> calibrator of the served kind, fitted without that subject."""
    if isinstance(served, DistanceTemperature) and served.parts is None:  # a version made before parts
        drawn = [replace(voxels, covariate=None, parts=None) for voxels in drawn]
    fit = fit_to_part(served.name if served.name in CANDIDATES else Identity.name)
    return {
        held_out[0].subject: fit(inside, least=MIN_SUBJECTS - 1)
        for inside, held_out in leave_one_subject_out(drawn)
    }
