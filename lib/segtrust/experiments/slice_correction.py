"""What correcting a few slices of a scan is worth: by expected error, evenly spaced, by lot, by hindsight."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from segtrust.experiments.crossfit import HeldOut
from segtrust.metrics.bootstrap import cluster_bootstrap
from segtrust.regions import distance_to, in_band
from segtrust.slices import review_axis, slices_to_review
from segtrust.uncertainty import variation_ratio

__all__ = [
    "CHOICES",
    "SliceCounts",
    "correct",
    "evenly_spaced",
    "summarise_slices",
]

CHOICES: Mapping[str, str] = {
    "expected error": "the slices with most expected error",
    "as served": "the same, one slice in ten drawn by lot instead",
    "even, predicted": "evenly spaced through the predicted structures",
    "lot, predicted": "drawn by lot from those through the predicted structures",
    "even, all": "evenly spaced through the scan",
    "lot, all": "drawn by lot from all slices of the scan",
    "true error": "the slices with most wrong voxels: known with hindsight only",
}
_DRAWS = 200


@dataclass(frozen=True, eq=False)
class SliceCounts:
    """Voxels per slice: ``predicted``, ``reference``, ``both`` ``(N, slices)``, ``wrong`` ``(slices,)``."""

    predicted: NDArray[np.int64]
    reference: NDArray[np.int64]
    both: NDArray[np.int64]
    wrong: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        predicted: NDArray[np.integer[Any]],
        reference: NDArray[np.integer[Any]],
        n_structures: int,
        *,
        axis: int = 2,
    ) -> Self:
        """Count the voxels of one scan along an axis."""
        others = tuple(a for a in range(predicted.ndim) if a != axis)
        values = range(1, n_structures + 1)

        def per_slice(labels: NDArray[np.integer[Any]], where: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.stack([np.count_nonzero((labels == v) & where, axis=others) for v in values])

        everywhere, right = np.ones(predicted.shape, bool), predicted == reference
        return cls(
            per_slice(predicted, everywhere),
            per_slice(reference, everywhere),
            per_slice(reference, right),
            np.count_nonzero(~right, axis=others),
        )

    def dice(self, corrected: Sequence[int] = ()) -> float:
        """Mean Dice of the structures once some slices are as the reference has them; NaN without any."""
        uncorrected = np.ones(len(self.wrong), bool)
        uncorrected[list(corrected)] = False
        both = np.where(uncorrected, self.both, self.reference).sum(axis=1)
        size = np.where(uncorrected, self.predicted, self.reference).sum(axis=1) + self.reference.sum(axis=1)
        defined = size > 0
        return float((2 * both[defined] / size[defined]).mean()) if defined.any() else float("nan")

    def errors_left(self, corrected: Sequence[int]) -> float:
        """Share of the scan's wrong voxels that lie in slices that were not corrected; 0 without any."""
        total = int(self.wrong.sum())
        return 1 - int(self.wrong[list(corrected)].sum()) / total if total else 0.0


def evenly_spaced(slices: Sequence[int], count: int) -> list[int]:
    """The middles of so many equal parts of a list of slices.

    Args:
        slices: to choose from, in order.
        count: how many; all of them if there are fewer.

    Returns:
        The chosen slices, none twice.

    Example:
        >>> evenly_spaced(range(10, 19), 3)
        [11, 14, 17]
    """
    if count >= len(slices):
        return list(slices)
    return [slices[int((i + 0.5) * len(slices) / count)] for i in range(count)]


@dataclass(frozen=True)
class Corrected:
    """One scan: its Dice as predicted, and per number of slices and choice the Dice and errors left after.

    ``stated``: share of the expected error in the slices of ``expected error``.
    """

    id: str
    subject: str
    before: float
    wrong: int
    slices: tuple[int, int]
    dice: Mapping[int, Mapping[str, float]]
    left: Mapping[int, Mapping[str, float]]
    stated: Mapping[int, float]


