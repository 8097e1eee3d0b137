"""From probabilities to the labels of a voxel: which structures hold it, and how likely that is wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from segtrust.errors import ShapeError
from segtrust.uncertainty import HeadKind, Threshold, thresholds_like

__all__ = ["LabelRule", "Relation", "label_type", "labels_from_probs"]

Relation = Literal["independent", "nested"]
"""How the structures of a sigmoid head lie to each other: each by itself, or one inside the other."""

_BYTE = 256  # labels that fit into one


@dataclass(frozen=True)
class LabelRule:
    r"""How a model decides on the set of structures that hold a voxel, and on the one label that shows it.

    A softmax head decides for one class: the set holds one structure or none. A sigmoid head decides for each
    structure whether its probability exceeds its threshold.

    Args:
        head: ``softmax`` or ``sigmoid``.
        priority: order in which the structures 1..N of a sigmoid head are painted, from the outermost to the
            innermost if they are nested; ascending unless given.
        threshold: of a sigmoid head, one for all structures or one for each.
        structures: ``nested``: each structure of ``priority`` lies inside the one before it, so that a voxel
            of an inner one belongs to all outer ones, and the label that is painted last says everything.
            ``independent``: nothing is assumed.

    Example:
        >>> rule = LabelRule("sigmoid", structures="nested")
        >>> p = torch.tensor([[0.9], [0.6]])  # tumour, its core
        >>> rule.sets(p)[:, 0].tolist(), rule.labels(p).item(), round(rule.chance_of_error(p).item(), 2)
        ([True, True], 2, 0.4)
    """

    head: HeadKind = "softmax"
    priority: tuple[int, ...] = ()
    threshold: Threshold = 0.5
    structures: Relation = "independent"

    def n_structures(self, channels: int) -> int:
        """Structures of so many channels; the first channel of a softmax head is the background."""
        return channels - (self.head == "softmax")

    def sets(self, probs: Tensor) -> Tensor:
        """Which structures hold each voxel.

        Args:
            probs: ``(C, *spatial)``.

        Returns:
            Boolean, ``(N, *spatial)``.

        Raises:
            ShapeError: if thresholds and channels are not equally many.
        """
        if self.head == "softmax":
            return self.sets_of(labels_from_probs(probs), len(probs) - 1)
        wide = probs if probs.dtype == torch.float64 else probs.float()
        yes = wide > thresholds_like(self.threshold, wide, class_axis=0)
        if self.structures == "nested":
            for outer, inner in self._pairs(len(yes)):
                yes[outer] |= yes[inner]
        return yes

    def labels(self, probs: Tensor) -> Tensor:
        """The label that is shown, ``(*spatial)``; see :func:`labels_from_probs`."""
        return labels_from_probs(probs, head=self.head, priority=self.priority, threshold=self.threshold)

    def sets_of(self, labels: Tensor, n_structures: int) -> Tensor:
        """Which structures hold each voxel of a label map.

        Args:
            labels: ``(*spatial)`` integers 0..N; or the sets themselves, ``(N, *spatial)`` booleans, which
                are returned.
            n_structures: N.

        Returns:
            Boolean, ``(N, *spatial)``; of nested structures a voxel of an inner one is in all outer ones.

        Example:
            >>> LabelRule("sigmoid", structures="nested").sets_of(torch.tensor([0, 1, 2]), 2).tolist()
            [[False, True, True], [False, False, True]]
        """
        if labels.dtype == torch.bool:
            return labels
        values = torch.arange(1, n_structures + 1, device=labels.device)
        held = labels == values.view(-1, *(1,) * labels.ndim)
        if self.structures == "nested":
            for outer, inner in self._pairs(n_structures):
                held[outer] |= held[inner]
        return held

    def chance_of_error(self, probs: Tensor) -> Tensor:
        r"""Chance that the set of a voxel is wrong, if ``probs`` is calibrated; high means unsure.

        .. math:: 1 - \max_c p_c \;\text{(softmax)},\quad
                  1 - \prod_k P(d_k) \;\text{(independent)},\quad
                  1 - (\tilde p_j - \tilde p_{j+1}) \;\text{(nested)}

        with :math:`P(d_k) = p_k` where structure k is said to hold the voxel and :math:`1 - p_k` elsewhere;
        j is the innermost structure that holds it, :math:`\tilde p_j` the largest probability of j and of all
        structures inside it, :math:`\tilde p = 1` around all of them and 0 inside the innermost one.

        Args:
            probs: ``(C, *spatial)``; the decision is that of :meth:`sets`.

        Returns:
            ``(*spatial)`` in [0, 1], float32 (float64 if ``probs`` are). Above one half where a threshold
            decides against the likelier answer.

        Note:
            Whatever the dependence of the structures, the chance lies between the largest and the sum of the
            chances that one of them is wrong (Frechet 1935); independence and nesting choose within.
        """
        wide = (probs if probs.dtype == torch.float64 else probs.float()).clamp(0, 1)
        if self.head == "softmax":
            return 1 - wide.amax(dim=0)
        limits = thresholds_like(self.threshold, wide, class_axis=0)
        if self.structures == "independent":
            right = torch.ones_like(wide[0])
            for p, limit in zip(wide, limits, strict=True):
                right *= torch.where(p > limit, p, 1 - p)
            return 1 - right
        # from the innermost outwards, until a structure holds the voxel: `inside` is the largest probability
        # of the structures passed so far
        inside, chance = torch.zeros_like(wide[0]), torch.zeros_like(wide[0])
        settled = torch.zeros_like(inside, dtype=torch.bool)
        for channel in reversed(self._order(len(wide))):
            holds = (wide[channel] > limits[channel]) & ~settled
            reach = torch.maximum(wide[channel], inside)
            chance = torch.where(holds, 1 - (reach - inside), chance)
            settled |= holds
            inside = torch.where(settled, inside, reach)
        return torch.where(settled, chance, inside)

    def _order(self, n_structures: int) -> list[int]:
        order = [value - 1 for value in self.priority] or list(range(n_structures))
        if sorted(order) != list(range(n_structures)):
            raise ShapeError(
                f"`priority` must order the structures 1 to {n_structures}, got {self.priority}."
            )
        return order

    def _pairs(self, n_structures: int) -> Iterator[tuple[int, int]]:
        """Neighbours (outer, inner), from the innermost pair outwards."""
        order = self._order(n_structures)
        yield from ((order[i], order[i + 1]) for i in reversed(range(n_structures - 1)))


def labels_from_probs(
    probs: Tensor,
    *,
    head: HeadKind = "softmax",
    priority: Sequence[int] = (),
    threshold: Threshold = 0.5,
) -> Tensor:
    """Label of every voxel.

    Args:
        probs: ``(C, *spatial)``.
        head: ``softmax``: the likeliest class. ``sigmoid``: the last structure of ``priority`` that exceeds
            its threshold, so that nested structures are painted from the outer to the inner one.
        priority: order in which structures (1..C) are painted; ascending unless given.
        threshold: for sigmoid heads, one for all structures or one for each.

    Returns:
        ``(*spatial)``, 0 = background; uint8, or int32 for more than 256 classes.

    Raises:
        ShapeError: if thresholds and channels are not equally many.

    Example:
        >>> labels_from_probs(torch.tensor([[0.9, 0.9], [0.2, 0.8]]), head="sigmoid")
        tensor([1, 2], dtype=torch.uint8)
    """
    if head == "softmax":
        # argmax gives the same, nine times slower on a CPU
        return probs.max(dim=0).indices.to(_tensor_type(probs.shape[0]))
    wide = probs if probs.dtype == torch.float64 else probs.float()
    limits = thresholds_like(threshold, wide, class_axis=0)
    labels = torch.zeros(probs.shape[1:], dtype=_tensor_type(probs.shape[0] + 1), device=probs.device)
    for value in priority or range(1, probs.shape[0] + 1):
        labels[wide[value - 1] > limits[value - 1]] = value
    return labels


def label_type(n_classes: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest type that holds the labels of so many classes, background included.

    Args:
        n_classes: at most 65,536.

    Returns:
        uint8 or uint16.

    Example:
        >>> label_type(256).__name__, label_type(257).__name__
        ('uint8', 'uint16')
    """
    return np.uint8 if n_classes <= _BYTE else np.uint16


def _tensor_type(n_classes: int) -> torch.dtype:
    return torch.uint8 if n_classes <= _BYTE else torch.int32  # uint16 lacks operations in PyTorch
