"""A monotone map of the top label's log odds: a control that assumes no shape, only an order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust.calibrators.guard import unless_worse
from segtrust.calibrators.identity import Identity
from segtrust.calibrators.voxels import (
    CLAMP,
    MIN_SUBJECTS,
    CalibrationVoxels,
    StackedVoxels,
    count_subjects,
    stack_voxels,
)
from segtrust.errors import ModelError, ShapeError
from segtrust.uncertainty import HeadKind, Threshold

__all__ = ["TopLabelIsotonic", "fit_top_label_isotonic"]

_CELLS = 2048
_LOW, _HIGH = -6.0, 27.7  # one in 400 classes to a rest of 1e-12
_LEAD = 1e-6
_CEILING = 1 - 1e-6


@dataclass(frozen=True)
class TopLabelIsotonic:
    r"""A rising map of the winner's log odds to its chance of being right; the other classes share the rest.

    .. math:: l = \ln \frac{m}{1 - m},\quad m' = \max\left(f(l), \frac{r}{1 + r} + 10^{-6}\right)

    ``m`` is the largest probability, ``r`` the runner-up's share of the rest; the other classes keep their
    shares of the rest, ``1 - m'``, so the full order of the classes is kept. A rest of 0 is shared evenly.

    Args:
        at: log odds, rising.
        confidence: value of f there, in [0, 1] and not falling; linear in between, flat beyond the ends.

    Raises:
        ModelError: if the two do not describe a rising map.

    Source:
        Zadrozny & Elkan 2002 (isotonic), applied to the top label only; the bound that keeps the winner is
        ours.

    Example:
        >>> half = TopLabelIsotonic((-1.0, 20.0), (0.7, 0.7))
        >>> half.apply(torch.tensor([[0.6], [0.1], [0.3]]), torch.zeros(1))
        tensor([[0.7000],
                [0.0750],
                [0.2250]])
    """

    at: tuple[float, ...]
    confidence: tuple[float, ...]
    name: ClassVar[str] = "top_label_isotonic"

    def __post_init__(self) -> None:
        f = np.asarray(self.confidence, dtype=np.float64)
        fits = len(self.at) == len(f) > 0 and (np.diff(self.at) > 0).all() and (np.diff(f) >= 0).all()
        if not (fits and f[0] >= 0 and f[-1] <= 1):
            raise ModelError(
                f"{self.name} needs rising log odds and as many rising confidences in [0, 1], got "
                f"{len(self.at)} and {len(f)} numbers."
            )

    def apply(  # what other calibrators need
        self,
        probs: Tensor,
        distance: Tensor,  # noqa: ARG002
        *,
        head: HeadKind = "softmax",
        threshold: Threshold = 0.5,  # noqa: ARG002
    ) -> Tensor:
        """Map each voxel's winner and rescale the rest, in float64.

        Raises:
            ShapeError: for a sigmoid head.
        """
        if head != "softmax":
            raise ShapeError(f"{self.name} needs a softmax head, got {head}. Use a temperature.")
        p = probs.double().clamp_min(0)
        winner = probs.argmax(dim=0, keepdim=True)
        others = p.scatter(0, winner, 0.0)
        rest = others.sum(dim=0)
        odds = _log_odds(p.gather(0, winner)[0].numpy(), rest.numpy())
        mapped = torch.from_numpy(np.interp(odds, self.at, self.confidence))
        even = torch.full_like(p, 1 / (len(p) - 1)).scatter_(0, winner, 0.0)
        shares = torch.where(rest > 0, others / rest.clamp_min(torch.finfo(torch.float64).tiny), even)
        runner_up = shares.amax(dim=0)
        top = torch.maximum(mapped, runner_up / (1 + runner_up) + _LEAD)
        return (
            (shares * (1 - top))
            .scatter_(0, winner, top[None])
            .to(torch.promote_types(probs.dtype, torch.float32))
        )

    def to_json(self) -> dict[str, Any]:
        """Name and the corners of the map."""
        return {"name": self.name, "at": list(self.at), "confidence": list(self.confidence)}


def fit_top_label_isotonic(
    scans: Sequence[CalibrationVoxels], *, least: int = MIN_SUBJECTS
) -> TopLabelIsotonic | Identity:
    """Fit the map by isotonic regression on a histogram of 2048 cells, every subject counting alike.

    Args:
        scans: voxels of calibration scans of a softmax model.
        least: with fewer subjects nothing is fitted.

    Returns:
        The calibrator; identity with fewer than ``least`` subjects, and where the map does not make these
        voxels more likely. f stays below 1 - 1e-6, since no finite
        number of right voxels proves certainty.

    Raises:
        ShapeError: for voxels of a sigmoid head.

    Source:
        scikit-learn's IsotonicRegression (Barlow et al. 1972) with the cells' weights.
    """
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415  # only fitting needs scikit-learn

    if count_subjects(scans) < least:
        return Identity()
    data = stack_voxels(scans)
    if data.labels.ndim == 2:
        raise ShapeError("a map of the top label needs a softmax head, got sigmoid voxels.")
    winner = data.logits.argmax(axis=1)
    rows = np.arange(data.n)
    p = np.exp(data.logits)
    top = p[rows, winner]
    p[rows, winner] = 0
    odds = _log_odds(top, p.sum(axis=1))
    cell = np.clip(((odds - _LOW) / (_HIGH - _LOW) * _CELLS).astype(np.int64), 0, _CELLS - 1)
    weight, hits, sums = (
        np.bincount(cell, data.weight * values, _CELLS) for values in (1.0, winner == data.labels, odds)
    )
    seen = weight > 0
    fitted = IsotonicRegression(y_min=0.0, y_max=_CEILING, out_of_bounds="clip").fit(
        sums[seen] / weight[seen], hits[seen] / weight[seen], sample_weight=weight[seen]
    )
    calibrator = TopLabelIsotonic(
        tuple(float(v) for v in fitted.X_thresholds_), tuple(float(v) for v in fitted.y_thresholds_)
    )
    return unless_worse(calibrator, _nll(calibrator, data), data.nll(np.ones(data.n)))


def _nll(calibrator: TopLabelIsotonic, data: StackedVoxels) -> float:
    q = calibrator.apply(torch.from_numpy(data.logits).exp().T, torch.zeros(data.n)).numpy()
    chosen = q[data.labels, np.arange(data.n)]
    return -float(data.weight @ np.log(np.maximum(chosen, CLAMP)))


def _log_odds(top: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
    """``ln(m / (1 - m))`` with ``1 - m`` taken from the other classes, so that 1 in float32 has an answer."""
    odds: NDArray[np.float64] = np.log(np.maximum(top, CLAMP)) - np.log(np.maximum(rest, CLAMP))
    return odds
