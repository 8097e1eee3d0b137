"""Proper scores per voxel, and their totals per region."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from segtrust._binning import Bins, bin_voxels
from segtrust._checks import check_labels, check_probs, check_same_space
from segtrust.metrics.calibration import (
    bin_classes,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
)

__all__ = ["VoxelTotals", "brier_map", "nll_map", "voxel_totals"]

_CLAMP = 1e-12
_CELLS = 150


def nll_map(probs: Tensor, labels: Tensor) -> Tensor:
    r"""Negative log-likelihood of the label in every voxel; low is good.

    .. math:: -\ln \max(p_y, 10^{-12})

    Args:
        probs: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``.

    Returns:
        ``(B, *spatial)`` float64, nats.

    Raises:
        ShapeError: if the axes do not fit.
        ProbabilityError: if the values are no probabilities or labels.

    Source:
        standard; clamped so that one voxel cannot decide a scan.

    Example:
        >>> import torch
        >>> import torch
        >>> nll_map(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor([0.6931], dtype=torch.float64)
    """
    _check(probs, labels)
    chosen = probs.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return -chosen.double().clamp_min(_CLAMP).log()


def brier_map(probs: Tensor, labels: Tensor) -> Tensor:
    r"""Brier score in every voxel, summed over all classes; low is good.

    .. math:: \sum_k (p_k - [y = k])^2

    Args:
        probs: ``(B, C, *spatial)``.
        labels: integers ``(B, *spatial)``.

    Returns:
        ``(B, *spatial)`` float64, in [0, 2]; halve it for the two-class definition.

    Raises:
        ShapeError: if the axes do not fit.
        ProbabilityError: if the values are no probabilities or labels.

    Source:
        Brier 1950.

    Example:
        >>> import torch
        >>> import torch
        >>> brier_map(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor([0.5000], dtype=torch.float64)
    """
    _check(probs, labels)
    p = probs.double()
    chosen = p.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return p.square().sum(dim=1) - 2 * chosen + 1


def _check(probs: Tensor, labels: Tensor) -> None:
    check_probs(probs)
    check_same_space("labels", labels, "probs without classes", probs[:, 0])
    check_labels(labels, probs.shape[1])


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
            "classwise_ece": classwise_calibration_error(self.classes),
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


def voxel_totals(probs: Tensor, labels: Tensor, mask: Tensor) -> VoxelTotals:
    """Totals of NLL, Brier and top-label calibration over one region.

    Args:
        probs: ``(C, *spatial)``.
        labels: reference, ``(*spatial)`` integers.
        mask: boolean, ``(*spatial)``.

    Returns:
        Totals; add those of other scans.

    Raises:
        ShapeError: if the axes do not fit.
        ProbabilityError: if the values are no probabilities or labels.

    Source:
        ours.
    """
    chosen, truth = probs[:, mask].T, labels[mask]
    if truth.numel() == 0:
        return VoxelTotals(0, 0.0, 0.0, Bins.empty(_CELLS))
    confidence, label = chosen.max(dim=1)
    return VoxelTotals(
        n=int(truth.numel()),
        nll=float(nll_map(chosen, truth).sum()),
        brier=float(brier_map(chosen, truth).sum()),
        bins=bin_voxels(confidence, label == truth, cells=_CELLS),
        classes=bin_classes(chosen, truth),
    )


def pooled(totals: list[VoxelTotals]) -> VoxelTotals:
    """Add totals; of an empty list the totals of no voxels."""
    empty = VoxelTotals(0, 0.0, 0.0, Bins.empty(_CELLS))
    return sum(totals, empty) if totals else empty
