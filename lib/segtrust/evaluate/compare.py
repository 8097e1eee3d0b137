"""Two sets of records over the same scans: differences with intervals, without running anything again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtrust.errors import SettingError
from segtrust.evaluate.cases import REGIONS, CaseRecord
from segtrust.evaluate.pools import FIGURES, Pool, mean_defined, mean_dice
from segtrust.evaluate.records import RecordSet
from segtrust.evaluate.surfaces import SURFACE_FIGURES, SURFACE_TOLERANCE_MM
from segtrust.metrics.bootstrap import LEAST_SUBJECTS, Interval, cluster_bootstrap, finite_or_none

__all__ = ["Difference", "compare_records", "comparison_table"]

_UNITS = {
    "dice": "",
    "nll": ", nats",
    "brier": ", 0 to 2",
    "ece": ", 15 bins",
    "hd95": ", mm",
    "surface_dice": f", within {SURFACE_TOLERANCE_MM:g} mm",
}


@dataclass(frozen=True)
class Difference:
    """One figure of both sets; ``difference`` is the second less the first."""

    figure: str
    where: str
    first: float
    second: float
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """All differences, and the regions that do not hold the same voxels in both sets."""

    systems: tuple[str, str]
    conditions: tuple[str, str]
    scans: int
    differences: tuple[Difference, ...]
    other_voxels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; ``None`` where a figure is not defined."""
        return {
            "systems": list(self.systems),
            "conditions": list(self.conditions),
            "scans": self.scans,
            "other_voxels": list(self.other_voxels),
            "differences": [
                {
                    "figure": d.figure,
                    "where": d.where,
                    "first": finite_or_none(d.first),
                    "second": finite_or_none(d.second),
                    "difference": d.difference.to_json(),
                }
                for d in self.differences
            ],
        }


def compare_records(
    a: RecordSet, b: RecordSet, *, systems: tuple[str | None, str | None] = (None, None), draws: int = 1000
) -> Comparison:
    """Paired intervals over subjects of Dice, HD95, surface Dice, NLL, Brier score and ECE.

    Args:
        a: first set.
        b: second set, of the same protocol and the same scans in any order.
        systems: which system of each; the main one unless given.
        draws: number of draws of :func:`segtrust.metrics.cluster_bootstrap`, seed 0.

    Returns:
        Second less first: Dice per structure and their mean; HD95 and surface Dice likewise, over the scans
        in which both sets have a number, where spacings are known; NLL, Brier and ECE per region, voxels
        pooled.

    Raises:
        SettingError: if protocol, scans, subjects or structures differ, or a system is unknown.

    Note:
        Both sets see the same draw of subjects.
    """
    _check_alike(a, b)
    by_id = {record.id: record for record in b.records}
    first, second = list(a.records), [by_id[record.id] for record in a.records]
    chosen = (systems[0] or a.main, systems[1] or b.main)
    for name, records in zip(chosen, (first, second), strict=True):
        if name not in records[0].totals:
            raise SettingError(f"the system must be one of {', '.join(records[0].totals)}, got {name!r}.")
    subjects = [record.subject for record in first]
    everyone = range(len(first))

    def difference(
        figure: str,
        where: str,
        has: Sequence[bool],
        of: tuple[Callable[[Sequence[int]], float], Callable[[Sequence[int]], float]],
    ) -> Difference:
        one, two = of
        interval = cluster_bootstrap(subjects, lambda rows: two(rows) - one(rows), where=has, draws=draws)
        return Difference(figure, where, one(everyone), two(everyone), interval)

    differences = [
        difference(
            "dice",
            where,
            [_has(x, chosen[0], k) or _has(y, chosen[1], k) for x, y in zip(first, second, strict=True)],
            (
                lambda rows, k=k: mean_dice(first, rows, chosen[0], k),  # type: ignore[misc]
                lambda rows, k=k: mean_dice(second, rows, chosen[1], k),  # type: ignore[misc]
            ),
        )
        for k, where in [(None, "mean"), *enumerate(a.structures)]
    ]
    differences += _surface_differences(first, second, chosen, a.structures, draws)
    for region in REGIONS:
        one = Pool([r.totals[chosen[0]][region] for r in first])
        two = Pool([r.totals[chosen[1]][region] for r in second])
        differences += [
            difference(
                figure,
                region,
                [x or y for x, y in zip(one.has_voxels, two.has_voxels, strict=True)],
                (
                    lambda rows, p=one, f=figure: p.figure(rows, f),  # type: ignore[misc]
                    lambda rows, p=two, f=figure: p.figure(rows, f),  # type: ignore[misc]
                ),
            )
            for figure in FIGURES
        ]
    other = tuple(
        region
        for region in REGIONS
        if any(
            x.totals[chosen[0]][region].n != y.totals[chosen[1]][region].n
            for x, y in zip(first, second, strict=True)
        )
    )
    return Comparison(chosen, (a.condition, b.condition), len(first), tuple(differences), other)


