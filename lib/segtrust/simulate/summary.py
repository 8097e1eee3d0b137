"""From the records of all rounds to the figures of a report."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.evaluate.cases import REGIONS
from segtrust.evaluate.records import software_versions
from segtrust.inference.scan import read_labels
from segtrust.metrics.bootstrap import Interval, finite_or_none
from segtrust.metrics.calibration import expected_calibration_error
from segtrust.metrics.voxels import VoxelTotals
from segtrust.simulate.figures import (
    LEAST_GAIN,
    area_under_budget,
    crossed_bootstrap,
    foreground_efficiency,
    penalty_matrix,
    scans_to_reach,
    stop_after,
)
from segtrust.simulate.folder import ReplayFolder
from segtrust.simulate.observe import totals_from_json
from segtrust.simulate.plan import BASELINE, WHOLE_POOL, SimulationPlan

__all__ = ["summarise_simulation"]

Records = Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
Curves = NDArray[np.float64]


def summarise_simulation(
    plan: SimulationPlan, folder: ReplayFolder, replays: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """All figures of a simulation.

    Args:
        plan: what was replayed.
        folder: the scans.
        replays: of :func:`segtrust.simulate.replay.run_simulation`.

    Returns:
        Plain numbers, ``None`` where a figure is not defined. Dice is the mean over structures (1 where
        neither mask has one), then over the scans of a subject, then over subjects and seeds; intervals are
        over seeds and subjects.

    Note:
        See the single figures.
    """
    names = (*plan.strategies, WHOLE_POOL)
    records: Records = {name: list(replays[i :: len(names)]) for i, name in enumerate(names)}
    subjects = sorted(set(folder.evaluation.values()))
    curves = {name: _curves(rounds, subjects) for name, rounds in records.items()}
    full = float(np.nanmean(curves[WHOLE_POOL][:, -1]))
    voxels = _pool_voxels(folder)
    kinds = list(folder.junk.values())
    return {
        "plan": dict(plan.to_json()),
        "pool": {
            "scans": len(folder.pool),
            "subjects": len(set(folder.pool.values())),
            "foreground_voxels": voxels,
            "junk": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        },
        "evaluation": {"scans": len(folder.evaluation), "subjects": len(subjects)},
        "baseline": BASELINE,
        "whole_pool": crossed_bootstrap(curves[WHOLE_POOL][:, -1]).to_json(),
        "strategies": {
            name: {
                "rounds": _rounds(records[name], curves[name]),
                **_against_baseline(plan.counts, curves[name], curves[BASELINE]),
                "efficiency": _efficiency(records[name], curves[name], full=full, voxels=voxels),
                "stop": _stop(plan.counts, curves[name]),
            }
            for name in plan.strategies
        },
        "penalties": penalty_matrix({n: np.nanmean(curves[n], axis=2) for n in plan.strategies}),
        "curves": {
            "subjects": subjects,
            "dice": {
                name: [[[_short(v) for v in row] for row in seed] for seed in curve]
                for name, curve in curves.items()
            },
        },
        "software": software_versions(),
    }


def _curves(replays: Sequence[Sequence[Mapping[str, Any]]], subjects: Sequence[str]) -> Curves:
    """Mean Dice, ``(seeds, rounds, subjects)``.

    A structure in neither mask counts 1, else strategies would be compared on other scans: whether it is in
    the predicted mask depends on the strategy.
    """
    return np.array([[_by_subject(record["judged"], subjects) for record in rounds] for rounds in replays])


def _by_subject(judged: Sequence[Mapping[str, Any]], subjects: Sequence[str]) -> list[float]:
    dice: dict[str, list[float]] = {subject: [] for subject in subjects}
    for scan in judged:
        values = [1.0 if value is None else value for value in scan["dice"]]
        dice[scan["subject"]].append(sum(values) / len(values))
    return [sum(values) / len(values) for values in dice.values()]


def _rounds(replays: Sequence[Sequence[Mapping[str, Any]]], curve: Curves) -> list[dict[str, Any]]:
    rounds = []
    for number, records in enumerate(zip(*replays, strict=True)):
        rounds.append({
            "opened": len(records[0]["opened"]),
            "labelled": _mean([len(record["labelled"]) for record in records]),
            "dice": crossed_bootstrap(curve[:, number]).to_json(),
            "calibration": {region: _calibration(records, region) for region in REGIONS},
            "cost": {
                name: _mean([record["cost"][name] for record in records]) for name in records[0]["cost"]
            },
            "junk": {
                kind: _mean([record["junk"][kind] for record in records]) for kind in records[0]["junk"]
            },
        })  # fmt: skip
    return rounds


def _calibration(records: Sequence[Mapping[str, Any]], region: str) -> dict[str, float | None]:
    """NLL and ECE of the voxels of all judged scans, mean over seeds."""
    figures = [
        reduce(add, (totals_from_json(scan["totals"][region]) for scan in record["judged"]))
        for record in records
    ]
    return {
        "nll": finite_or_none(_mean([totals.nll / (totals.n or np.nan) for totals in figures])),
        "ece": finite_or_none(_mean([_ece(totals) for totals in figures])),
    }


def _ece(totals: VoxelTotals) -> float:
    return expected_calibration_error(totals.bins)


def _against_baseline(counts: Sequence[int], curve: Curves, baseline: Curves) -> dict[str, Any]:
    areas = [area_under_budget(counts, np.moveaxis(each, 1, 2)) for each in (curve, baseline)]
    means = [np.nanmean(each, axis=2) for each in (curve, baseline)]
    target = float(means[1][:, -1].mean())
    return {
        "area": crossed_bootstrap(areas[0]).to_json(),
        "area_less_baseline": crossed_bootstrap(areas[0] - areas[1]).to_json(),
        "final_less_baseline": crossed_bootstrap(curve[:, -1] - baseline[:, -1]).to_json(),
        "scans_to_reach_baseline": scans_to_reach(counts, means[0].mean(axis=0).tolist(), target),
        "scans_to_reach_baseline_by_seed": [
            scans_to_reach(counts, own.tolist(), float(other[-1])) for own, other in zip(*means, strict=True)
        ],
    }


def _efficiency(
    replays: Sequence[Sequence[Mapping[str, Any]]], curve: Curves, *, full: float, voxels: int
) -> float | None:
    shares = [[record["cost"]["foreground_voxels"] / voxels for record in rounds] for rounds in replays]
    return foreground_efficiency(shares, np.nanmean(curve, axis=2), full=full)


def _stop(counts: Sequence[int], curve: Curves) -> dict[str, Any]:
    gains: list[Interval] = [
        crossed_bootstrap(curve[:, number] - curve[:, number - 1]) for number in range(1, curve.shape[1])
    ]
    number = stop_after(gains)
    return {
        "least_gain": LEAST_GAIN,
        "gains": [gain.to_json() for gain in gains],
        "round": number,
        "opened": None if number is None else counts[number - 1],
    }


def _pool_voxels(folder: ReplayFolder) -> int:
    return sum(int((read_labels(folder.files(scan).label)[0] > 0).sum()) for scan in folder.pool)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _short(value: float) -> float | None:
    return finite_or_none(round(float(value), 5))
