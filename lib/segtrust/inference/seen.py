"""What training scans looked like, written into a model's specification."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from segtrust.inference.flags import brightness_asymmetry, brightness_levels
from segtrust.inference.scan import Scan, extent_mm, extent_voxels
from segtrust.models import ModelSpec

__all__ = ["seen_in", "with_largest"]

_SLACK = 0.5  # of the range in training, on either side
_LEVEL_SLACK = 0.1  # of the span from the lowest to the highest level, on either side


def seen_in(spec: ModelSpec, scans: Sequence[Scan]) -> ModelSpec:
    """Complete a specification by what scans look like; scans unlike them are flagged later.

    Args:
        spec: the specification.
        scans: training scans, as read.

    Returns:
        The specification with ``extent_mm`` (edges in order of length), also ``extent_voxels`` if the model
        sees voxels without their size, ``intensity_ranges``, and ``intensity_levels`` if values are taken as
        they are (a window).
    """
    skews = np.array([brightness_asymmetry(scan) for scan in scans])
    slack = _SLACK * np.ptp(skews, axis=0)
    return replace(
        spec,
        extent_mm=_edges([extent_mm(scan) for scan in scans]),
        extent_voxels=_edges([extent_voxels(scan) for scan in scans]) if spec.spacing is None else None,
        intensity_ranges=tuple(
            (round(float(c.min() - s), 3), round(float(c.max() + s), 3))
            for c, s in zip(skews.T, slack, strict=True)
        ),
        intensity_levels=_levels(scans) if spec.intensity.method == "window" else None,
    )


def _edges(sizes: Sequence[tuple[float, ...] | None]) -> tuple[tuple[float, float], ...] | None:
    edges = np.array([sorted(size) for size in sizes if size is not None], dtype=np.float64)
    return tuple((float(c.min()), float(c.max())) for c in edges.T) if len(edges) else None


def _levels(scans: Sequence[Scan]) -> tuple[tuple[tuple[float, float], tuple[float, float]], ...]:
    levels = np.array([brightness_levels(scan) for scan in scans])  # (scans, channels, 2)
    slack = _LEVEL_SLACK * np.ptp(levels, axis=(0, 2))[:, None]
    ends = np.stack([levels.min(axis=0) - slack, levels.max(axis=0) + slack], axis=-1).round(3)
    return tuple(((float(low[0]), float(low[1])), (float(high[0]), float(high[1]))) for low, high in ends)


def with_largest(spec: ModelSpec, marked: Iterable[Tensor]) -> ModelSpec:
    """Limit the draws of a stochastic model to the largest foreground of its training labels.

    Args:
        spec: of a stochastic model.
        marked: where each training label has a structure, ``(*grid)`` booleans on the network's grid; slices
            of a 2-D network lie along the last axis, where there are three.

    Returns:
        The specification with ``head.largest``; as it was if no label has a structure.
    """
    stack = spec.spatial_dims == 2
    counts = [
        int((mask.flatten(0, -2).sum(dim=0) if stack and mask.ndim == 3 else mask.sum()).max())
        for mask in marked
    ]
    largest = max(counts, default=0)
    return replace(spec, head=replace(spec.head, largest=largest or None))
