"""Totals over the voxels of a region, in one pass: what every figure of calibration is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segtrust._binning import Bins, bin_index, bin_voxels
from segtrust._checks import check_labels, check_probs
from segtrust.decisions import LabelRule
from segtrust.errors import ShapeError
from segtrust.metrics.calibration import (
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
)
from segtrust.metrics.proper import LEAST_PROBABILITY
from segtrust.uncertainty import HeadKind

__all__ = ["FINE_CELLS", "VoxelTotals", "voxel_totals"]

FINE_CELLS = 6000
"""Cells from which bins of equal mass, KS and the parts of the Brier score are made."""

_CELLS = 150
_CLASS_CELLS = 15
_CHUNK = 1 << 15  # the tables and a chunk fit a processor's cache


@dataclass(frozen=True)
class VoxelTotals:
    """Sums over the voxels of one region that can be added: exact counts, float64 sums.

    ``bins`` are of the top label, ``classes`` of each class's probability; a region without voxels has none.
    """

    n: int
    nll: float
    brier: float
    bins: Bins
    classes: tuple[Bins, ...] = ()

    def __add__(self, other: "VoxelTotals") -> "VoxelTotals":
        classes = (
            tuple(a + b for a, b in zip(self.classes, other.classes, strict=True))
            if self.classes and other.classes
            else self.classes or other.classes
        )
        return VoxelTotals(
            self.n + other.n, self.nll + other.nll, self.brier + other.brier, self.bins + other.bins, classes
        )

    def figures(self) -> dict[str, float]:
        """NLL (nats per voxel), Brier (0 to 2), and ECE of 15 bins: top label, debiased, class-wise.

        NaN without voxels. The debiased one is a square and may fall below 0.
        """
        n = self.n or float("nan")
        return {
            "nll": self.nll / n,
            "brier": self.brier / n,
            "ece": expected_calibration_error(self.bins.coarsen(15)),
            "ece_squared_debiased": debiased_calibration_error(self.bins.coarsen(15)),
            "classwise_ece": classwise_calibration_error([bins.coarsen(15) for bins in self.classes]),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; :meth:`from_json` reads them back exactly."""
        return {
            "n": self.n,
            "nll": self.nll,
            "brier": self.brier,
            "bins": self.bins.to_json(),
            "classes": [bins.to_json() for bins in self.classes],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "VoxelTotals":
        """Read what :meth:`to_json` wrote."""
        return cls(
            document["n"],
            document["nll"],
            document["brier"],
            Bins.from_json(document["bins"]),
            tuple(map(Bins.from_json, document["classes"])),
        )


def voxel_totals(
    probs: Tensor,
    labels: Tensor,
    mask: Tensor | None = None,
    *,
    head: HeadKind = "softmax",
    ignore: int | None = None,
    cells: int = _CELLS,
    class_cells: int = _CLASS_CELLS,
    rule: LabelRule | None = None,
) -> VoxelTotals:
    """Totals of NLL, Brier, top-label and class-wise calibration over one region, in one pass.

    Args:
        probs: ``(C, *spatial)``, any number of spatial axes.
        labels: reference, ``(*spatial)`` integers 0..C-1; for a sigmoid head 0..C with 0 for none, or
            ``(C, *spatial)`` of 0 and 1 where structures overlap.
        mask: boolean, ``(*spatial)``; all voxels unless given.
        head: ``softmax``; ``sigmoid`` asks C questions of two answers each: NLL and Brier are sums over them,
            and a question counts as answered right if p is on the right side of 0.5 (0.5 says no).
        ignore: label whose voxels take no part; none unless given.
        cells: bins of the top label, a multiple of 15.
        class_cells: bins of each class, a multiple of 15; :data:`FINE_CELLS` for
            :func:`segtrust.metrics.calibration_table`.
        rule: of a sigmoid model: the top label's bins then hold one event per voxel, the one that is shown:
            the set of its structures is right, stated with one minus
            :meth:`~segtrust.decisions.LabelRule.chance_of_error`. Unless given they hold C questions.

    Returns:
        Totals; add those of other scans. The peak memory is that of 32 Ki voxels and of the tables.

    Raises:
        ShapeError: if the axes do not fit.
        ProbabilityError: if the values are no probabilities or labels.

    Note:
        For every sum see :func:`~segtrust.metrics.nll_map`, :func:`~segtrust.metrics.brier_map` and
        :func:`~segtrust.metrics.bin_classes`.
    """
    one_label = labels.ndim == probs.ndim - 1
    if labels.shape[0 if one_label else 1 :] != probs.shape[1:] or (head == "softmax" and not one_label):
        raise ShapeError(
            f"`labels` must have the spatial axes of `probs` ({tuple(probs.shape[1:])}), or those of `probs` "
            f"for a sigmoid head, got {tuple(labels.shape)}."
        )
    if rule is not None and rule.head != head:
        raise ShapeError(f"`rule` and `head` must be of the same head, got {rule.head!r} and {head!r}.")
    tally = _Tally(len(probs), cells, class_cells, head, rule)
    flat, truth = probs.reshape(len(probs), -1), labels.reshape(1 if one_label else len(probs), -1)
    inside = None if mask is None else mask.reshape(-1)
    for begin in range(0, flat.shape[1], _CHUNK):
        part = slice(begin, begin + _CHUNK)
        p, y = flat[:, part], truth[:, part]
        counted = None if inside is None else inside[part]
        if ignore is not None:
            rated = (y != ignore).all(dim=0)
            counted = rated if counted is None else rated & counted
        if counted is not None and not counted.all():
            p, y = p[:, counted], y[:, counted]
        if y.shape[1]:
            tally.take(p, y)
    return tally.totals()


class _Tally:
    """Sums that grow chunk by chunk."""

    def __init__(
        self, channels: int, cells: int, class_cells: int, head: HeadKind, rule: LabelRule | None
    ) -> None:
        self._head: HeadKind = head
        self._rule = rule if head == "sigmoid" else None
        self._channels = channels
        self._cells = class_cells
        self._n, self._nll, self._brier = 0, 0.0, 0.0
        self._bins = Bins.empty(cells)
        self._counts = np.zeros(channels * class_cells, np.int64)
        self._sums = np.zeros(channels * class_cells)
        self._hits = np.zeros(channels * class_cells, np.int64)
        self._offset = torch.arange(channels)[:, None] * class_cells

    def take(self, probs: Tensor, labels: Tensor) -> None:
        """Add voxels: ``probs`` ``(C, n)``, ``labels`` ``(1, n)`` or ``(C, n)``."""
        softmax = self._head == "softmax"
        check_probs(probs, class_axis=0, head=self._head)
        check_labels(labels, self._channels + (not softmax) if len(labels) == 1 else 2)
        p = probs.double().cpu()
        y = labels.long().cpu()
        cell = bin_index(p, self._cells).add_(self._offset)
        if softmax:
            confidence, winner = p.max(dim=0)
            chosen = p.gather(0, y)
            right, hit = winner == y[0], cell.gather(0, y)
            self._brier += float(p.square().sum() - 2 * chosen.sum()) + p.shape[1]
        else:
            yes = (y == torch.arange(1, self._channels + 1)[:, None]) if len(y) == 1 else y == 1
            chosen = torch.where(yes, p, 1 - p)
            hit = cell[yes]
            if self._rule is None:
                confidence, right = torch.maximum(p, 1 - p), (p > 0.5) == yes
            else:  # thresholds are held against the numbers as they came
                confidence = 1 - self._rule.chance_of_error(probs.cpu()).double()
                right = (self._rule.sets(probs.cpu()) == yes).all(dim=0)
            self._brier += float((1 - chosen).square().sum())
        self._n += p.shape[1]
        self._nll -= float(chosen.clamp_min(LEAST_PROBABILITY).log().sum())
        self._bins += bin_voxels(confidence, right, cells=len(self._bins))
        size, flat = len(self._counts), cell.reshape(-1).numpy()
        self._counts += np.bincount(flat, minlength=size)
        self._sums += np.bincount(flat, p.reshape(-1).numpy(), size)
        self._hits += np.bincount(hit.reshape(-1).numpy(), minlength=size)

    def totals(self) -> VoxelTotals:
        """What was added; without voxels there are no classes."""
        tables = (a.reshape(self._channels, -1) for a in (self._counts, self._sums, self._hits))
        classes = tuple(Bins(*rows) for rows in zip(*tables, strict=True))
        return VoxelTotals(self._n, self._nll, self._brier, self._bins, classes if self._n else ())


def pooled(totals: Sequence[VoxelTotals]) -> VoxelTotals:
    """Add totals; of an empty list the totals of no voxels."""
    return reduce(add, totals) if totals else VoxelTotals(0, 0.0, 0.0, Bins.empty(_CELLS))