def correct(scan: HeldOut, n_structures: int, *, budgets: Sequence[int] = (1, 2, 3, 5)) -> Corrected | None:
    """Correct a few slices of one scan in every way of :data:`CHOICES`.

    Args:
        scan: a prediction with its reference.
        n_structures: N.
        budgets: numbers of slices.

    Returns:
        What was gained; what is drawn by lot is the mean over 200 draws. ``slices`` counts those through the
        predicted structures, and all. ``None`` for an empty prediction, which is a reason to open the scan.
    """
    if not scan.mask.any():
        return None
    axis = review_axis(scan.spacing)
    others = tuple(a for a in range(3) if a != axis)
    counts = SliceCounts.of(scan.mask, scan.labels, n_structures, axis=axis)
    near = in_band(distance_to(scan.mask > 0, scan.spacing)) & scan.valid
    ask = partial(
        slices_to_review,
        variation_ratio(scan.probs[None])[0].numpy(),
        scan.probs.numpy(),
        scan.mask,
        near,
        [str(value) for value in range(1, n_structures + 1)],
        axis=axis,
    )
    through = [int(z) for z in np.flatnonzero((scan.mask > 0).any(axis=others))]
    every = list(range(scan.mask.shape[axis]))
    rng = np.random.default_rng(zlib.crc32(scan.id.encode()))
    dice: dict[int, dict[str, float]] = {}
    left: dict[int, dict[str, float]] = {}
    stated: dict[int, float] = {}
    for budget in budgets:
        top = ask(budget=budget, audit=0)
        stated[budget] = sum(hint.share for hint in top)

        def by_lot(slices: Sequence[int], budget: int = budget) -> list[list[int]]:
            size = min(budget, len(slices))
            return [rng.choice(slices, size, replace=False).tolist() for _ in range(_DRAWS)]

        chosen: dict[str, list[list[int]]] = {
            "expected error": [[hint.index for hint in top]],
            "as served": [[h.index for h in ask(budget=budget, seed=seed)] for seed in range(_DRAWS // 10)],
            "even, predicted": [evenly_spaced(through, budget)],
            "lot, predicted": by_lot(through),
            "even, all": [evenly_spaced(every, budget)],
            "lot, all": by_lot(every),
            "true error": [np.argsort(-counts.wrong, kind="stable")[:budget].tolist()],
        }
        dice[budget] = {
            name: float(np.mean([counts.dice(c) for c in draws])) for name, draws in chosen.items()
        }
        left[budget] = {
            name: float(np.mean([counts.errors_left(c) for c in draws])) for name, draws in chosen.items()
        }
    return Corrected(
        scan.id, scan.subject, counts.dice(), int(counts.wrong.sum()), (len(through), len(every)), dice, left,
        stated,
    )  # fmt: skip


def summarise_slices(scans: Iterable[Corrected]) -> dict[str, Any]:
    """Means over scans, with 95 % intervals over subjects; differences are paired.

    Args:
        scans: every scan that was corrected.

    Returns:
        Plain numbers: per number of slices and choice ``dice``, ``left`` (share of wrong voxels in slices
        that were not corrected), ``less`` (Dice of ``expected error`` less that of the choice).
    """
    named = list(scans)
    subjects = [scan.subject for scan in named]

    def mean(values: Sequence[float]) -> dict[str, Any]:
        array = np.asarray(values)
        return cluster_bootstrap(subjects, lambda rows: float(array[list(rows)].mean())).to_json()

    return {
        "scans": len(named),
        "subjects": len(set(subjects)),
        "slices": {
            "through prediction": float(np.mean([s.slices[0] for s in named])),
            "all": float(np.mean([s.slices[1] for s in named])),
        },
        "wrong_voxels": mean([s.wrong for s in named]),
        "dice_before": mean([s.before for s in named]),
        "budgets": {
            str(budget): {
                "stated_share": mean([s.stated[budget] for s in named]),
                "choices": {
                    name: {
                        "dice": mean([s.dice[budget][name] for s in named]),
                        "left": mean([s.left[budget][name] for s in named]),
                        "less": mean(
                            [s.dice[budget]["expected error"] - s.dice[budget][name] for s in named]
                        ),
                    }
                    for name in CHOICES
                },
            }
            for budget in named[0].dice
        },
    }
