"""Everything about trust for a model that exists already: its next version, calibrated on labelled scans."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from segtrust.calibrators import MIN_SUBJECTS, CalibrationVoxels, Identity, choose_served, fit_to_part
from segtrust.errors import SettingError
from segtrust.evaluate.cases import draw_scan
from segtrust.evaluate.quality_figures import quality_figures
from segtrust.evaluate.records import software_versions
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan
from segtrust.models import ModelVersion, open_version, publish_version
from segtrust.quality import fit_quality
from segtrust.release.publish import observed_errors
from segtrust.release.quality import measure_cases
from segtrust.training.cases import LabelledFiles, read_pair

__all__ = ["Survive", "Trust", "calibrate_version", "fit_trust"]

Say = Callable[[str], None]
Survive = Callable[[str], AbstractContextManager[None]]

_SINGLE = (
    "fitted to each scan as the one fold sees it that left it out: one fold is surer of itself than all "
    "together, so the probabilities of all come out a little too cautious; predicted Dice, verdict, likeness "
    "and contours need scans that no fold has seen"
)


@dataclass(frozen=True)
class Trust:
    """What was fitted: the content of ``calibration.json``, parts of the card, and to how much."""

    calibration: Mapping[str, Any]
    card: Mapping[str, Any]
    scans: int
    subjects: int


def fit_trust(
    version: ModelVersion,
    scans: Sequence[LabelledFiles],
    *,
    fold_of: Mapping[str, int] | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    say: Say = lambda _line: None,
    survive: Survive = lambda _id: nullcontext(),
) -> Trust:
    """Fit calibrator, observed errors, predicted Dice, verdict, likeness and contours.

    Args:
        version: published or a draft; its own calibration plays no part.
        scans: labelled scans that the networks never saw, or, with ``fold_of``, those they were trained on.
        fold_of: scan -> the only member that never saw it; each is predicted by that one alone, and only
            calibrator and observed errors are fitted.
        device: where networks run.
        precision: in which they are served.
        say: called with one plain line per scan.
        survive: called with a scan's id for a context in which it is read and predicted; the context may
            swallow an error, and the scan is left out then.

    Returns:
        What was fitted.

    Raises:
        SettingError: if fewer than five subjects can be used.
    """
    raw = replace(version, calibration={"calibrator": Identity().to_json()})
    predictor = Predictor(raw, device=device, precision=precision)
    usable, drawn = _draw(predictor, scans, fold_of, say, survive)
    subjects = len({voxels.subject for voxels in drawn})
    if subjects < MIN_SUBJECTS:
        raise SettingError(
            f"calibration needs scans of at least {MIN_SUBJECTS} subjects, got {subjects}. Label more, or "
            "leave the model as it is."
        )
    rule = version.spec.head.rule
    choice = choose_served(drawn, rule=rule)
    calibration: dict[str, Any] = {
        "calibrator": choice.calibrator.to_json(),
        "fitted_on": {
            "scans": len(drawn),
            "subjects": subjects,
            "role": "out-of-fold scans" if fold_of else "given by the folder",
        },
        "choice": choice.to_json(),
        "precision": precision,
        **observed_errors(drawn, fit_to_part(choice.name), rule),
    }
    if fold_of:
        say(_SINGLE)
        card: dict[str, Any] = {"calibration": {"source": "out-of-fold scans", "why": _SINGLE}}
        return Trust(calibration, card, len(drawn), subjects)
    fitted = Predictor(
        raw, device=device, precision=precision, source=predictor.source, calibrator=choice.calibrator
    )
    cases = list(measure_cases(fitted, _pairs(usable, version), drawn, say))
    quality = fit_quality(cases, [label.value for label in version.spec.labels])
    if quality is None:
        return Trust(calibration, {}, len(drawn), subjects)
    figures = {"quality": quality_figures(quality, cases, version.spec)}
    return Trust({**calibration, "quality": quality.to_json()}, figures, len(drawn), subjects)


def calibrate_version(
    model: Path,
    scans: Sequence[LabelledFiles],
    *,
    command: str = "",
    **options: Any,  # noqa: ANN401  # passed on
) -> tuple[ModelVersion, Trust]:
    """Publish the served version again with everything about trust; weights and masks stay what they are.

    Args:
        model: the model folder.
        scans: see :func:`fit_trust`.
        command: how to do this again, for the card.
        options: of :func:`fit_trust`.

    Returns:
        The new version, whose card names the old one as parent, and what was fitted.

    Raises:
        SettingError: as :func:`fit_trust`.
        ModelError: if the version does not check.
    """
    version = open_version(model)
    trust = fit_trust(version, scans, **options)
    old = {n: part for n, part in version.card.items() if n not in ("files", "quality", "calibration")}
    card = {**old, **trust.card, "parent": version.id, "command": command, "software": software_versions()}
    published = publish_version(
        model, version.spec, version.members, trust.calibration, card, documents=version.documents
    )
    return published, trust


def _draw(
    predictor: Predictor,
    scans: Sequence[LabelledFiles],
    fold_of: Mapping[str, int] | None,
    say: Say,
    survive: Survive,
) -> tuple[list[LabelledFiles], list[CalibrationVoxels]]:
    usable, drawn = [], []
    for index, files in enumerate(scans):
        with survive(files.id):
            scan, labels = read_pair(files, predictor.spec)
            alone = predictor if fold_of is None else _member(predictor, fold_of[files.id])
            drawn.append(draw_scan(alone, scan, labels, subject=files.subject, seed=index))
            usable.append(files)
            say(f"calibrating {index + 1}/{len(scans)} {files.id}")
    return usable, drawn


def _member(predictor: Predictor, index: int) -> Predictor:
    version = predictor.version
    spec = replace(version.spec, members=1)
    return Predictor(
        replace(version, spec=spec, members=(version.members[index],)),
        device=str(predictor.device),
        precision=predictor.precision,
    )


def _pairs(scans: Sequence[LabelledFiles], version: ModelVersion) -> Iterator[tuple[str, Scan, Tensor]]:
    """The scans once more: one is in memory at a time."""
    for files in scans:
        yield files.id, *read_pair(files, version.spec)
