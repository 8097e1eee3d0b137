"""What an experiment found: a row per system, differences from the first cell, scores against Dice."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from segtrust.evaluate.cases import CaseRecord
from segtrust.evaluate.pools import FIGURES, ErrorPool, Pool, mean_dice
from segtrust.evaluate.ranking import SCORES, correlation
from segtrust.experiments.crossfit import CALIBRATOR, Judged, system_name
from segtrust.experiments.folds import Experiment
from segtrust.metrics.bootstrap import Kind, cluster_bootstrap, finite_or_none

__all__ = ["findings", "system_figures"]

Statistic = Callable[[Sequence[int]], float]
"""Takes rows of scans, repeats allowed, and returns a figure."""


def findings(experiment: Experiment, judged: Sequence[Judged]) -> dict[str, Any]:
    """Figures of an experiment.

    Args:
        experiment: what was run.
        judged: every held-out scan.

    Returns:
        ``systems``: per cell, size and kind of calibrator :func:`system_figures` over all scans with a 95 %
        interval over subjects, and per fold; ``differences``: the largest size, calibrated, less the same of
        the first cell, paired; ``scores``: Pearson correlation with logit Dice within each fold, and their
        mean.
    """
    records = [j.record for j in judged]
    folds = {fold: [i for i, j in enumerate(judged) if j.fold == fold] for fold in experiment.folds}
    figures = {name: system_figures(records, name) for name in records[0].totals}
    subjects = [record.subject for record in records]

    def summary(figure: str, of: Statistic) -> dict[str, Any]:
        return {
            **cluster_bootstrap(subjects, of, kind=kind_of(figure)).to_json(),
            "folds": [finite_or_none(of(rows)) for rows in folds.values()],
        }

    def less(name: str, base: str, figure: str) -> dict[str, Any]:
        one, two = figures[name][figure], figures[base][figure]
        return cluster_bootstrap(subjects, lambda rows: one(rows) - two(rows)).to_json()

    last = experiment.sizes[-1]
    base, *others = (system_name(cell.name, last, CALIBRATOR) for cell in experiment.cells)
    return {
        "scans": len(records),
        "subjects": len(set(subjects)),
        "systems": {
            name: {figure: summary(figure, of) for figure, of in by.items()} for name, by in figures.items()
        },
        "differences": {
            "base": base,
            "systems": {name: {f: less(name, base, f) for f in figures[name]} for name in others},
        },
        "scores": _scores(judged, folds.values(), system_name(*experiment.scored, CALIBRATOR))
        if experiment.scored
        else {},
    }


def system_figures(
    records: Sequence[CaseRecord], name: str, regions: Sequence[str] = ("band", "volume")
) -> dict[str, Statistic]:
    """Figures of one system over any rows of some scans.

    Args:
        records: evaluated scans.
        name: the system.
        regions: some of :data:`segtrust.evaluate.cases.REGIONS`.

    Returns:
        ``dice`` (mean over scans and structures); ``nll``, ``brier`` and ``ece`` of each region, as in
        ``nll_band``; ``error_auroc_band``, of wrong voxels by entropy.
    """
    pools = {region: Pool([r.totals[name][region] for r in records]) for region in regions}
    errors = ErrorPool([r.errors[name] for r in records])
    return {
        "dice": lambda rows: mean_dice(records, rows, name, None),
        **{
            f"{figure}_{region}": partial(pool.figure, name=figure)
            for region, pool in pools.items()
            for figure in FIGURES
        },
        "error_auroc_band": errors.auroc,
    }


def kind_of(figure: str) -> Kind:
    """What one of :func:`system_figures` can be: Dice and AUROC are shares, all others amounts."""
    return "share" if figure.startswith(("dice", "error_auroc")) else "amount"


def _scores(judged: Sequence[Judged], folds: Any, system: str) -> dict[str, Any]:  # noqa: ANN401
    def within(values: Sequence[float | None]) -> dict[str, Any]:
        per_fold = [
            correlation(
                [values[i] for i in rows],
                [judged[i].record.dice[system] for i in rows],
                kind="pearson",
                of="logit_dice",
            )
            for rows in folds
        ]
        return {
            "mean": finite_or_none(float(np.mean(per_fold))),
            "folds": [finite_or_none(f) for f in per_fold],
        }

    table = {
        score: within([None if j.record.scores is None else getattr(j.record.scores, score) for j in judged])
        for score in SCORES
    }
    return table | {
        f"entropy, {name}": within([j.entropies[name] for j in judged]) for name in judged[0].entropies
    }
