"""CaPE for a member of an ensemble: weights in, weights of the same kind out."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from segtrust.errors import TrainingError
from segtrust.inference.members import load_member, save_weights
from segtrust.models import ModelSpec
from segtrust.training.augment import Augmentation
from segtrust.training.cape_stage import CapeSettings, fine_tune
from segtrust.training.cases import Case
from segtrust.training.loop import EpochReport, batches, data_digest, keep_settings

__all__ = ["CODE", "CapeSettings", "tune_member"]

CODE = 1
"""Raise this when a change of the code changes what a run computes; older runs are not resumed then."""


def tune_member(  # noqa: PLR0913  # what `train_member` takes, where to start and what to watch
    spec: ModelSpec,
    member: Path,
    cases: Sequence[Case],
    settings: CapeSettings,
    *,
    seed: int,
    folder: Path,
    watch: Sequence[Case] = (),
    device: torch.device | str = "cpu",
    progress: Callable[[EpochReport], None] | None = None,
) -> Path:
    """Fine-tune one member of an ensemble by CaPE, or go on where an interrupted run stopped.

    Args:
        spec: the model's specification.
        member: weights to start from, as :func:`~segtrust.training.train_member` makes them.
        cases: training cases.
        settings: how the stage runs.
        seed: fixes order of cases, every augmentation and which background is drawn.
        folder: gets ``checkpoint.pt`` after every epoch and ``member.safetensors`` at the end.
        watch: cases of other patients inside train that choose the epoch; none: the last epoch stays.
        device: where to train; AMP (float16 with loss scaling) is used on CUDA only.
        progress: called after every epoch.

    Returns:
        Path of ``member.safetensors``, a member of the same kind as ``member``.

    Raises:
        TrainingError: without cases, if a watched patient is also trained on, if bins hold too little, if the
            loss stops being finite, or if ``folder`` holds a run with other settings.
        ModelError: if ``member`` does not fit the specification.

    Source:
        Liu, Kaku, Zhu et al. 2022, "Deep probability estimation"; per voxel Fassio et al. 2024.
    """
    if not cases:
        raise TrainingError("CaPE needs at least one labelled scan, got none.")
    both = {case.subject for case in cases} & {case.subject for case in watch}
    if both:
        raise TrainingError(
            f"a patient must be trained on or watched, not both, got {len(both)} in both. Split by patient."
        )
    cases, watch = (sorted(group, key=lambda case: case.id) for group in (cases, watch))
    network = load_member(spec, member).to(device)
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "settings": asdict(settings),
        "seed": seed,
        "code": CODE,
        "start": hashlib.sha256(member.read_bytes()).hexdigest(),
        "data": [data_digest(cases), data_digest(watch)],
        "spec": {k: v for k, v in spec.to_json().items() if k not in ("name", "description", "members")},
    }
    keep_settings(folder / "run.json", run)
    result = folder / "member.safetensors"
    if result.is_file():
        return result
    draw = Augmentation(spec, flip_axes=settings.flip_axes, kind=settings.augment)
    plain = Augmentation(spec, kind="light")
    tuned = fine_tune(
        network,
        lambda epoch: batches(cases, draw, settings.batch, patches=0, seed=seed, epoch=epoch),
        settings,
        head=spec.head.kind,
        seed=seed,
        checkpoint=folder / "checkpoint.pt",
        watch=(lambda: batches(watch, plain, settings.batch, patches=0, seed=seed, epoch=0))
        if watch
        else None,
        progress=progress,
    )
    save_weights(tuned.network, result)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return result
