"""Ways to say how unsure a model is: one function each, registered by name, and then in every table.

::

    @voxel_map("margin")
    def margin(probs):                  # (1, C, X, Y, Z) -> (1, X, Y, Z) in [0, 1], high means unsure
        ...

    @scan_score("small")
    def small(scan):                    # a ScanView -> a number, high means unsure, or None
        ...

Maps are judged by whether they find the wrong voxels of the band, scores by whether they find the bad scans.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust.errors import SettingError, ShapeError
from segtrust.metrics.detection import ErrorHistogram
from segtrust.scores import ScanScores, score_scan
from segtrust.uncertainty import entropy, probability_margin, variation_ratio

__all__ = [
    "SCAN_SCORES",
    "VOXEL_MAPS",
    "ScanView",
    "load_methods",
    "map_errors",
    "scan_score",
    "score_methods",
    "voxel_map",
]


@dataclass(frozen=True)
class ScanView:
    """What a score sees: probabilities ``(C, X, Y, Z)``, mask, spacing in mm, voxels that count."""

    probs: NDArray[np.float32]
    mask: NDArray[np.unsignedinteger[Any]]
    spacing: tuple[float, float, float] | None
    valid: NDArray[np.bool_]

    @cached_property
    def scores(self) -> ScanScores:
        """The scores of :mod:`segtrust.scores`; those that need several samples are ``None``."""
        structures = len(self.probs) - 1
        unsure = entropy(torch.from_numpy(self.probs)[None], normalize=True)[0].clamp(0, 1).numpy()
        return score_scan(
            entropy=unsure,
            between=np.zeros_like(unsure),
            probs=self.probs,
            labels=self.mask,
            spacing=self.spacing,
            n_structures=structures,
            sample_voxels=np.bincount(self.mask.reshape(-1), minlength=structures + 1)[None, 1:],
            pairwise_dice=np.full(structures, np.nan),
            pooled_pairwise_dice=np.full(structures, np.nan),
            valid=self.valid,
        )


VoxelMap = Callable[[Tensor], Tensor]
ScanScore = Callable[[ScanView], float | None]

VOXEL_MAPS: dict[str, VoxelMap] = {
    "entropy": partial(entropy, normalize=True),
    "margin": probability_margin,
    "chance of error": variation_ratio,
}
"""Every registered map, by name."""
SCAN_SCORES: dict[str, ScanScore] = {}
"""Every registered score, by name."""

_Method = TypeVar("_Method", VoxelMap, ScanScore)


def voxel_map(name: str) -> Callable[[VoxelMap], VoxelMap]:
    """Register a map under a name.

    Args:
        name: shown in tables; not taken yet.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        SettingError: if the name is taken.
    """
    return partial(_register, VOXEL_MAPS, name)


def scan_score(name: str) -> Callable[[ScanScore], ScanScore]:
    """Register a score under a name; see :func:`voxel_map`."""
    return partial(_register, SCAN_SCORES, name)


def _register(table: dict[str, _Method], name: str, method: _Method) -> _Method:
    if name in table:
        raise SettingError(f"a method's name must be new, got {name!r}. Known: {', '.join(table)}.")
    table[name] = method
    return method


@scan_score("entropy")
def _entropy(scan: ScanView) -> float | None:
    return scan.scores.entropy


@scan_score("segment entropy")
def _segment_entropy(scan: ScanView) -> float | None:
    """Mehrtash et al. 2020, mean over the structures that were predicted."""
    entropies = [s.segment_entropy for s in scan.scores.details.values() if s.segment_entropy is not None]
    return sum(entropies) / len(entropies) if entropies else None


@scan_score("soft Dice risk")
def _soft_dice_risk(scan: ScanView) -> float | None:
    """One minus the soft Dice confidence of Borges et al. 2024."""
    confidence = scan.scores.soft_dice_confidence
    return None if confidence is None else 1 - confidence


@scan_score("patch maximum")
def _patch_maximum(scan: ScanView) -> float | None:
    return scan.scores.patch_maximum


@scan_score("global mean")
def _global_mean(scan: ScanView) -> float:
    return scan.scores.global_mean


def load_methods(path: Path) -> None:
    """Run a Python file of the caller's own that registers methods.

    Args:
        path: the file; it is run with all rights of the caller.

    Raises:
        SettingError: if there is no such file or it registers nothing.
    """
    spec = importlib.util.spec_from_file_location(f"segtrust_methods_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SettingError(f"methods must be a Python file, got {path}.")
    before = len(VOXEL_MAPS) + len(SCAN_SCORES)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    if len(VOXEL_MAPS) + len(SCAN_SCORES) == before:
        raise SettingError(f"{path} must register a method with `voxel_map` or `scan_score`, got none.")


def map_errors(probs: Tensor, wrong: Tensor, inside: Tensor) -> dict[str, ErrorHistogram]:
    """Count wrong and right voxels by every registered map.

    Args:
        probs: ``(C, X, Y, Z)``.
        wrong: where the mask differs from the label, boolean ``(X, Y, Z)``.
        inside: voxels that count, most often the band.

    Returns:
        Name of the map -> counts.

    Raises:
        ShapeError: if a map has another shape than the scan.
    """
    histograms = {}
    for name, method in VOXEL_MAPS.items():
        values = method(probs[None])[0]
        if values.shape != wrong.shape:
            raise ShapeError(
                f"the map {name!r} must have shape {tuple(wrong.shape)}, got {tuple(values.shape)}."
            )
        histograms[name] = ErrorHistogram.of(values[inside].clamp(0, 1), wrong[inside])
    return histograms


def score_methods(scan: ScanView) -> dict[str, float | None]:
    """Every registered score of one scan.

    Args:
        scan: the scan.

    Returns:
        Name of the score -> value; ``None`` where it is not defined.
    """
    return {name: method(scan) for name, method in SCAN_SCORES.items()}
