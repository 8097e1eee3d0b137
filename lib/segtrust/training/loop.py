"""The training loop of one member: seeded, resumable, the same on CPU and GPU."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from segtrust._files import replace_text
from segtrust.errors import ModelError, SettingError, TrainingError
from segtrust.inference.members import build_network, load_member, save_weights
from segtrust.losses import StochasticLoss, parse_loss
from segtrust.models import ModelSpec
from segtrust.training.augment import Augmentation
from segtrust.training.cases import Case

__all__ = [
    "CODE",
    "Budget",
    "EpochReport",
    "batches",
    "data_digest",
    "descend",
    "keep_settings",
    "member_files",
    "run_settings",
    "train_member",
]

logger = logging.getLogger(__name__)

CODE = 1
"""Raise this when a change of the code changes what a run computes; older runs are not resumed then."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long and how fast a member learns.

    ``average`` is the decay of the running average of the weights that is kept as the result; 0 turns it off.
    ``augment`` is ``full``, or ``light`` for flips and crops alone.
    ``loss`` is read by :func:`segtrust.losses.parse_loss`.
    ``patches`` are drawn per epoch, all scans in turn; 0 draws one from every scan.
    ``snapshots`` are members that one run gives: the learning rate falls and starts again so many times.
    """

    epochs: int = 60
    batch: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warm_up: float = 0.03
    average: float = 0.995
    loss: str = "dice_ce"
    flip_axes: tuple[int, ...] = ()
    augment: str = "full"
    patches: int = 0
    snapshots: int = 1

    def __post_init__(self) -> None:
        if self.snapshots < 1 or self.epochs % self.snapshots:
            raise SettingError(
                f"`epochs` must be a multiple of `snapshots`, which is at least 1, got {self.epochs} and "
                f"{self.snapshots}."
            )


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch; times in seconds."""

    epoch: int
    epochs: int
    loss: float
    seconds: float
    left: float


