"""Do flags find the wrong voxels? Counts of one scan first, figures over scans and subjects second."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segtrust.error_flags import FAILURES, FlagRule, failure_map
from segtrust.errors import ShapeError
from segtrust.evaluate.cases import REGIONS
from segtrust.metrics.bootstrap import Resamples, finite_or_none
from segtrust.metrics.detection import ErrorHistogram, error_aupr, error_auroc
from segtrust.regions import make_regions

__all__ = [
    "ScanErrors",
    "count_errors",
    "detection_figures",
    "flag_figures",
]

WORST = 0.1
"""Share of the scans, those with the worst figures, that is reported beside all."""

_DRAWS = 300

Scores = Mapping[str, NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class FlagCounts:
    """Voxels of a region, how many of them were ``flagged``, and per kind of error (all, flagged)."""

    voxels: int
    flagged: int
    kinds: Mapping[str, tuple[int, int]]

    @property
    def wrong(self) -> int:
        """Wrong voxels."""
        return sum(total for total, _ in self.kinds.values())

    @property
    def hits(self) -> int:
        """Wrong voxels that were flagged."""
        return sum(flagged for _, flagged in self.kinds.values())

    def __add__(self, other: "FlagCounts") -> "FlagCounts":
        kinds = {k: (n + other.kinds[k][0], f + other.kinds[k][1]) for k, (n, f) in self.kinds.items()}
        return FlagCounts(self.voxels + other.voxels, self.flagged + other.flagged, kinds)

    def figures(self) -> dict[str, float]:
        """``recall``, ``precision``, ``flagged`` (share of the voxels); NaN where there is no such voxel."""
        return {
            "recall": _share(self.hits, self.wrong),
            "precision": _share(self.hits, self.flagged),
            "flagged": _share(self.flagged, self.voxels),
        }


@dataclass(frozen=True, eq=False)
class ScanErrors:
    """One scan: scores and kinds of error of its voxels, and histograms per score and region.

    ``scores`` and ``kinds``, indices into :data:`segtrust.error_flags.FAILURES`, hold the ``near`` voxels of
    the band, followed by the rest if the scan was kept ``whole``; ``missed``: wrong voxels outside the band,
    where no flag near the prediction can be, and all wrong voxels.
    """

    id: str
    subject: str
    fold: int
    scores: Mapping[str, NDArray[np.float32]]
    kinds: NDArray[np.uint8]
    histograms: Mapping[str, Mapping[str, ErrorHistogram]]
    missed: tuple[int, int]
    near: int
    whole: bool

    def flags(
        self, score: str, rule: FlagRule, wrong: NDArray[np.int64] | None = None, *, region: str = "band"
    ) -> FlagCounts:
        """Flag voxels by one score and rule.

        Args:
            score: name of the score.
            rule: sets the threshold from the scores of the band.
            wrong: for ``calibrated``: wrong voxels per cell of other scans.
            region: ``band`` or ``volume``: where voxels are flagged and counted.

        Returns:
            Counts in the region.

        Raises:
            ShapeError: for ``volume`` of a scan that was not kept whole.
        """
        if region != "band" and not self.whole:
            raise ShapeError(
                f"flags in {region!r} need a scan that is kept whole, {self.id!r} is not: `whole=True`."
            )
        counted = slice(self.near if region == "band" else None)
        threshold = rule.threshold(self.scores[score][: self.near], wrong=wrong)
        flagged, kinds = self.scores[score][counted] > threshold, self.kinds[counted]
        return FlagCounts(
            flagged.size,
            int(np.count_nonzero(flagged)),
            {
                name: (int(np.count_nonzero(here)), int(np.count_nonzero(here & flagged)))
                for kind, name in enumerate(FAILURES)
                if name != "right"
                for here in [kinds == kind]
            },
        )


def count_errors(  # noqa: PLR0913  # what there is to know about one scan
    scan_id: str,
    subject: str,
    scores: Scores,
    predicted: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    spacing: Sequence[float] | None,
    *,
    valid: NDArray[np.bool_] | None = None,
    fold: int = 0,
    whole: bool = False,
) -> ScanErrors:
    """Measure scores of error on one scan.

    Args:
        scan_id: the scan.
        subject: whose scan it is.
        scores: name -> ``(X, Y, Z)`` in [0, 1], high means likely wrong, such as
            :func:`segtrust.error_flags.probability_scores` of anybody's probabilities.
        predicted: labels that the scores are about.
        reference: labels.
        spacing: millimetres per voxel; ``None`` if unknown.
        valid: voxels that are no padding; all unless given.
        fold: which scans a threshold must not be learnt from together with this one.
        whole: keep the scores outside the band as well, so that flags can be counted in the volume.

    Returns:
        The counts. The band is that of the prediction.
    """
    regions = make_regions(predicted, spacing, valid=valid)
    masks = {"band": regions.band, **{r: regions.masks[r] for r in REGIONS[1:]}}
    wrong = predicted != reference
    parts, kinds = [masks[r] for r in REGIONS[: 1 + whole]], failure_map(predicted, reference)
    return ScanErrors(
        scan_id,
        subject,
        fold,
        {
            name: np.concatenate([score[part] for part in parts]).astype(np.float32)
            for name, score in scores.items()
        },
        np.concatenate([kinds[part] for part in parts]),
        {
            name: {
                region: ErrorHistogram.of(torch.from_numpy(score[mask]), torch.from_numpy(wrong[mask]))
                for region, mask in masks.items()
            }
            for name, score in scores.items()
        },
        (int(np.count_nonzero(wrong & masks["outside"])), int(np.count_nonzero(wrong & masks["volume"]))),
        int(np.count_nonzero(masks["band"])),
        whole,
    )


def detection_figures(scans: Sequence[ScanErrors], regions: Sequence[str] = REGIONS) -> dict[str, Any]:
    """AUROC and AUPR of every score, without any threshold.

    Args:
        scans: measured scans.
        regions: where; every one of :data:`REGIONS` unless given.

    Returns:
        Per score and region: both figures over the voxels of all scans (with a 95 % bootstrap over
        subjects), their mean over scans, their mean over the worst tenth of scans, and the share of wrong
        voxels, which is the AUPR of a score that knows nothing.
    """
    subjects = [scan.subject for scan in scans]
    resamples = Resamples.of(subjects, draws=_DRAWS)
    return {
        name: {
            region: _detection([scan.histograms[name][region] for scan in scans], resamples)
            for region in regions
        }
        for name in scans[0].scores
    }


def _detection(histograms: Sequence[ErrorHistogram], resamples: Resamples) -> dict[str, Any]:
    # sums of counts far below 2^53 are exact in float64, and its product is the fast one
    wrong, right = (
        resamples.times.astype(np.float64)
        @ np.stack([getattr(h, part) for h in histograms]).astype(np.float64)
        for part in ("wrong", "right")
    )
    pools = [ErrorHistogram(*map(_whole, pair)) for pair in zip(wrong, right, strict=True)]
    errors = int(pools[0].wrong.sum())
    table: dict[str, Any] = {"wrong": finite_or_none(_share(errors, errors + int(pools[0].right.sum())))}
    figures: dict[str, Callable[[ErrorHistogram], float]] = {"auroc": error_auroc, "aupr": error_aupr}
    for figure, measure in figures.items():
        table[figure] = {
            "pooled": resamples.interval([measure(pool) for pool in pools], kind="share").to_json(),
            **_over_scans([measure(h) for h in histograms]),
        }
    return table


def _whole(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    return counts.astype(np.int64)


def flag_figures(  # what is measured, by what, learnt where
    scans: Sequence[ScanErrors],
    score: str,
    rule: FlagRule,
    *,
    learnt: NDArray[np.int64] | None = None,
    region: str = "band",
) -> dict[str, Any]:
    """Recall, precision and flagged share by one score and rule, and recall per kind of error.

    Args:
        scans: measured scans.
        score: name of the score.
        rule: sets the threshold, always from the scores of the band.
        learnt: for ``calibrated``: wrong voxels per cell of labelled scans of another role; those of the
            other folds of ``scans`` unless given.
        region: ``band`` or ``volume``: where voxels are flagged and counted.

    Returns:
        ``pooled`` over the voxels of all scans with a 95 % bootstrap over subjects, ``scans`` and ``worst``:
        mean over scans and over the worst tenth of them; ``kinds``: voxels and recall of each kind.
    """
    wrong = dict.fromkeys((scan.fold for scan in scans), learnt)
    if rule.name == "calibrated" and learnt is None:
        wrong = {
            fold: np.sum([s.histograms[score]["band"].wrong for s in scans if s.fold != fold], axis=0)
            for fold in wrong
        }
    counts = [scan.flags(score, rule, wrong[scan.fold], region=region) for scan in scans]
    resamples = Resamples.of([scan.subject for scan in scans], draws=_DRAWS)
    table = resamples.times @ np.array([(c.voxels, c.flagged, c.wrong, c.hits) for c in counts])

    def pooled(figure: str) -> dict[str, Any]:
        over, under = {"recall": (3, 2), "precision": (3, 1), "flagged": (1, 0)}[figure]
        shares = [_share(int(totals[over]), int(totals[under])) for totals in table]
        return resamples.interval(shares, kind="share").to_json()

    total = sum(counts[1:], counts[0])
    return {
        **{
            figure: {
                "pooled": pooled(figure),
                **_over_scans([c.figures()[figure] for c in counts], high_is_good=figure != "flagged"),
            }
            for figure in total.figures()
        },
        "kinds": {
            kind: {"voxels": voxels, "recall": _share(hits, voxels) if voxels else None}
            for kind, (voxels, hits) in total.kinds.items()
        },
    }


def _over_scans(values: Sequence[float], *, high_is_good: bool = True) -> dict[str, float | None]:
    defined = np.sort([value for value in values if np.isfinite(value)])
    if not defined.size:
        return {"scans": None, "worst": None}
    worst = (defined if high_is_good else defined[::-1])[: max(1, round(WORST * defined.size))]
    return {"scans": float(defined.mean()), "worst": float(worst.mean())}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
