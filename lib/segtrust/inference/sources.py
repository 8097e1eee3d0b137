"""Sources of samples: each yields whole-scan probability volumes on the network's grid, one at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Protocol

import torch
from torch import Tensor, nn

from segtrust.decisions import LabelRule
from segtrust.errors import ModelError, SettingError
from segtrust.stochastic import (
    LogitDistribution,
    Noise,
    content_key,
    draw_noise,
    sample_logits,
    seed_of,
)

__all__ = [
    "DrawBound",
    "DropoutSource",
    "EnsembleSource",
    "FlipSource",
    "SampleSource",
    "Slide",
    "StochasticSource",
]

Slide = Callable[[nn.Module, Tensor], Tensor]
"""Runs a network over a whole image ``(C, *grid)`` and returns probabilities ``(K, *grid)``, or the channels
of a stochastic network's distribution."""

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class SampleSource(Protocol):
    """One method and a length: that is all a new source needs."""

    def __len__(self) -> int:
        """Number of samples per scan."""

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield ``(K, *grid)`` probabilities, one sample at a time."""


@dataclass(frozen=True)
class EnsembleSource:
    """One sample per member (Lakshminarayanan et al. 2017; Mehrtash et al. 2020).

    Args:
        members: called one after the other; each returns a network in evaluation mode. A member that is
            loaded inside its call and kept nowhere is freed before the next one.
    """

    members: Sequence[Callable[[], nn.Module]]

    def __len__(self) -> int:
        return len(self.members)

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield one sample per member."""
        for member in self.members:
            yield slide(member(), image)


@dataclass(frozen=True)
class DropoutSource:
    """Monte-Carlo dropout: several passes through one network with its dropout layers active (Gal 2016).

    Only dropout layers are switched; normalisation layers stay in evaluation mode, and every weight, buffer
    and mode is what it was when the last sample has been taken.

    Args:
        member: the network.
        passes: number of samples.
        seed: the same seed gives the same samples.

    Raises:
        ModelError: if the network has no dropout layer with a rate above 0.
    """

    member: nn.Module
    passes: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not active_dropout(self.member):
            raise ModelError(
                "Monte-Carlo dropout needs a network with a dropout rate above 0, got none. "
                "Set `dropout` (or `dropout_prob`) in `network` of spec.json and train again."
            )

    def __len__(self) -> int:
        return self.passes

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield one sample per pass."""
        devices = [image.device] if image.device.type == "cuda" else []
        for index in range(self.passes):
            with torch.random.fork_rng(devices), switched_on(active_dropout(self.member)):
                torch.manual_seed(self.seed * 1_000_003 + index)
                sample = slide(self.member, image)
            yield sample


def active_dropout(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, _DROPOUT) and m.p > 0]


@contextmanager
def switched_on(layers: Sequence[nn.Module]) -> Iterator[None]:
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.train()
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.train(mode)


@dataclass(frozen=True)
class FlipSource:
    """Test-time augmentation: every combination of mirrored axes, mirrored back exactly (Wang et al. 2019).

    Args:
        member: the network.
        axes: spatial axes of the grid that may be mirrored; n axes give 2^n samples.
    """

    member: nn.Module
    axes: tuple[int, ...] = (0,)

    def __len__(self) -> int:
        return int(2 ** len(self.axes))

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield one sample per view, the plain view first."""
        views = chain.from_iterable(combinations(self.axes, n) for n in range(len(self.axes) + 1))
        for axes in views:
            dims = [axis + 1 for axis in axes]
            yield slide(self.member, image.flip(dims)).flip(dims)


@dataclass(frozen=True)
class DrawBound:
    """The largest foreground that a draw may have; a larger one is drawn again.

    Args:
        voxels: of the network's grid; of one slice if ``by_slice``.
        rule: how probabilities become labels.
        by_slice: count the slice (last axis) with most foreground, not the whole scan.
    """

    voxels: int
    rule: LabelRule
    by_slice: bool = False

    def holds(self, probs: Tensor) -> bool:
        """Whether a draw is small enough.

        Args:
            probs: ``(K, *grid)``.

        Returns:
            Whether at most ``voxels`` belong to a structure.
        """
        marked = self.rule.labels(probs) > 0
        counts = marked.flatten(0, -2).sum(dim=0) if self.by_slice else marked.sum()
        return int(counts.max()) <= self.voxels


_TRIES = 32
_SHORTER = (0.5, 0.25, 0.125, 0.0)


@dataclass(frozen=True)
class StochasticSource:
    """Draws of stochastic segmentation networks, each coherent over the whole scan (Monteiro et al. 2020).

    Each member runs once; its blended means, variances and factors stay in memory while one vector of R
    numbers per draw moves all voxels, windows and slices together. Draws come in pairs of opposite noise.
    The noise follows from the scan's content: the same scan gives the same draws, another scan others.

    A draw that breaks ``bound`` is replaced by the next one of the same scan that keeps it, from noise of its
    own. Where 32 in a row break it, the last is brought nearer to the mean, by half each time; the mean
    itself is not judged.

    Args:
        members: called one after the other; each returns a network in evaluation mode.
        rank: R of their heads.
        to_probs: logits ``(1, K, *grid)`` -> probabilities.
        draws: samples per member, even.
        seed: another seed gives other samples of the same scan.
        bound: on the foreground of a draw; ``None`` for none.

    Raises:
        SettingError: if ``draws`` is odd or below 2.
    """

    members: Sequence[Callable[[], nn.Module]]
    rank: int
    to_probs: Callable[[Tensor], Tensor]
    draws: int = 32
    seed: int = 0
    bound: DrawBound | None = None

    def __post_init__(self) -> None:
        if self.draws < 2 or self.draws % 2:
            raise SettingError(f"`draws` must be even and at least 2, got {self.draws}.")

    def __len__(self) -> int:
        return len(self.members) * self.draws

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield the draws of one member after the other."""
        key = content_key(image)
        for number, member in enumerate(self.members):
            distribution = LogitDistribution.from_channels(slide(member(), image)[None], self.rank)
            for pair in range(self.draws // 2):
                noise = draw_noise(distribution, seed_of(key, self.seed, number, pair))
                for side, each in enumerate((noise, noise.mirrored())):
                    again = (
                        draw_noise(distribution, seed_of(key, self.seed, number, pair, side, attempt))
                        for attempt in range(1, _TRIES)
                    )
                    yield self._bounded(distribution, chain((each,), again))

    def _bounded(self, distribution: LogitDistribution, noises: Iterator[Noise]) -> Tensor:
        """The first draw that keeps the bound."""
        bound = self.bound
        for noise in noises:
            probs = self.to_probs(sample_logits(distribution, noise))[0]
            if bound is None or bound.holds(probs):
                return probs
        for temperature in _SHORTER:
            probs = self.to_probs(sample_logits(distribution, noise, temperature=temperature))[0]
            if bound is None or bound.holds(probs):
                break
        return probs
