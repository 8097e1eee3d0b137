"""The stage of CaPE itself: settings, voxels that count, epochs on frequencies and epochs on labels.

Every few epochs a frozen copy of the network counts, over all training patches, how often each probability
came true, and for one epoch the network learns these frequencies instead of the labels.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust.errors import SettingError
from segtrust.losses import cross_entropy
from segtrust.losses._limits import Limits
from segtrust.losses.cape import (
    CapeCounts,
    Mass,
    bin_targets,
    kernel_targets,
    look_up,
    soft_cross_entropy,
)
from segtrust.training.loop import EpochReport, descend
from segtrust.uncertainty import HeadKind

__all__ = ["CapeSettings", "Tuned", "fine_tune", "region_weights"]

Batch = tuple[Tensor, Tensor]
"""Images ``(B, channels, *spatial)`` and labels ``(B, *spatial)``."""

_WORDS = {"target": ("bin", "kernel", "labels"), "mass": ("doubt", "voxels")}
_LIMITS = {
    "epochs": Limits(1, 10_000, whole=True),
    "discrimination": Limits(0, 100, whole=True),
    "bins": Limits(2, 100, whole=True),
    "least_voxels": Limits(1, 10**9, whole=True),
    "least_scans": Limits(1, 10**6, whole=True),
    "sigma": Limits(1e-3, 0.5),
    "window": Limits(1e-4, 1),
    "band": Limits(0, 100, whole=True),
    "background": Limits(1e-4, 1),
    "batch": Limits(1, 1024, whole=True),
    "learning_rate": Limits(1e-7, 1),
    "weight_decay": Limits(0, 1),
}


@dataclass(frozen=True, kw_only=True)
class CapeSettings:
    """How the stage runs.

    Args:
        target: ``bin`` or ``kernel`` targets in calibration epochs; ``labels`` has no such epochs: it is the
            control that goes on with cross-entropy over the same voxels.
        epochs: of both kinds together.
        discrimination: epochs on labels after each calibration epoch; the first epoch calibrates.
        bins: largest number of bins, see :func:`~segtrust.losses.cape.bin_targets`.
        mass: what all bins hold equally much of, ``doubt`` or ``voxels``.
        least_voxels: drawn voxels in every bin.
        least_scans: scans in every bin.
        sigma: width of the kernel in probability, see :func:`~segtrust.losses.cape.kernel_targets`.
        window: share of the voxels on each side of the kernel.
        band: voxels further than this from labelled and predicted foreground are background.
        background: share of the background that is drawn; each drawn voxel counts 1 / ``background`` times.
        batch: patches per step.
        learning_rate: of AdamW, constant.
        weight_decay: of AdamW.
        flip_axes: axes along which a mirrored scan is as likely as the scan itself.
        augment: ``full``, or ``light`` for flips and crops alone.

    Raises:
        SettingError: if a value is outside its limits; the message names them.
    """

    target: Literal["bin", "kernel", "labels"] = "bin"
    epochs: int = 12
    discrimination: int = 2
    bins: int = 10
    mass: Mass = "doubt"
    least_voxels: int = 10_000
    least_scans: int = 20
    sigma: float = 0.05
    window: float = 0.01
    band: int = 10
    background: float = 0.01
    batch: int = 2
    learning_rate: float = 5e-4
    weight_decay: float = 1e-4
    flip_axes: tuple[int, ...] = ()
    augment: str = "light"

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise SettingError(
                    f"`{name}` must be one of {', '.join(words)}, got {getattr(self, name)!r}."
                )
        for name, limits in _LIMITS.items():
            if getattr(self, name) not in limits:
                raise SettingError(f"`{name}` must be {limits}, got {getattr(self, name)!r}.")

    def calibrates(self, epoch: int) -> bool:
        """Does this epoch, counted from 0, learn frequencies instead of labels?"""
        return self.target != "labels" and epoch % (self.discrimination + 1) == 0


class Tuned(NamedTuple):
    """What the stage leaves, on the CPU.

    ``network`` has the weights of the epoch with the lowest watched loss, ``last`` those of the last epoch;
    the same where nothing was watched. ``watched`` holds the losses, before the first epoch and after each.
    """

    network: nn.Module
    last: nn.Module
    watched: tuple[float, ...]


def fine_tune(
    network: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    settings: CapeSettings,
    *,
    seed: int,
    checkpoint: Path,
    head: HeadKind = "softmax",
    watch: Callable[[], Iterable[Batch]] | None = None,
    progress: Callable[[EpochReport], None] | None = None,
) -> Tuned:
    """Run the stage on any network whose output has one logit per channel and voxel.

    Args:
        network: where to start; left as it is. Its device is that of the run.
        batches: makes the batches of an epoch; the same ones each time it is called for that epoch.
        settings: how the stage runs; ``flip_axes`` and ``augment`` are the business of ``batches``.
        seed: fixes which background is drawn, and dropout.
        checkpoint: written after every epoch; if it exists, the run goes on from there.
        head: of the network.
        watch: makes the batches whose cross-entropy chooses the epoch, the start included.
        progress: called after every epoch.

    Returns:
        The networks and the watched losses.

    Raises:
        TrainingError: if bins hold too little, or the loss stops being finite.

    Source:
        Liu, Kaku, Zhu et al. 2022, "Deep probability estimation"; per voxel Fassio et al. 2024. Frozen copy,
        patches instead of scans, voxel weights: ours.
    """
    run = _Stage(network, settings, head, seed)
    if checkpoint.is_file():
        run.load(torch.load(checkpoint, map_location=run.device, weights_only=True))  # noqa: TID251  # own
    elif watch:
        run.watched = [run.cross_entropy(watch())]
    start, first = time.monotonic(), run.epoch
    for epoch in range(first, settings.epochs):
        began = time.monotonic()
        torch.manual_seed(seed * 1_000_003 + epoch)  # what dropout draws does not depend on interruptions
        loss = run.train_epoch(batches)
        if watch:
            run.watched.append(run.cross_entropy(watch()))
        if not watch or run.watched[-1] < min(run.watched[:-1]):
            run.best = copy.deepcopy(run.network.state_dict())
        part = checkpoint.with_suffix(".part")
        torch.save(run.state(), part)
        part.replace(checkpoint)
        if progress:
            now = time.monotonic()
            left = (now - start) / (epoch + 1 - first) * (settings.epochs - epoch - 1)
            progress(EpochReport(epoch + 1, settings.epochs, loss, now - began, left))
    last = run.network.cpu().eval().requires_grad_(False)
    best = copy.deepcopy(last)
    best.load_state_dict(run.best)
    return Tuned(best, last, tuple(run.watched))


def region_weights(foreground: Tensor, *, band: int, background: float, generator: torch.Generator) -> Tensor:
    """Weights of voxels: 1 near the foreground, and a random share of the rest that stands for all of it.

    Args:
        foreground: boolean, ``(B, *spatial)``.
        band: how near, in voxels along each axis.
        background: share of the rest that is drawn, in (0, 1].
        generator: of the draw, on the CPU.

    Returns:
        ``(B, *spatial)`` float32 on the device of ``foreground``: 1, 1 / ``background`` or 0. Weighted sums
        have the sum over all voxels as their mean, whatever ``foreground`` is.

    Source:
        Horvitz & Thompson 1952 for the weights; the region is ours.

    Example:
        >>> labels = torch.tensor([[0, 0, 0, 1, 0]])
        >>> region_weights(labels > 0, band=1, background=1.0, generator=torch.Generator())
        tensor([[1., 1., 1., 1., 1.]])
    """
    near = foreground[:, None].float()
    pool = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[near.ndim]
    for axis in range(near.ndim - 2):  # a cube as one axis after the other
        reach = [band if axis == a else 0 for a in range(near.ndim - 2)]
        near = pool(near, [2 * r + 1 for r in reach], stride=1, padding=reach)
    chosen = torch.rand(foreground.shape, generator=generator).to(near.device) < background
    return torch.where(near[:, 0] > 0, 1.0, chosen / background)


class _Stage:
    """Network, optimiser, and the best weights so far: what a checkpoint holds."""

    def __init__(self, network: nn.Module, settings: CapeSettings, head: HeadKind, seed: int) -> None:
        self.settings, self.head, self.seed, self.epoch = settings, head, seed, 0
        self.network = copy.deepcopy(network).requires_grad_(True)
        self.device = next(self.network.parameters()).device
        self.best = copy.deepcopy(self.network.state_dict())
        self.watched: list[float] = []
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")

    def state(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "optimizer", "scaler")}
        return {**parts, "best": self.best, "watched": self.watched, "epoch": self.epoch}

    def load(self, state: dict[str, Any]) -> None:
        for name in ("network", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.best, self.watched, self.epoch = state["best"], state["watched"], state["epoch"]

    def train_epoch(self, batches: Callable[[int], Iterable[Batch]]) -> float:
        teacher, table = None, None
        if self.settings.calibrates(self.epoch):
            teacher = copy.deepcopy(self.network).eval().requires_grad_(False)
            table = self._table(teacher, batches(self.epoch))
        self.network.train()
        losses = []
        for image, labels, generator in self._seeded(batches(self.epoch)):
            self.optimizer.zero_grad(set_to_none=True)
            logits = self._logits(self.network, image)
            guide = logits.detach() if teacher is None else self._logits(teacher, image)
            probs, truth = self._probs(guide), self._truth(labels, guide)
            targets = truth if table is None else look_up(table, probs, head=self.head)
            loss = soft_cross_entropy(
                logits, targets, self._weights(labels, probs, generator), head=self.head
            )
            descend(loss, self.network, self.optimizer, self.scaler, epoch=self.epoch)
            losses.append(loss.item())
        self.epoch += 1
        return float(np.mean(losses))

    def cross_entropy(self, batches: Iterable[Batch]) -> float:
        """Nats per voxel of labels, every voxel once."""
        self.network.eval()
        total, voxels = 0.0, 0
        with torch.no_grad():
            for image, labels in batches:
                logits = self._logits(self.network, image.to(self.device))
                loss = cross_entropy(logits, labels.to(self.device), head=self.head)
                total, voxels = total + loss.item() * labels.numel(), voxels + labels.numel()
        return total / voxels

    def _table(self, teacher: nn.Module, batches: Iterable[Batch]) -> Tensor:
        """How often each probability of the frozen copy came true, over the patches of one epoch."""
        counts: CapeCounts | None = None
        for image, labels, generator in self._seeded(batches):
            logits = self._logits(teacher, image)
            probs = self._probs(logits)
            weights = self._weights(labels, probs, generator)
            part = CapeCounts.of(probs, self._truth(labels, logits), weights)
            counts = part if counts is None else counts + part
        assert counts is not None
        s = self.settings
        if s.target == "kernel":
            return kernel_targets(counts, sigma=s.sigma, window=s.window).to(self.device)
        limits = {"least_voxels": s.least_voxels, "least_scans": s.least_scans}
        return bin_targets(counts, bins=s.bins, mass=s.mass, **limits).to(self.device)

    def _seeded(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
        """Batches on the device, each with a generator of its own: the same background for every pass."""
        for number, (image, labels) in enumerate(batches):
            state = np.random.SeedSequence([self.seed, self.epoch, number]).generate_state(1)
            generator = torch.Generator().manual_seed(int(state[0]))
            yield image.to(self.device), labels.to(self.device), generator

    def _logits(self, network: nn.Module, image: Tensor) -> Tensor:
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            logits: Tensor = network(image)
        return logits.float()

    def _probs(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=1) if self.head == "softmax" else torch.sigmoid(logits)

    def _truth(self, labels: Tensor, logits: Tensor) -> Tensor:
        first = 0 if self.head == "softmax" else 1
        values = torch.arange(first, first + logits.shape[1], device=labels.device)
        return labels[:, None] == values.view(-1, *(1 for _ in labels.shape[1:]))

    def _weights(self, labels: Tensor, probs: Tensor, generator: torch.Generator) -> Tensor:
        predicted = probs.argmax(dim=1) > 0 if self.head == "softmax" else (probs > 0.5).any(dim=1)
        return region_weights(
            (labels > 0) | predicted,
            band=self.settings.band,
            background=self.settings.background,
            generator=generator,
        )
