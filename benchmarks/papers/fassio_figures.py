"""How far predicted probabilities lie from known ones, with intervals over patients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fassio_problems import Part
from numpy.typing import NDArray
from scipy.special import expit, log_expit, xlogy
from scipy.stats import rankdata

from segtrust.metrics import cluster_bootstrap
from segtrust.regions import distance_to

Array = NDArray[Any]
Rows = Sequence[int]

_ECE_BINS = 15
_BAND_VOXELS = 5.0


def union_band(logits: list[Array]) -> Array:
    """Pixels within 5 of what any compared network marks; ``logits`` hold ``(seeds, n, H, W)``."""
    marked = np.any([(z > 0).any(axis=0) for z in logits], axis=0)
    return np.stack([distance_to(one, None) <= _BAND_VOXELS for one in marked])


@dataclass(frozen=True)
class Sums:
    """Sums over the voxels of each image, ``(seeds, n)``, or with a last axis of 15 bins."""

    voxels: Array
    squares: Array
    divergence: Array
    bins: Array
    overlap: Array

    def mse(self, rows: Rows) -> float:
        """Mean squared distance to the chance."""
        return float(_ratio(self.squares, self.voxels, rows))

    def kl(self, rows: Rows) -> float:
        """Mean Kullback-Leibler divergence from the chance, nats."""
        return float(_ratio(self.divergence, self.voxels, rows))

    def ece(self, rows: Rows) -> float:
        """Expected calibration error of the label's probability, 15 bins of equal width."""
        gap, total = self.bins[:, rows].sum(axis=1), self.voxels[:, rows].sum(axis=1)
        return float((np.abs(gap).sum(axis=1) / total).mean())

    def dice(self, rows: Rows) -> float:
        """Dice with what most raters marked, pixels of all images together."""
        both, size = self.overlap[:, rows].sum(axis=1).T
        return float((2 * both / size).mean())


@dataclass(frozen=True)
class Slices:
    """Sums of every system in every region, and what an interval needs."""

    patients: list[str]
    sums: dict[str, dict[str, Sums]]
    auroc: dict[str, Callable[[Rows], float]]

    @classmethod
    def of(cls, part: Part, logits: dict[str, Array], band: Array | None) -> "Slices":
        """Sum over the voxels of each image; ``logits`` hold ``(seeds, n, *spatial)``."""
        regions = {"volume": np.ones(part.chance.shape, dtype=bool)}
        if band is not None:
            regions["band_5vox"] = band
        sums = {
            system: {name: _sums(z, part.chance, inside) for name, inside in regions.items()}
            for system, z in logits.items()
        }
        auroc = {
            system: _auroc(z[..., 0], part.chance[:, 0] > 0.5) for system, z in logits.items() if z.ndim == 3
        }
        return cls(list(part.patients), sums, auroc)


def figures(slices: Slices, *, base: str, draws: int = 500) -> dict[str, Any]:
    """All figures of all systems with intervals; of errors also the paired differences from one system."""
    found: dict[str, Any] = {}
    for system, regions in slices.sums.items():
        found[system] = {}
        for region, sums in regions.items():
            names = ("mse", "kl", "ece", *(("dice",) if sums.overlap.any() else ()))
            statistics = {
                name: (getattr(sums, name), getattr(slices.sums[base][region], name)) for name in names
            }
            if region == "volume" and system in slices.auroc:
                statistics["auroc"] = (slices.auroc[system], slices.auroc[base])
            found[system][region] = {
                name: {
                    **cluster_bootstrap(slices.patients, one, draws=draws).to_json(),
                    "difference": None
                    if system == base or name not in ("mse", "kl")
                    else cluster_bootstrap(
                        slices.patients, lambda rows, a=one, b=two: a(rows) - b(rows), draws=draws
                    ).to_json(),
                }
                for name, (one, two) in statistics.items()
            }
    return found


def _ratio(above: Array, below: Array, rows: Rows) -> Array:
    return (above[:, rows].sum(axis=1) / below[:, rows].sum(axis=1)).mean()


def _sums(logits: Array, chance: Array, inside: Array) -> Sums:
    probs = expit(logits)
    axes = tuple(range(2, logits.ndim))
    entropy = xlogy(chance, chance) + xlogy(1 - chance, 1 - chance)
    divergence = entropy - chance * log_expit(logits) - (1 - chance) * log_expit(-logits)
    bin_of = np.ceil(probs * _ECE_BINS).clip(1, _ECE_BINS).astype(int) - 1
    gap = (probs - chance) * inside
    bins = np.stack([(gap * (bin_of == b)).sum(axis=axes) for b in range(_ECE_BINS)], axis=-1)
    marked, most = (logits > 0) & inside, (chance > 0.5) & inside
    size = marked.sum(axis=axes) + most.sum(axis=tuple(range(1, chance.ndim)))
    overlap = np.stack([(marked & most).sum(axis=axes), size], axis=-1)
    return Sums(
        np.broadcast_to(inside.sum(axis=tuple(range(1, chance.ndim))), logits.shape[:2]),
        np.square(gap).sum(axis=axes),
        (divergence * inside).sum(axis=axes),
        bins,
        overlap if logits.ndim == 4 else np.zeros_like(overlap),
    )


def _auroc(logits: Array, most: Array) -> Callable[[Rows], float]:
    def of(rows: Rows) -> float:
        truth = most[rows]
        if truth.all() or not truth.any():
            return float("nan")
        n = truth.sum()
        least = n * (n + 1) / 2
        ranks = [rankdata(z[rows])[truth].sum() for z in logits]
        return float((np.mean(ranks) - least) / (n * (truth.size - n)))

    return of
