"""A model card's figures: per region, with intervals over subjects."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segtrust.errors import ShapeError
from segtrust.evaluate.cases import REGIONS, CaseRecord
from segtrust.evaluate.pools import FIGURES, ErrorPool, Pool, mean_defined, mean_dice
from segtrust.evaluate.ranking import correlation
from segtrust.evaluate.surfaces import SURFACE_FIGURES, SURFACE_TOLERANCE_MM
from segtrust.metrics.bootstrap import cluster_bootstrap

__all__ = ["make_card", "score_correlation"]


def make_card(records: Sequence[CaseRecord], structures: Sequence[str], *, main: str) -> dict[str, Any]:
    """Figures of several systems over the same scans.

    Args:
        records: one per scan.
        structures: names of the structures, in order of their values.
        main: the system whose error detection, missed voxels and ranking are reported.

    Returns:
        JSON: Dice per structure and system; NLL, Brier and ECE per system and region, from pooled voxels;
        error AUROC in the band; missed reference voxels; correlation of scores with Dice. Every figure is
        ``{value, low, high, subjects}``: a 95 % percentile bootstrap over subjects, 1000 draws, seed 0. Where
        spacings are known, ``surfaces`` has HD95 in mm and surface Dice with the number of ``scans`` in which
        they are defined; ``one_sided`` counts structures of scans that one of the two masks alone has: they
        have no distance.

    Raises:
        ShapeError: without records.
    """
    if not records:
        raise ShapeError("a card needs at least one evaluated scan, got none.")
    subjects = [r.subject for r in records]

    def interval(statistic: Callable[[Sequence[int]], float]) -> dict[str, float | int | None]:
        return cluster_bootstrap(subjects, statistic).to_json()

    systems = list(records[0].totals)
    dice = {
        name: {
            "mean": interval(lambda rows, n=name: mean_dice(records, rows, n, None)),  # type: ignore[misc]
            **{
                structure: interval(lambda rows, n=name, k=k: mean_dice(records, rows, n, k))  # type: ignore[misc]
                for k, structure in enumerate(structures)
            },
        }
        for name in systems
    }
    pools = {(n, g): Pool([r.totals[n][g] for r in records]) for n in systems for g in REGIONS}
    calibration = {
        name: {
            region: {
                figure: interval(lambda rows, p=pools[name, region], f=figure: p.figure(rows, f))  # type: ignore[misc]
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
    missed, reference = (sum(r.missed[i] for r in records) for i in (0, 1))
    return {
        "scans": len(records),
        "subjects": len(set(subjects)),
        "systems": {"dice": dice, "calibration": calibration},
        **({"surfaces": {"tolerance_mm": SURFACE_TOLERANCE_MM, "systems": surfaces}} if surfaces else {}),
        "main": main,
        "error_auroc_band": interval(ErrorPool([r.errors[main] for r in records]).auroc),
        "missed": {"voxels": missed, "share": missed / reference if reference else 0.0},
        "score_vs_logit_dice": {
            name: {
                kind: interval(lambda rows, s=name, k=kind: score_correlation(records, rows, s, k, main))  # type: ignore[misc]
                for kind in ("pearson", "spearman")
            }
            for name in ("entropy", "pairwise_dice", "global_mean")
        }
        if all(r.scores is not None for r in records)
        else {},
    }


def _surface(
    records: Sequence[CaseRecord], system: str, figure: str, structure: int | None
) -> dict[str, float | int | None]:
    """One figure of surfaces over the scans in which it is a number; infinite distances are counted."""
    chosen = slice(None) if structure is None else slice(structure, structure + 1)
    measured = [(r.subject, r.surfaces[system][figure][chosen]) for r in records if system in r.surfaces]
    defined = [(subject, values) for subject, values in measured if np.isfinite(values).any()]
    table = np.array([values for _, values in defined])
    numbers = np.where(np.isfinite(table), table, np.nan)
    figures: dict[str, float | int | None] = (
        cluster_bootstrap(
            [s for s, _ in defined], lambda rows: mean_defined(numbers[list(rows)], None)
        ).to_json()
        if defined
        else {"value": None, "low": None, "high": None, "subjects": 0}
    )
    one_sided = sum(int(np.isinf(values).sum()) for _, values in measured)
    return {**figures, "scans": len(defined), **({"one_sided": one_sided} if figure == "hd95" else {})}


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
