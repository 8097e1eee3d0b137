"""From trained members to a published version: calibrate on val, measure on test, write the card."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segtrust.calibrators import (
    CalibrationVoxels,
    Calibrator,
    Fit,
    Identity,
    choose_served,
    cross_fitted_errors,
    fit_pooled_temperature,
    fit_to_part,
)
from segtrust.decisions import LabelRule
from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import CaseRecord, draw_scan, evaluate_case
from segtrust.evaluate.quality_figures import judge_predictions, quality_figures
from segtrust.evaluate.records import software_versions
from segtrust.inference.members import load_member
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan, read_scan
from segtrust.inference.seen import seen_in, with_largest
from segtrust.inference.sources import EnsembleSource
from segtrust.models import ModelSpec, ModelVersion, publish_version
from segtrust.quality import Assessment, fit_quality
from segtrust.release.quality import measure_cases, quality_case
from segtrust.training.cache import spent_seconds
from segtrust.training.cases import cases_in, load_case, read_labelled, read_splits, read_subjects
from segtrust.training.loop import CODE
from segtrust.training.run import Recipe

__all__ = ["observed_errors", "release", "spec_as_trained"]

Say = Callable[[str], None]


def release(
    recipe: Recipe,
    members: Sequence[Path],
    data: Path,
    model: Path,
    *,
    command: str,
    splits: Mapping[str, Sequence[str]] | None = None,
    say: Say = lambda _line: None,
) -> ModelVersion:
    """Calibrate on val, measure on test, publish.

    Args:
        recipe: what was trained.
        members: weights, in order of the seeds.
        data: folder with images, labels and splits.
        model: the model folder to publish into.
        command: how to do this again, for the card.
        splits: role -> scans; those of ``splits.json`` unless given.
        say: called with one plain line per step.

    Returns:
        The published version.

    Raises:
        ModelError: if the folder holds another model.
        ScanError: if a scan cannot be read.

    Note:
        Train fits weights, val fits the calibration, test is read once, here.
    """
    splits = splits or read_splits(data)
    say(f"reading {len(splits['train'])} training scans for what the model has seen")
    spec = spec_as_trained(recipe.spec, data, splits["train"])
    draft = ModelVersion(
        folder=model,
        id="draft",
        spec=spec,
        members=tuple(members),
        calibration={"calibrator": Identity().to_json()},
        card={},
        digest="draft",
    )
    ensemble = Predictor(draft)
    first = load_member(spec, members[0])
    single = Predictor(draft, source=EnsembleSource([lambda: first]))
    say(f"calibrating on {len(splits['val'])} scans")
    drawn = _draw((ensemble, single), data, splits["val"])
    rule = spec.head.rule
    choice, single_fit = choose_served(drawn[0], rule=rule), fit_pooled_temperature(drawn[1])
    ensemble_fit = choice.calibrator
    fitted = Predictor(draft, source=ensemble.source, calibrator=ensemble_fit)
    scans = ((scan_id, *read_labelled(data, scan_id, spec)) for scan_id in splits["val"])
    cases = list(measure_cases(fitted, scans, drawn[0], say))
    quality = fit_quality(cases, [label.value for label in spec.labels])
    parts = {} if quality is None else {"quality": quality.to_json()}
    say(f"measuring on {len(splits['test'])} scans")
    served = Predictor(replace(draft, calibration=parts), source=ensemble.source, calibrator=ensemble_fit)
    measured = list(_measure(served, single, single_fit, data, splits["test"], say))
    records = [record for record, _ in measured]
    card = {
        "name": spec.name,
        "parent": None,
        "recipe": {"loss": recipe.budget.loss, "epochs": recipe.budget.epochs, "seeds": list(recipe.seeds)},
        "training_code": CODE,
        "training_seconds": spent_seconds(members),
        "data": {role: len(ids) for role, ids in splits.items()},
        "data_subjects": {
            role: len({read_subjects(data).get(i, i) for i in ids}) for role, ids in splits.items()
        },
        "command": command,
        "software": software_versions(),
        "test": make_card(records, [label.name for label in spec.labels], main="calibrated"),
        "test_note": "single: first member; single_temperature: the same with its own pooled temperature; "
        "ensemble: mean of the members; calibrated: what is served. ECE: 15 bins, top label.",
    }
    calibration = {
        **parts,
        "calibrator": ensemble_fit.to_json(),
        "fitted_on": {"scans": len(splits["val"]), "role": "val"},
        "choice": choice.to_json(),
        "precision": "fp32",
        **observed_errors(drawn[0], fit_to_part(choice.name), rule),
    }
    if quality is not None:
        card["quality"] = quality_figures(quality, cases, spec)
        card["test_quality"] = judge_predictions(
            spec, [(judged, record.truth) for record, judged in measured if judged], quality.subjects
        )
    return publish_version(model, spec, members, calibration, card)


def spec_as_trained(spec: ModelSpec, data: Path, ids: Sequence[str]) -> ModelSpec:
    """Write into a specification what the training scans looked like.

    Args:
        spec: the recipe's specification.
        data: folder with the images, and with the labels if the model is a stochastic one.
        ids: training scans.

    Returns:
        The specification as :func:`segtrust.inference.seen_in` completes it; of a stochastic model also with
        the largest foreground of a training label on the network's grid.
    """
    spec = seen_in(spec, [_read(data, scan_id, spec) for scan_id in ids])
    if spec.head.rank is None:
        return spec
    marked = (case.labels > 0 for files in cases_in(data, ids) for case in (load_case(files, spec),))
    return with_largest(spec, marked)


def _read(data: Path, scan_id: str, spec: ModelSpec) -> Scan:
    return read_scan(data / "images" / f"{scan_id}.nii.gz", channels=len(spec.channels))


def _draw(
    predictors: Sequence[Predictor], data: Path, ids: Sequence[str]
) -> tuple[list[CalibrationVoxels], ...]:
    """Voxels of the calibration scans as each of the predictors sees them."""
    subjects = read_subjects(data)
    drawn: tuple[list[CalibrationVoxels], ...] = tuple([] for _ in predictors)
    for index, scan_id in enumerate(ids):
        scan, labels = read_labelled(data, scan_id, predictors[0].spec)
        subject = subjects.get(scan_id, scan_id)
        for voxels, predictor in zip(drawn, predictors, strict=True):
            voxels.append(draw_scan(predictor, scan, labels, subject=subject, seed=index))
    return drawn


def observed_errors(
    drawn: Sequence[CalibrationVoxels],
    fit: Fit,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
) -> dict[str, Any]:
    """What `calibration.json` says about observed errors.

    Args:
        drawn: voxels of calibration scans.
        fit: fits the kind of calibrator that is served.
        rule: of the model's head.

    Returns:
        ``{"observed": ...}``; empty with too few subjects.
    """
    observed = cross_fitted_errors(drawn, fit, rule)
    if observed is None:
        return {}
    subjects = len({voxels.subject for voxels in drawn})
    return {"observed": {**observed.to_json(), "subjects": subjects, "fitted": "without the subject"}}


def _measure(
    served: Predictor, single: Predictor, single_fit: Calibrator, data: Path, ids: Sequence[str], say: Say
) -> Iterator[tuple[CaseRecord, Assessment | None]]:
    subjects = read_subjects(data)
    for index, scan_id in enumerate(ids, start=1):
        scan, labels = read_labelled(data, scan_id, served.spec)
        prepared, statistics, _ = served.sample(scan)
        alone = single.sample(scan)[1].mean
        prediction = served.conclude(scan, prepared, statistics)
        record = evaluate_case(
            scan_id,
            subjects.get(scan_id, scan_id),
            {
                "single": (alone, None),
                "single_temperature": (alone, single_fit),
                "ensemble": (statistics.mean, None),
                "calibrated": (statistics.mean, served.calibrator),
            },
            labels,
            scan.spacing,
            prediction.valid,
            main="calibrated",
            scores=prediction.scores,
            rule=served.spec.head.rule,
            assumed=served.spacing_of(scan),
        )
        judged = quality_case(
            prediction, prepared.image.numpy(), labels.numpy(), subject=record.subject, ordinary=False
        )
        say(f"{index}/{len(ids)} {scan_id} Dice {np.nanmean(record.dice['calibrated']):.3f}")
        yield replace(record, features=judged.features, truth=judged.truth), prediction.assessment
