"""A model card's figures: per region, with intervals over subjects."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from segtrust.errors import ShapeError
from segtrust.evaluate.cases import REGIONS, CaseRecord
from segtrust.evaluate.pools import FIGURES, ErrorPool, Pool, mean_defined
from segtrust.evaluate.ranking import correlation, score_interval
from segtrust.evaluate.surfaces import SURFACE_FIGURES, SURFACE_TOLERANCE_MM
from segtrust.metrics.bootstrap import Interval, Kind, cluster_bootstrap

__all__ = ["make_card", "score_correlation"]


def make_card(records: Sequence[CaseRecord], structures: Sequence[str], *, main: str) -> dict[str, Any]:
    """Figures of several systems over the same scans.

    Args:
        records: one per scan.
        structures: names of the structures, in order of their values.
        main: the system whose error detection, missed voxels and ranking are reported.

    Returns:
        JSON: Dice per structure and system; NLL, Brier and ECE per system and region, from pooled voxels;
        error AUROC in the band; missed reference voxels; ``healthy`` scans, whose reference is empty, and in
        how many of them something is predicted, which is a Dice of 0; correlation of scores with Dice. Every
        figure is ``{value, low, high, subjects, interval}``: 95 %, studentised over the subjects that have
        it, 1000 draws, seed 0, see :func:`segtrust.metrics.cluster_bootstrap`. Where spacings are known,
        ``surfaces`` has HD95 in mm and surface Dice with the number of ``scans`` in which they are defined;
        ``one_sided`` counts structures of scans that one of the two masks alone has: they have no distance.

    Raises:
        ShapeError: without records.
    """
    if not records:
        raise ShapeError("a card needs at least one evaluated scan, got none.")
    subjects = [r.subject for r in records]

    def interval(
        statistic: Callable[[Sequence[int]], float], kind: Kind, where: Sequence[bool] | None = None
    ) -> dict[str, Any]:
        return cluster_bootstrap(subjects, statistic, kind=kind, where=where).to_json()

    systems = list(records[0].totals)
    dice = {
        name: {
            where: _of_structures([r.dice[name] for r in records], subjects, k, "share").to_json()
            for k, where in ((None, "mean"), *enumerate(structures))
        }
        for name in systems
    }
    pools = {(n, g): Pool([r.totals[n][g] for r in records]) for n in systems for g in REGIONS}
    calibration = {
        name: {
            region: {
                figure: interval(
                    lambda rows, p=pools[name, region], f=figure: p.figure(rows, f),  # type: ignore[misc]
                    "amount",
                    pools[name, region].has_voxels,
                )
                for figure in FIGURES
            }
            for region in REGIONS
        }
        for name in systems
    }
    surfaces = {
        name: {
            figure: {
                where: _surface(records, name, figure, k)
                for k, where in ((None, "mean"), *enumerate(structures))
            }
            for figure in SURFACE_FIGURES
        }
        for name in systems
        if any(name in r.surfaces for r in records)
    }
    healthy = [r for r in records if r.missed[1] == 0]  # no voxel of a structure in the reference
    errors = ErrorPool([r.errors[main] for r in records])
    missed, reference = (sum(r.missed[i] for r in records) for i in (0, 1))
    return {
        "scans": len(records),
        "subjects": len(set(subjects)),
        "systems": {"dice": dice, "calibration": calibration},
        **({"surfaces": {"tolerance_mm": SURFACE_TOLERANCE_MM, "systems": surfaces}} if surfaces else {}),
        "main": main,
        "error_auroc_band": interval(errors.auroc, "share", errors.has_voxels),
        "missed": {"voxels": missed, "share": missed / reference if reference else 0.0},
        "healthy": {
            "scans": len(healthy),
            "with_a_prediction": sum(bool(np.isfinite(r.dice[main]).any()) for r in healthy),
        },
        "score_vs_logit_dice": {
            name: {
                kind: score_interval(
                    subjects,
                    [getattr(r.scores, name) for r in records],
                    [r.dice[main] for r in records],
                    kind=kind,
                    of="logit_dice",
                )
                for kind in ("pearson", "spearman")
            }
            for name in ("entropy", "pairwise_dice", "global_mean")
        }
        if all(r.scores is not None for r in records)
        else {},
    }


def _surface(
    records: Sequence[CaseRecord], system: str, figure: str, structure: int | None
) -> dict[str, Any]:
    """One figure of surfaces over the scans in which it is a number; infinite distances are counted."""
    measured = [(r.subject, r.surfaces[system][figure]) for r in records if system in r.surfaces]
    table = np.array([values for _, values in measured], np.float64)
    numbers = np.where(np.isfinite(table), table, np.nan)
    interval = _of_structures(
        numbers, [s for s, _ in measured], structure, "share" if figure == "surface_dice" else "amount"
    )
    chosen = slice(None) if structure is None else slice(structure, structure + 1)
    scans = int(np.isfinite(numbers[:, chosen]).any(axis=1).sum())
    one_sided = int(np.isinf(table[:, chosen]).sum())
    return {**interval.to_json(), "scans": scans, **({"one_sided": one_sided} if figure == "hd95" else {})}


def _of_structures(values: ArrayLike, subjects: Sequence[str], structure: int | None, kind: Kind) -> Interval:
    """Mean of a figure of structures over the scans that have it."""
    table = np.asarray(values, np.float64)
    chosen = slice(None) if structure is None else slice(structure, structure + 1)
    where = np.isfinite(table[:, chosen]).any(axis=1)
    return cluster_bootstrap(
        subjects, lambda rows: mean_defined(table[list(rows)], structure), where=where, kind=kind
    )


def score_correlation(
    records: Sequence[CaseRecord], rows: Sequence[int], score: str, kind: str, system: str
) -> float:
    """Correlation of a scan score with the logit of the mean Dice.

    Args:
        records: evaluated scans with scores.
        rows: which of them, repeats allowed.
        score: name of the score.
        kind: ``pearson`` or ``spearman``.
        system: whose Dice.

    Returns:
        Unitless, in [-1, 1]; NaN with fewer than three scans that have both.

    Source:
        Mehrtash et al. 2020 correlate with logit Dice; Dice is clipped to [.005, .995] here.
    """
    chosen = [records[i] for i in rows]
    values = [None if r.scores is None else getattr(r.scores, score) for r in chosen]
    return correlation(values, [r.dice[system] for r in chosen], kind=kind, of="logit_dice")