def _has(record: CaseRecord, system: str, structure: int | None) -> bool:
    dice = record.dice[system]
    return bool(np.isfinite(dice if structure is None else dice[structure]).any())


def _surface_differences(
    first: Sequence[CaseRecord],
    second: Sequence[CaseRecord],
    systems: tuple[str, str],
    structures: Sequence[str],
    draws: int,
) -> list[Difference]:
    """HD95 and surface Dice, of the structures of scans for which both sets have a number."""
    one, two = systems
    pairs = [(x, y) for x, y in zip(first, second, strict=True) if one in x.surfaces and two in y.surfaces]
    differences = []
    for figure in SURFACE_FIGURES if pairs else ():
        values = np.array([(x.surfaces[one][figure], y.surfaces[two][figure]) for x, y in pairs])
        values[~np.isfinite(values).all(axis=1, keepdims=True).repeat(2, axis=1)] = np.nan
        for k, where in ((None, "mean"), *enumerate(structures)):
            chosen = values if k is None else values[:, :, k : k + 1]
            rows = np.flatnonzero(np.isfinite(chosen).any(axis=(1, 2)))
            if not rows.size:
                continue
            table = chosen[rows]
            interval = cluster_bootstrap(
                [pairs[row][0].subject for row in rows],
                lambda picks, t=table: (  # type: ignore[misc]
                    mean_defined(t[list(picks), 1], None) - mean_defined(t[list(picks), 0], None)
                ),
                draws=draws,
            )
            place = where if len(rows) == len(first) else f"{where}, n = {len(rows)}"
            one_value, two_value = (mean_defined(table[:, side], None) for side in (0, 1))
            differences.append(Difference(figure, place, one_value, two_value, interval))
    return differences


def _check_alike(a: RecordSet, b: RecordSet) -> None:
    if not a.records or not b.records:
        raise SettingError("both sets must hold scans, got an empty one.")
    if a.protocol != b.protocol:
        raise SettingError(
            f"both sets must be of one protocol, got {a.protocol[:12]} and {b.protocol[:12]}. "
            "Measure one of them again under the other's protocol."
        )
    owners = [{r.id: r.subject for r in s.records} for s in (a, b)]
    if owners[0] != owners[1]:
        apart = sorted(dict(owners[0].items() ^ owners[1].items()))
        shown = ", ".join(apart[:5]) + (" ..." if len(apart) > 5 else "")
        raise SettingError(
            f"both sets must hold the same scans of the same subjects, got {len(a.records)} and "
            f"{len(b.records)} scans that differ in {len(apart)}: {shown}."
        )
    if a.structures != b.structures:
        raise SettingError(f"both sets must have the same structures, got {a.structures} and {b.structures}.")


def comparison_table(comparison: Comparison) -> str:
    """Write a comparison as a Markdown table.

    Args:
        comparison: of :func:`compare_records`.

    Returns:
        One row per figure; a difference whose interval holds 0 is not marked, any other carries ``*``.
    """
    one, two = comparison.systems
    subjects = comparison.differences[0].difference.subjects
    about = (
        f"n = {comparison.scans} scans of {subjects} subjects; first {comparison.conditions[0]}, second "
        f"{comparison.conditions[1]}. Difference: second less first, 95 %, paired, studentised over "
        f"subjects (at least {LEAST_SUBJECTS}); * where the interval leaves out 0."
    )
    lines = [
        about,
        "",
        f"| figure | where | first: {one} | second: {two} | difference |",
        "|---|---|---|---|---|",
        *(
            f"| {d.figure}{_UNITS[d.figure]} | {d.where} | {d.first:.4f} | {d.second:.4f} | {_shown(d)} |"
            for d in comparison.differences
        ),
    ]
    if comparison.other_voxels:
        names = ", ".join(comparison.other_voxels)
        lines.append(
            f"\nNot the same voxels in both sets: {names}. Each set has the band of its own predictions; "
            "only `volume` can be compared freely."
        )
    return "\n".join(lines)


def _shown(d: Difference) -> str:
    i = d.difference
    if not np.isfinite([i.low, i.high]).all():
        return f"{i.value:+.4f} ({i.method})" if np.isfinite(i.value) else "not defined"
    mark = "*" if i.low > 0 or i.high < 0 else ""
    return f"{i.value:+.4f} ({i.low:+.4f} to {i.high:+.4f}){mark}"