def train_member(
    spec: ModelSpec,
    cases: Sequence[Case],
    budget: Budget,
    *,
    seed: int,
    folder: Path,
    device: torch.device | str = "cpu",
    initial: Path | None = None,
    progress: Callable[[EpochReport], None] | None = None,
) -> Path:
    """Train one member of an ensemble, or go on where an interrupted run stopped.

    If a checkpoint or a finished member cannot be read any more, the log says so and the member starts again.

    Args:
        spec: the model's specification.
        cases: training cases.
        budget: how long and how fast.
        seed: fixes initial weights, order of cases and every augmentation.
        folder: gets ``checkpoint.pt`` after every epoch and ``member.safetensors`` at the end.
        device: where to train; AMP (float16 with loss scaling) is used on CUDA only.
        initial: weights to start from (warm start); drawn from ``seed`` unless given.
        progress: called after every epoch.

    Returns:
        Path of ``member.safetensors``, the last snapshot if there are several: see :func:`member_files`.

    Raises:
        TrainingError: without cases, for a loss that cannot be read, if the loss stops being finite, or if
            ``folder`` holds a run with other settings or cannot be written.
        ModelError: if ``initial`` does not fit the network.

    Source:
        AdamW with linear warm-up and cosine decay; running average of weights after Izmailov et al. 2018 and
        Polyak; ensemble members differ by seed alone (Mehrtash et al. 2020). Snapshots: Huang et al. 2017.
    """
    result = folder / "member.safetensors"
    if not cases:
        raise TrainingError("training needs at least one labelled scan, got none.")
    try:
        parse_loss(budget.loss)
    except SettingError as error:
        raise TrainingError(str(error)) from error
    cases = sorted(cases, key=lambda case: case.id)
    folder.mkdir(parents=True, exist_ok=True)
    keep_settings(folder / "run.json", run_settings(spec, cases, budget, seed=seed, initial=initial))
    files = member_files(result, budget)
    if all(_is_finished(spec, file) for file in files):
        return result
    steps = math.ceil((budget.patches or len(cases)) / budget.batch)

    def fresh() -> _Run:
        torch.manual_seed(seed)
        return _Run(spec, budget, torch.device(device), steps, initial)

    run = _resumed(fresh, folder / "checkpoint.pt")
    draw = Augmentation(spec, flip_axes=budget.flip_axes, kind=budget.augment)
    start, first = time.monotonic(), run.epoch
    for epoch in range(first, budget.epochs):
        began = time.monotonic()
        torch.manual_seed(seed * 1_000_003 + epoch)  # what dropout draws does not depend on interruptions
        patches = batches(cases, draw, budget.batch, patches=budget.patches, seed=seed, epoch=epoch)
        loss = run.train_epoch(patches)
        cycle, within = divmod(epoch + 1, budget.epochs // budget.snapshots)
        with _disk(folder):
            if not within:
                save_weights(run.average, files[cycle - 1])
            run.save(folder / "checkpoint.pt")
        if progress:
            now = time.monotonic()
            left = (now - start) / (epoch + 1 - first) * (budget.epochs - epoch - 1)
            progress(EpochReport(epoch + 1, budget.epochs, loss, now - began, left))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return result


def member_files(result: Path, budget: Budget) -> list[Path]:
    """Weights that a run leaves behind, in the order in which they were trained.

    Args:
        result: what :func:`train_member` returned.
        budget: of the run.

    Returns:
        One file per snapshot; ``result`` is the last.
    """
    return [*(result.with_name(f"snapshot-{i}.safetensors") for i in range(1, budget.snapshots)), result]


def run_settings(
    spec: ModelSpec, cases: Sequence[Case], budget: Budget, *, seed: int, initial: Path | None = None
) -> dict[str, Any]:
    """Everything that a trained member follows from, as JSON can hold it; equal settings, equal weights.

    Args:
        spec: the model's specification.
        cases: training cases.
        budget: how long and how fast.
        seed: of the member.
        initial: weights to start from; they are named by the SHA-256 of the file.

    Returns:
        What ``run.json`` holds; words about the model, how many members it has, and options that came later
        and are not used, are left out: a run's name stays what it was.
    """
    words = ("name", "description", "members")
    unused = [name for name, off in (("patches", 0), ("snapshots", 1)) if getattr(budget, name) == off]
    return {
        "spec": {name: value for name, value in spec.to_json().items() if name not in words},
        "budget": {name: value for name, value in asdict(budget).items() if name not in unused},
        "seed": seed,
        "code": CODE,
        "cases": sorted(case.id for case in cases),
        "data": data_digest(cases),
        **({} if initial is None else {"initial": hashlib.sha256(initial.read_bytes()).hexdigest()}),
    }


def data_digest(cases: Sequence[Case]) -> str:
    """Name the content of training cases: SHA-256 over ids, voxels and labels on the network's grid."""
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda c: c.id):
        digest.update(case.id.encode())
        digest.update(case.image.contiguous().numpy().tobytes())
        digest.update(case.labels.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _is_finished(spec: ModelSpec, result: Path) -> bool:
    if not result.is_file():
        return False
    try:
        load_member(spec, result)
    except ModelError as error:
        logger.warning("A finished member cannot be read and is trained again: %s", error)
        return False
    return True


def _resumed(fresh: Callable[[], "_Run"], checkpoint: Path) -> "_Run":
    run = fresh()
    if not checkpoint.is_file():
        return run
    try:
        run.resume(checkpoint)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, EOFError, UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        logger.warning("%s cannot be read (%s): this member starts again.", checkpoint, reason)
        return fresh()  # a part of the checkpoint may have been taken over
    return run


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Say what to do when a file cannot be written; torch and safetensors have their own errors for that."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"{path} must be writable, got: {reason}. Is the disk full? Free some space and start again: "
            "finished members and epochs are kept."
        ) from error


def keep_settings(path: Path, settings: object) -> None:
    """Write down what a run follows from, or hold it against what is there.

    Args:
        path: ``run.json`` of the run's folder.
        settings: anything that JSON can hold.

    Raises:
        TrainingError: if the folder holds a run with other settings, or cannot be written.
    """
    text = json.dumps(settings, indent=1, sort_keys=True, default=str)
    if not path.is_file():
        with _disk(path):
            replace_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise TrainingError(
            f"{path.parent} must hold a run with the same settings, got another. Use a new folder."
        )


