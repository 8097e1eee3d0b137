"""A model of another program in, a version of a model folder out: loaded, tried and compared first."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segtrust.adapters import CaseFiles, named, read_probabilities
from segtrust.adapters.nnunet_checkpoint import Checkpoint, read_checkpoint
from segtrust.adapters.nnunet_results import NnunetResults, nnunet_spec
from segtrust.adapters.nnunet_run import NnunetRun
from segtrust.errors import ModelError, SegtrustError
from segtrust.evaluate.records import software_versions
from segtrust.files.label import read_label_file
from segtrust.inference.members import save_weights
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import read_scan
from segtrust.inference.trial import made_up_scan
from segtrust.models import ModelSpec, ModelVersion, best_version, publish_version, training_lock
from segtrust.release.adopt_network import UNCALIBRATED, refuse_existing
from segtrust.release.calibrate import Survive, fit_trust
from segtrust.release.gate import judge, pair_scan
from segtrust.training.cases import LabelledFiles, read_pair

__all__ = [
    "FoldCheck",
    "adopt_again",
    "adopt_nnunet",
    "check_folds",
    "draft_nnunet",
]

Say = Callable[[str], None]

SHARE = 0.02
"""Share of the structures' voxels in which a fold may differ from its own validation: half precision on a GPU
moves a few at borders, axes that are turned round move half of them."""


@dataclass(frozen=True)
class FoldCheck:
    """One fold against what nnU-Net predicted with it: voxels of the structures, and in how many they differ.

    ``largest`` is the largest difference of a probability; ``None`` where none are stored.
    """

    fold: str
    scans: int
    voxels: int
    differ: int
    largest: float | None

    @property
    def agrees(self) -> bool:
        """Whether no more voxels differ than arithmetic explains."""
        return self.differ <= SHARE * self.voxels

    def sentence(self) -> str:
        """For the command line and the card."""
        probs = "" if self.largest is None else f", probabilities by at most {self.largest:.2g}"
        return (
            f"fold {self.fold}: masks differ from nnU-Net's own validation in {self.differ} of {self.voxels} "
            f"voxels of {self.scans} scan{'s' * (self.scans != 1)}{probs}"
        )


def adopt_nnunet(
    results: NnunetResults,
    models_dir: Path,
    *,
    name: str,
    mirroring: bool = True,
    images: Mapping[str, tuple[Path, ...]] | None = None,
    scans: int = 1,
    say: Say = lambda _line: None,
) -> ModelVersion:
    """Make a model folder of nnU-Net's results.

    Args:
        results: what :func:`segtrust.adapters.nnunet_results.read_nnunet` read.
        models_dir: folder of models; the version goes into ``<models_dir>/<name>``.
        name: of the model.
        mirroring: mirror as nnU-Net does by default; without, a prediction is up to eight times faster.
        images: case -> files of its channels; each fold is compared with its ``validation`` on some of them.
        scans: how many of each fold.
        say: called with one plain line per step.

    Returns:
        The version, not calibrated.

    Raises:
        ModelError: if a file is missing or damaged, the weights do not fit the plans, a prediction fails, or
            a fold answers otherwise than it did in nnU-Net; then nothing is published.
    """
    refuse_existing(models_dir / name)
    with tempfile.TemporaryDirectory(prefix="adopt-") as work:
        draft = draft_nnunet(results, Path(work), name=name, mirroring=mirroring, say=say)
        checks = check_folds(draft, results, images or {}, scans=scans, say=say)
        return publish_version(
            models_dir / name,
            draft.spec,
            draft.members,
            draft.calibration,
            {**draft.card, "folds_checked": [check.sentence() for check in checks]},
            documents=draft.documents,
        )


def adopt_again(
    results: NnunetResults,
    model: Path,
    scans: Sequence[LabelledFiles],
    *,
    images: Mapping[str, tuple[Path, ...]] | None = None,
    check: int = 1,
    say: Say = lambda _line: None,
    survive: Survive = lambda _id: nullcontext(),
) -> tuple[ModelVersion, str]:
    """Take new folds as the next version of an adopted nnU-Net, if it is not worse than the best one.

    Args:
        results: of nnU-Net.
        model: the model folder.
        scans: labelled scans that neither the old folds nor the new ones saw; they judge and calibrate.
        images: as for :func:`adopt_nnunet`.
        check: how many scans of each fold are compared with its validation.
        say: called with one plain line per step.
        survive: as for :func:`segtrust.release.calibrate.fit_trust`.

    Returns:
        The version, and in words whether it is served and why.

    Raises:
        ModelError: as :func:`adopt_nnunet`; and if labels, channels, patch or spacing are others.
        SettingError: if fewer than five subjects can be used.
    """
    best = best_version(model)
    mirroring = best.spec.network.get("mirroring") is not None
    with training_lock(model), tempfile.TemporaryDirectory(prefix="adopt-") as work:
        draft = draft_nnunet(results, Path(work), name=model.name, mirroring=mirroring, say=say)
        old, new = best.spec.to_json(), draft.spec.to_json()
        if different := sorted(key for key in old if old[key] != new[key]):
            raise ModelError(
                f"the next version of {model.name!r} must have the same {', '.join(different)}, got "
                f"{new[different[0]]} instead of {old[different[0]]}. Adopt it under another --name."
            )
        checks = check_folds(draft, results, images or {}, scans=check, say=say)
        before, after = Predictor(best), Predictor(draft)
        pairs = []
        for index, files in enumerate(scans):
            with survive(files.id):
                pair = read_pair(files, draft.spec)
                pairs.append(pair_scan(before, after, *pair, subject=files.subject, seed=index))
                say(f"judged on {index + 1}/{len(scans)} {files.id}")
        verdict = judge(pairs)
        trust = fit_trust(draft, scans, say=say, survive=survive)
        status = "unproven" if verdict.passed is None else "published" if verdict.passed else "kept"
        version = publish_version(
            model,
            best.spec,
            draft.members,
            trust.calibration,
            {
                **draft.card,
                **trust.card,
                "parent": {"version": best.id, "digest": best.digest},
                "folds_checked": [one.sentence() for one in checks],
                "gate": {**verdict.figures, "against": best.digest, "reason": verdict.reason},
                **({} if verdict.is_better else {"best": best.digest}),
                "status": status,
            },
            documents=draft.documents,
            keep_because=verdict.reason if status == "kept" else "",
        )
    return version, f"{status}: {verdict.reason}"


def draft_nnunet(
    results: NnunetResults,
    work: Path,
    *,
    name: str,
    mirroring: bool = True,
    say: Say = lambda _line: None,
) -> ModelVersion:
    """Bring weights to safetensors and predict one small scan of noise.

    Args:
        results: of nnU-Net.
        work: an empty folder for the weights.
        name: of the model.
        mirroring: as for :func:`adopt_nnunet`.
        say: called with one plain line per fold.

    Returns:
        A version that is published nowhere.

    Raises:
        ModelError: as :func:`adopt_nnunet`.
    """
    checkpoints = []
    for fold in results.folds:
        checkpoints.append(read_checkpoint(fold.checkpoint))
        _check_belongs(checkpoints[-1], checkpoints[0], results, fold.checkpoint)
    axes = checkpoints[0].mirroring if mirroring else None
    spec = nnunet_spec(results, name=name, mirroring=axes)
    run = NnunetRun(results.documents, results.configuration, axes, torch.device("cpu"))
    members = []
    for index, (fold, checkpoint) in enumerate(zip(results.folds, checkpoints, strict=True)):
        members.append(work / f"{index}.safetensors")
        save_weights(run.filled(checkpoint.weights, fold.checkpoint), members[-1])
        say(f"fold {fold.name}: weights of {fold.checkpoint}")
    draft = ModelVersion(
        folder=work,
        id="draft",
        spec=spec,
        members=tuple(members),
        calibration=UNCALIBRATED,
        card={
            "name": name,
            "parent": None,
            "made_by": "segtrust adopt",
            "source": {
                "program": "nnU-Net 2",
                "folder": "/".join(results.folder.resolve().parts[-2:]),
                "trainer": checkpoints[0].trainer,
                "configuration": results.configuration,
                "folds": [fold.name for fold in results.folds],
            },
            "remarks": list(results.remarks),
            "software": software_versions(),
        },
        digest="draft",
        documents=results.documents,
    )
    _predict_noise(draft)
    say(f"{name}: predicted a scan of noise with {len(members)} fold{'s' * (len(members) != 1)}")
    return draft


def check_folds(
    draft: ModelVersion,
    results: NnunetResults,
    images: Mapping[str, tuple[Path, ...]],
    *,
    scans: int,
    say: Say = lambda _line: None,
) -> list[FoldCheck]:
    """Compare each fold with what nnU-Net predicted with it when it was trained.

    Args:
        draft: the version.
        results: where ``fold_N/validation`` lies.
        images: case -> files of its channels.
        scans: how many of each fold at most, the smallest files first.
        say: called with one plain line per fold.

    Returns:
        One check per fold that has a validation of a case among ``images``.

    Raises:
        ModelError: if a fold differs in more than :data:`SHARE` of the structures' voxels.
    """
    checks = []
    for fold, member in zip(results.folds, draft.members, strict=True):
        masks = sorted(fold.validation.glob("*.nii*"), key=_size) if fold.validation else []
        cases = [(mask, files) for mask in masks if (files := named(_case(mask), images))][:scans]
        if not cases:
            say(f"fold {fold.name}: not compared with nnU-Net's own validation, as no image of it is at hand")
            continue
        spec = replace(draft.spec, members=1)
        predictor = Predictor(replace(draft, spec=spec, members=(member,)))
        pairs = [_compare(predictor, mask, files) for mask, files in cases]
        largest = [p for _, _, p in pairs if p is not None]
        check = FoldCheck(
            fold=fold.name,
            scans=len(pairs),
            voxels=sum(voxels for voxels, _, _ in pairs),
            differ=sum(differ for _, differ, _ in pairs),
            largest=max(largest, default=None),
        )
        say(check.sentence())
        if not check.agrees:
            raise ModelError(
                f"each fold must answer as it did in nnU-Net, but {check.sentence()}. Are the images those "
                "it was trained on, and was the fold trained again after its validation?"
            )
        checks.append(check)
    return checks


def _check_belongs(one: Checkpoint, first: Checkpoint, results: NnunetResults, path: Path) -> None:
    for what, got, wanted in (
        ("of the configuration", one.configuration, results.configuration),
        ("of the trainer", one.trainer, results.trainer),
        ("with the mirroring axes", one.mirroring, first.mirroring),
    ):
        if wanted and got != wanted:
            raise ModelError(f"{path} must be {what} {wanted} as its folder says, got {got or 'none'}.")


def _predict_noise(draft: ModelVersion) -> None:
    """One window of every fold: a scan of plain noise, not mirrored."""
    spec = replace(draft.spec, network={**draft.spec.network, "mirroring": None})
    try:
        prediction = Predictor(replace(draft, spec=spec)).predict_scan(made_up_scan(spec))
    except SegtrustError as error:
        raise ModelError(f"{draft.spec.name!r} must predict a scan of noise, but {error}") from error
    if not np.isfinite(prediction.probs).all():
        raise ModelError(f"{draft.spec.name!r} must put out finite numbers, got NaN for a scan of noise.")


def _compare(predictor: Predictor, mask: Path, files: tuple[Path, ...]) -> tuple[int, int, float | None]:
    """Voxels of the structures in either mask, how many differ, and the largest difference of probability."""
    spec = predictor.spec
    prediction = predictor.predict_scan(read_scan(files[0], channels=len(spec.channels)))
    theirs, ours = read_label_file(mask).values, _source_values(prediction.mask, spec)
    if theirs.shape != ours.shape:
        raise ModelError(
            f"{mask} must have the shape {ours.shape} of its image {files[0]}, got {theirs.shape}."
        )
    stored = mask.with_name(f"{_case(mask)}.npz")
    largest = None
    if spec.head.kind == "softmax" and stored.is_file():
        probs = read_probabilities(CaseFiles(_case(mask), _case(mask), (stored,), mask=mask)).probs
        largest = float(np.abs(probs.numpy() - prediction.probs).max())
    either = (theirs > 0) | (ours > 0)
    return int(either.sum()), int((theirs != ours).sum()), largest


def _source_values(mask: np.ndarray[Any, Any], spec: ModelSpec) -> np.ndarray[Any, Any]:
    """A mask with the values that the labels have in nnU-Net's files."""
    values: np.ndarray[Any, Any] = np.array([0, *(label.source_values[0] for label in spec.labels)])[mask]
    return values


def _case(path: Path) -> str:
    return path.name.partition(".nii")[0]


def _size(path: Path) -> int:
    return path.stat().st_size
