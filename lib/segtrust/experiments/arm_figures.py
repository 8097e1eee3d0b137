"""What a comparison of arms found: figures with intervals, what a size cuts, differences after Holm."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.evaluate.cases import REGIONS, CaseRecord
from segtrust.evaluate.pools import Pool
from segtrust.evaluate.ranking import paired
from segtrust.experiments.arm_comparison import segment_entropy_name
from segtrust.experiments.findings import kind_of, system_figures
from segtrust.metrics.bootstrap import cluster_bootstrap, finite_or_none
from segtrust.metrics.comparisons import holm, sign_flip_p

__all__ = ["corrected_differences", "entropy_correlations", "relative_cut", "system_intervals"]

Floats = NDArray[np.float64]


def system_intervals(
    records: Sequence[CaseRecord], systems: Sequence[str], figures: Sequence[str] = ()
) -> dict[str, Any]:
    """Figures of every system.

    Args:
        records: evaluated scans.
        systems: their names.
        figures: some of them; all of all regions unless given.

    Returns:
        System -> figure of :func:`~segtrust.experiments.findings.system_figures` -> ``{value, low, high,
        subjects, interval}``, 95 % over subjects.
    """
    subjects = [record.subject for record in records]
    return {
        name: {
            figure: cluster_bootstrap(subjects, of, kind=kind_of(figure)).to_json()
            for figure, of in system_figures(records, name, REGIONS).items()
            if not figures or figure in figures
        }
        for name in systems
    }


def relative_cut(records: Sequence[CaseRecord], one: str, other: str, region: str) -> dict[str, Any]:
    r"""Share of the NLL of one system that another does without, :math:`1 - L_2 / L_1`; high is good.

    Args:
        records: evaluated scans.
        one: the system that is cut.
        other: the system that is held against it.
        region: where the NLL is measured.

    Returns:
        ``{value, low, high, subjects}``; below 0 where the other one is worse.

    Source:
        Mehrtash et al. 2020 report the cut by an ensemble.
    """
    first, second = (Pool([r.totals[name][region] for r in records]) for name in (one, other))
    return cluster_bootstrap(
        [r.subject for r in records],
        lambda rows: 1 - second.figure(rows, "nll") / first.figure(rows, "nll"),
    ).to_json()


def entropy_correlations(
    records: Sequence[CaseRecord], system: str, groups: Sequence[str], structures: int
) -> dict[str, Any]:
    """Pearson correlation of Mehrtash's segment entropy with logit Dice, inside every group.

    Args:
        records: evaluated scans of an :class:`~segtrust.experiments.arm_comparison.ArmComparison`.
        system: a raw system.
        groups: of each scan; ensembles differ between groups, so that only the mean of their correlations is
            a figure.
        structures: their number.

    Returns:
        ``"1"``.. per structure, and ``mean``: mean entropy over structures against mean Dice; each with
        ``{value, low, high, subjects}`` and ``scans``, those where both are defined.

    Source:
        Mehrtash et al. 2020; Dice clipped to [.005, .995].
    """
    values = list(range(1, structures + 1))
    rows = [[r.methods[segment_entropy_name(system, k)] for k in values] for r in records]
    dice = [r.dice[system] for r in records]
    defined = [[e for e in row if e is not None] for row in rows]
    correlations = {"mean": paired([sum(k) / len(k) if k else None for k in defined], dice, "logit_dice")}
    for k in values:
        correlations[str(k)] = paired(
            [row[k - 1] for row in rows], [d[k - 1 : k] for d in dice], "logit_dice"
        )
    subjects, group_of = [r.subject for r in records], np.array(groups)
    return {
        name: {
            **cluster_bootstrap(
                subjects,
                partial(_within, x, y, group_of),
                where=np.isfinite(x) & np.isfinite(y),
                kind="correlation",
            ).to_json(),
            "scans": int((np.isfinite(x) & np.isfinite(y)).sum()),
        }
        for name, (x, y) in correlations.items()
    }


def _within(x: Floats, y: Floats, groups: NDArray[np.str_], drawn: Sequence[int]) -> float:
    rows = np.asarray(drawn)
    rows = rows[np.isfinite(x[rows]) & np.isfinite(y[rows])]
    figures = []
    for group in np.unique(groups):
        a, b = (values[rows[groups[rows] == group]] for values in (x, y))
        if len(a) >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0:
            figures.append(float(np.corrcoef(a, b)[0, 1]))
    return float(np.mean(figures)) if figures else float("nan")


def corrected_differences(
    records: Sequence[CaseRecord], systems: Sequence[str], base: str, figures: Sequence[str]
) -> dict[str, Any]:
    """Paired differences from one system, with p-values corrected for how many systems are compared.

    Args:
        records: evaluated scans; all systems have the same voxels in a region.
        systems: what is compared, one family; ``base`` among them is skipped.
        base: what they are compared with, fixed beforehand.
        figures: those of :func:`~segtrust.experiments.findings.system_figures` to compare.

    Returns:
        System -> figure -> ``{value, low, high, subjects}``; and ``p`` and ``p_holm`` of the difference of
        the band's NLL: signs of the subjects' sums are flipped.

    Source:
        Holm 1979; pairing by subject is ours.
    """
    subjects = [r.subject for r in records]
    own = {name: system_figures(records, name) for name in (base, *systems)}
    others = [name for name in systems if name != base]
    p_values = [sign_flip_p(_subject_sums(records, name, base)) for name in others]
    return {
        name: {
            **{figure: _difference(subjects, own[name][figure], own[base][figure]) for figure in figures},
            "p": finite_or_none(p),
            "p_holm": corrected,
        }
        for name, p, corrected in zip(others, p_values, holm(p_values), strict=True)
    }


def _difference(subjects: Sequence[str], one: Any, two: Any) -> dict[str, Any]:  # noqa: ANN401
    return cluster_bootstrap(subjects, lambda rows: one(rows) - two(rows)).to_json()


def _subject_sums(records: Sequence[CaseRecord], name: str, base: str) -> list[float]:
    """Difference of the NLL summed over the band of each subject's scans."""
    sums: dict[str, float] = {}
    for record in records:
        less = record.totals[name]["band"].nll - record.totals[base]["band"].nll
        sums[record.subject] = sums.get(record.subject, 0.0) + less
    return list(sums.values())