def batches(
    cases: Sequence[Case], draw: Augmentation, size: int, *, patches: int, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Patches of one epoch.

    Args:
        cases: training cases.
        draw: cuts and augments a patch.
        size: patches per batch; the last may be smaller.
        patches: number of patches, all scans in turn; 0 draws one from every scan.
        seed: of the run.
        epoch: from 0; another epoch draws others.

    Returns:
        Images ``(B, channels, *spatial)`` and labels ``(B, *spatial)``, batch by batch.
    """
    seeds = np.random.SeedSequence([seed, epoch])
    rng, count = np.random.default_rng(seeds), patches or len(cases)
    rounds = math.ceil(count / len(cases))
    order = np.concatenate([rng.permutation(len(cases)) for _ in range(rounds)])[:count]
    patch_seeds = seeds.generate_state(count)
    for begin in range(0, count, size):
        picked = range(begin, min(begin + size, count))
        drawn = [draw(cases[order[k]], int(patch_seeds[k if patches else order[k]])) for k in picked]
        yield torch.stack([p[0] for p in drawn]), torch.stack([p[1] for p in drawn])


def descend(
    loss: Tensor,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    epoch: int,
) -> None:
    """One step down the slope, its length cut at 12.

    Args:
        loss: a number with a graph.
        network: whose weights are moved.
        optimizer: of these weights.
        scaler: of float16 gradients; does nothing where it is off.
        epoch: from 0, for the message.

    Raises:
        TrainingError: if the loss is not finite.

    Source:
        Clipping as in nnU-Net (Isensee et al. 2021).
    """
    if not torch.isfinite(loss):
        raise TrainingError(f"the loss must stay finite, got {loss.item()} in epoch {epoch + 1}.")
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(network.parameters(), 12.0)
    scaler.step(optimizer)
    scaler.update()


class _Run:
    """Network, optimiser, schedule and running average: what a checkpoint holds."""

    def __init__(
        self,
        spec: ModelSpec,
        budget: Budget,
        device: torch.device,
        steps_per_epoch: int,
        initial: Path | None = None,
    ) -> None:
        self.device, self.epoch = device, 0
        layout = torch.channels_last_3d if spec.spatial_dims == 3 else torch.channels_last
        self.layout = layout
        network = build_network(spec) if initial is None else load_member(spec, initial).requires_grad_(True)
        self.network = network.to(device=device).to(memory_format=layout)
        loss, rank = parse_loss(budget.loss), spec.head.rank
        self.loss = loss if rank is None else StochasticLoss(rank, loss)
        self.head, self.rule = spec.head.kind, spec.head.rule
        self.structures = spec.n_classes if spec.head.structures == "nested" else 0
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=budget.learning_rate, weight_decay=budget.weight_decay
        )
        self.total = budget.epochs * steps_per_epoch
        cycle = self.total // budget.snapshots
        warm = max(1, int(budget.warm_up * cycle))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(
                (step % cycle + 1) / warm, 0.5 * (1 + math.cos(math.pi * (step % cycle) / cycle))
            ),
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self._averaged = torch.optim.swa_utils.AveragedModel(
            self.network,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(budget.average),
            use_buffers=True,
        )

    @property
    def average(self) -> nn.Module:
        return self._averaged.module

    def train_epoch(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        self.network.train()
        losses = []
        for image, labels in batches:
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
                logits = self.network(image.to(self.device, memory_format=self.layout))
            done = self.schedule.last_epoch / self.total
            truth = labels.to(self.device)
            if self.structures:  # a voxel of an inner structure belongs to the outer ones as well
                truth = self.rule.sets_of(truth, self.structures).movedim(0, 1).long()
            loss = self.loss(logits.float(), truth, progress=done, head=self.head)
            descend(loss, self.network, self.optimizer, self.scaler, epoch=self.epoch)
            self.schedule.step()
            self._averaged.update_parameters(self.network)
            losses.append(loss.item())
        self.epoch += 1
        return float(np.mean(losses))

    def state(self) -> dict[str, object]:
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "average": self._averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        torch.save(self.state(), part)
        part.replace(path)

    def resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)  # noqa: TID251  # own checkpoint
        self.network.load_state_dict(state["network"])
        self._averaged.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch = state["epoch"]
