"""Proposed probabilities of CaPE: how often voxels of about the same probability carried the label.

A table per channel holds the answer for 4096 cells of probability. It is filled scan by scan, so nothing is
kept per voxel, and a prediction is turned into its target by look-up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust._binning import bin_index
from segtrust.errors import ShapeError, TrainingError
from segtrust.losses._voxels import in_full_precision
from segtrust.uncertainty import HeadKind

__all__ = [
    "CELLS",
    "CapeCounts",
    "Mass",
    "bin_targets",
    "kernel_targets",
    "look_up",
    "soft_cross_entropy",
]

CELLS = 4096
"""Cells of probability, right-closed and of equal width; 0 belongs to the first."""

_REACH = 4.0  # standard deviations of the kernel that are summed; beyond lies less than 1e-4 of it
_ROWS = 128  # cells whose neighbours are summed at a time: a few MB, and twice as fast as 512

Mass = Literal["voxels", "doubt"]
"""What all bins hold equally much of: voxels, or the sum of p (1 - p) over them."""

Table = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CapeCounts:
    """Totals per channel and cell that can be added; all ``(C, 4096)``.

    ``drawn`` counts voxels, int64. ``weight`` and ``hits`` are sums of the voxels' weights, all of them and
    those that carry the label, float64 and exact for whole weights. ``seen`` tells per scan which cells it
    has a voxel in.
    """

    drawn: NDArray[np.int64]
    weight: Table
    hits: Table
    seen: tuple[NDArray[np.bool_], ...]

    @classmethod
    def empty(cls, channels: int) -> Self:
        """Totals of no voxels."""
        shape = (channels, CELLS)
        return cls(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape), ())

    @classmethod
    def of(cls, probs: Tensor, truth: Tensor, weights: Tensor) -> Self:
        """Count the voxels of a batch of scans.

        Args:
            probs: predicted probabilities, ``(B, C, *spatial)``.
            truth: boolean, same shape: does the voxel carry the label of the channel?
            weights: how many voxels each one stands for, ``(B, *spatial)``; 0 leaves it out.

        Returns:
            Totals; add those of other batches.

        Raises:
            ShapeError: if the shapes do not fit.

        Source:
            Liu et al. 2022 keep one target per image.
        """
        if truth.shape != probs.shape or weights.shape != probs[:, 0].shape:
            raise ShapeError(
                "`truth` must have the shape of `probs` and `weights` that without the channels, got "
                f"{tuple(truth.shape)} and {tuple(weights.shape)} beside {tuple(probs.shape)}."
            )
        scans, channels = probs.shape[:2]
        tables = torch.arange(scans * channels, device=probs.device).view(scans, channels, 1)
        weight = weights.flatten(1)[:, None].expand(scans, channels, -1)
        counts = weight > 0
        cell = (tables * CELLS + bin_index(probs.flatten(2), CELLS))[counts]
        weight, hit = weight[counts].double(), truth.flatten(2)[counts]
        size = scans * channels * CELLS

        def table(sums: Tensor) -> NDArray[np.float64]:
            shaped: NDArray[np.float64] = sums.view(scans, channels, CELLS).cpu().numpy()
            return shaped

        drawn = table(torch.bincount(cell, minlength=size))
        total = table(torch.bincount(cell, weights=weight, minlength=size))
        hits = table(torch.bincount(cell, weights=weight * hit, minlength=size))
        return cls(drawn.sum(axis=0, dtype=np.int64), total.sum(axis=0), hits.sum(axis=0), tuple(drawn > 0))

    def __add__(self, other: "CapeCounts") -> "CapeCounts":
        return CapeCounts(
            self.drawn + other.drawn,
            self.weight + other.weight,
            self.hits + other.hits,
            (*self.seen, *other.seen),
        )


def bin_targets(
    counts: CapeCounts,
    *,
    bins: int,
    mass: Mass = "voxels",
    least_voxels: int = 10_000,
    least_scans: int = 20,
) -> Tensor:
    r"""Targets from bins of equal mass: the label's frequency in the bin.

    .. math:: q(p) = \frac{\sum_{i \in b(p)} w_i y_i}{\sum_{i \in b(p)} w_i}

    A cell belongs to one bin. Fewer bins are taken until each holds enough voxels and scans. Where nine
    voxels of ten are sure background, ten bins of equally many voxels put all others into the last one, and a
    voxel at .99 is taught the same as one at .1; bins of equal doubt lie where the network is unsure.

    Args:
        counts: totals over the training scans.
        bins: largest number of bins.
        mass: ``voxels`` for bins of equally many drawn voxels, ``doubt`` for bins of equal sums of p (1 - p)
            over them, where the first and the last cell are two bins more if they hold enough.
        least_voxels: drawn voxels that each bin must hold.
        least_scans: scans that must have a voxel in each bin; all scans if there are fewer.

    Returns:
        Target per channel and cell, ``(C, 4096)`` float32 in [0, 1], for :func:`look_up`.

    Raises:
        TrainingError: if not even two bins hold enough.

    Source:
        Liu et al. 2022, "Deep probability estimation" (CaPE-bin, equally many images); voxel weights, tables,
        bins of equal doubt and the two limits are ours.
    """
    seen = np.stack(counts.seen) if counts.seen else np.zeros((0, len(counts.drawn), CELLS), np.bool_)
    least_scans = min(least_scans, len(seen))
    tables = []
    for channel, drawn in enumerate(counts.drawn):
        enough = (drawn >= least_voxels) & (seen[:, channel].sum(axis=0) >= least_scans)
        sure = (enough[0], enough[-1]) if mass == "doubt" else (False, False)
        for bin_of_cell in _ever_fewer_bins(drawn, bins, mass, sure):
            starts = np.flatnonzero(np.diff(bin_of_cell, prepend=-1))
            voxels = np.add.reduceat(drawn, starts)
            scans = np.logical_or.reduceat(seen[:, channel], starts, axis=1).sum(axis=0)
            full = voxels > 0
            if (voxels[full] >= least_voxels).all() and (scans[full] >= least_scans).all():
                break
        else:
            raise TrainingError(
                f"CaPE needs two bins of {least_voxels} voxels from {least_scans} scans each, got "
                f"{drawn.sum()} voxels from {len(seen)} scans. Add scans, or lower the limits."
            )
        sums = [np.add.reduceat(total[channel], starts) for total in (counts.hits, counts.weight)]
        lengths = np.diff(starts, append=CELLS)
        tables.append(_filled(np.repeat(sums[0], lengths), np.repeat(sums[1], lengths)))
    return torch.from_numpy(np.stack(tables)).float()


def kernel_targets(counts: CapeCounts, *, sigma: float, window: float = 1.0) -> Tensor:
    r"""Targets from a Gaussian window over the neighbours in probability: the label's local frequency.

    .. math:: q(p) = \frac{\sum_{i \in N(p)} w_i y_i \varphi((p_i - p)/\sigma)}
                          {\sum_{i \in N(p)} w_i \varphi((p_i - p)/\sigma)}

    N(p) holds the share ``window`` of the drawn voxels on each side of p in sorted order. Without that limit
    the many voxels of the background decide the targets of all that lies within a few sigma of 0.

    Args:
        counts: totals over the training scans.
        sigma: standard deviation of the Gaussian, in probability.
        window: share of the drawn voxels on each side, in (0, 1]; 1 sets no limit.

    Returns:
        Target per channel and cell, ``(C, 4096)`` float32 in [0, 1], for :func:`look_up`.

    Source:
        Liu et al. 2022 (CaPE-kde, sigma .05 and a window of 100 images on each side); tables are ours, within
        5e-4 of the sum over voxels.
    """
    reach = min(CELLS, int(np.ceil(_REACH * sigma * CELLS)))
    gauss = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma * CELLS)) ** 2)
    tables = []
    for drawn, weight, hits in zip(counts.drawn, counts.weight, counts.hits, strict=True):
        end = np.cumsum(drawn)
        start, half = end - drawn, window * drawn.sum()
        middle = start + drawn / 2
        padded = [
            np.lib.stride_tricks.sliding_window_view(np.pad(values, reach), 2 * reach + 1)
            for values in (start, end, weight / np.maximum(drawn, 1), hits / np.maximum(drawn, 1))
        ]
        sums = np.zeros((2, CELLS))
        for row in range(0, CELLS, _ROWS):
            part = slice(row, row + _ROWS)
            low, high, each, hit = (values[part] for values in padded)
            centre = middle[part, None]
            inside = np.minimum(high, centre + half)
            inside -= np.maximum(low, centre - half)
            np.maximum(inside, 0, out=inside)
            inside *= gauss
            sums[:, part] = [np.einsum("ij,ij->i", inside, values) for values in (hit, each)]
        tables.append(_filled(sums[0], sums[1]))
    return torch.from_numpy(np.stack(tables)).float()


def look_up(table: Tensor, probs: Tensor, *, head: HeadKind = "softmax") -> Tensor:
    """Turn predictions into their proposed probabilities.

    Args:
        table: of :func:`bin_targets` or :func:`kernel_targets`, ``(C, 4096)``, on the device of ``probs``.
        probs: predictions of the network that the table was counted from, ``(B, C, *spatial)``.
        head: ``softmax`` scales the targets to sum to one over the channels; ``sigmoid`` leaves them.

    Returns:
        Targets, shape of ``probs``, float32.

    Source:
        Liu et al. 2022 for two classes; one table per class and the scaling are ours.

    Example:
        >>> table = torch.full((1, 4096), 0.25)
        >>> look_up(table, torch.tensor([[[0.5]]]), head="sigmoid")
        tensor([[[0.2500]]])
    """
    channels = torch.arange(probs.shape[1], device=probs.device).view(1, -1, *(1 for _ in probs.shape[2:]))
    targets = table[channels, bin_index(probs, CELLS)]
    if head == "sigmoid":
        return targets
    return targets / targets.sum(dim=1, keepdim=True).clamp(min=torch.finfo(targets.dtype).tiny)


@in_full_precision
def soft_cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor, *, head: HeadKind = "softmax"
) -> Tensor:
    r"""Cross-entropy against probabilities instead of labels, a weighted mean over voxels; low is good.

    .. math:: L = -\frac{1}{\sum_i w_i} \sum_i w_i \sum_k q_{ik} \ln p_{ik}

    Args:
        logits: ``(B, C, *spatial)``, any floating type; computed in float32.
        targets: probabilities q, same shape.
        weights: of the voxels, ``(B, *spatial)``.
        head: ``softmax``, or ``sigmoid``: both outcomes of every structure, mean over structures.

    Returns:
        Scalar, nats per voxel (and structure, if sigmoid), float32; 0 if no voxel has a weight.

    Source:
        Liu et al. 2022, the loss of both kinds of epoch.

    Example:
        >>> soft_cross_entropy(torch.zeros(1, 2, 1), torch.full((1, 2, 1), 0.5), torch.ones(1, 1))
        tensor(0.6931)
    """
    targets = targets.to(logits.dtype)
    if head == "softmax":
        nll = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
    else:
        nll = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
    return (weights * nll).sum() / weights.sum().clamp(min=torch.finfo(logits.dtype).tiny)


def _ever_fewer_bins(
    drawn: NDArray[np.int64], bins: int, mass: Mass, sure: tuple[bool, bool]
) -> Iterator[NDArray[np.int64]]:
    """Bin of every cell for ``bins``, ``bins`` - 1, ... 2 bins; the middle of a cell's mass tells its bin.

    ``sure``: do the first and the last cell stand alone?
    """
    p = (np.arange(CELLS) + 0.5) / CELLS
    held = drawn * p * (1 - p) if mass == "doubt" else drawn.astype(np.float64)
    middle = np.cumsum(held) - held / 2
    for number in range(bins, 1, -1):
        bin_of_cell = np.minimum(middle * number // (held.sum() or 1), number - 1).astype(np.int64)
        bin_of_cell[1:] += sure[0]
        bin_of_cell[-1] += sure[1]
        yield bin_of_cell


def _filled(hits: Table, weight: Table) -> Table:
    """Frequencies; a cell that no voxel speaks for gets its value from the cells beside it."""
    seen = np.flatnonzero(weight > 0)
    if not len(seen):
        raise TrainingError("CaPE needs at least one voxel with a weight, got none. Was every scan empty?")
    filled: Table = np.interp(np.arange(CELLS), seen, hits[seen] / weight[seen])
    return filled
