"""How narrow intervals of Dice can be, by one score or many; resumes.

    python benchmarks/run_widths.py --runs runs --pools hippocampus hearts

The rule is in docs/decisions/0017-widths.md. Members of two organs, inside train, judge scans of the fold
that they never saw. Writes <out>/widths.json; what is measured of a scan is kept in <runs>/ranking.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import train_heart_folds

from segtrust.errors import SegtrustError
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.evaluate.shifts import SHIFT_SUITE
from segtrust.experiments.fold_ranking import FoldRanking, ScoredScan
from segtrust.experiments.folds import Cell, Folds, read_experiments
from segtrust.experiments.trust import CLEAN, Condition
from segtrust.experiments.widths import (
    Fitted,
    Pool,
    Said,
    Way,
    judge_full,
    judge_ways,
    marginal_width,
    scaled,
    scores_of,
    summary,
    ways,
)
from segtrust.training.cache import train_members
from segtrust.training.cases import read_subjects

HERE = Path(__file__).parent
EXPERIMENT = "facts"
COPIES = tuple(Condition(name, strength) for strength in (3, 2) for name in SHIFT_SUITE)
COPIES_EACH, DRAWS, RESAMPLES, SEED, SEEDS = 3, 40, 1000, 20261130, 17_000
TODAY, FULL = "one score", "ridge of two scores, full conformal"
SIMILAR, LEAST_COVERAGE, LESS_R = 0.02, 0.90, 0.02


@dataclass(frozen=True)
class Part:
    """Scans of these folds are judged, by sets of so many ``subjects`` from the ``calibration`` folds."""

    pool: str
    judged: tuple[int, ...]
    calibration: tuple[int, ...]
    subjects: int


TWO = "hippocampus, two ensembles"
"""Their scores are compared after the mean of each ensemble's scans is taken from them."""
PARTS = {
    "first": (Part(TWO, (0, 3), (0, 3), 20),),
    "choice": (Part("hippocampus", (0, 3), (0, 3), 20), Part("heart", (0, 1), (0, 1), 20)),
    "confirmation": (
        Part("hippocampus rest", (1, 2, 4), (1, 2, 4), 20),
        Part("heart rest", (2,), (1, 2), 20),
    ),
    "confirmation, 30": (Part("hippocampus rest", (1, 2, 4), (1, 2, 4), 30),),
}


def main() -> int:
    """Measure, then write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--heart", type=Path, default=train_heart_folds.heart.FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    try:
        run(args)
    except SegtrustError as error:
        print(f"run_widths: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Do what the options say; a part that was measured before stays in the file."""
    protocol = Protocol.read(HERE / "protocol.json")
    check_data(protocol, args.data)
    path = args.out / "widths.json"
    measured = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else {}
    for name in args.parts:
        measured[name] = measure(
            name, args, protocol, None if name in ("first", "choice") else measured["choice"]
        )
        document = {
            "protocol": protocol.hash,
            "draws": DRAWS,
            "seed": SEED,
            "software": software_versions(),
            "command": "python benchmarks/run_widths.py --runs runs",
            "parts": measured,
        }
        args.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(f"wrote {path}", flush=True)


def measure(
    name: str, args: argparse.Namespace, protocol: Protocol, choice: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Figures of every way in every pool of a part, and what wins in it."""
    tasks: dict[str, Task] = {}
    for part in PARTS[name]:
        pools, folds = pools_of(MEASURED[part.pool](args, protocol), centred=part.pool == TWO)
        tasks[part.pool] = Task(part, pools, drawn(part, folds))
    candidates = [way for way in ways() if name != "first" or way.name != "chosen"]
    for task in tasks.values():
        task.judge(candidates, name)
    more = choice["scaled"] if choice else [TODAY, *narrowest(tasks, candidates)]
    if name == "first":  # slow ones are left out
        more = []
    wider = [scaled(way) for way in candidates if way.name in more]
    for task in tasks.values():
        task.judge(wider, name)
    figures: dict[str, Any] = {"scaled": more, "pools": {n: task.figures() for n, task in tasks.items()}}
    figures["less"] = {}
    for way in sorted({FULL} | ({choice["winner"]} if choice else set())):
        less = np.mean([task.narrower(way) for task in tasks.values()], axis=0)
        low, high = np.quantile(less[1:], [0.025, 0.975])
        figures["less"][way] = {"value": float(less[0]), "low": float(low), "high": float(high)}
    if choice is None:
        figures["winner"] = winner(figures["pools"], (*candidates, *wider, WAY_FULL))
    return figures


class Task:
    """One pool under one part: calibration sets, and what every way says by them."""

    def __init__(self, part: Part, pools: dict[int, Pool], sets: list[tuple[list[int], list[int]]]) -> None:
        self.part, self.pools, self.sets = part, pools, sets
        self.said: dict[str, dict[int, list[Said]]] = {}

    def judge(self, chosen: Sequence[Way], name: str) -> None:
        """Let some ways speak."""
        where = f"{name}, {self.part.pool}"
        self.said |= judge_ways(self.pools, self.sets, chosen, lambda w: print(f"{where}: {w}", flush=True))
        self.said[FULL] = judge_full(self.pools, self.sets, self.said[TODAY])

    def figures(self) -> dict[str, Any]:
        """Numbers for the file."""
        return {
            "subjects": len({i for _, judged in self.sets for i in judged}),
            "calibration": self.part.subjects,
            "marginal": {str(v): marginal_width(pool) for v, pool in self.pools.items()},
            "ways": {way: summary(by, self.pools) for way, by in self.said.items()},
        }

    def narrower(self, way: str) -> np.ndarray:
        """By how much the ratio falls from today's: as it is, then with judged subjects drawn again."""
        count = 1 + max(int(pool.subject.max()) for pool in self.pools.values())
        rng = np.random.default_rng(SEED)
        judged = sorted({i for _, inside in self.sets for i in inside})
        times = np.zeros((RESAMPLES + 1, count))
        times[0, judged] = 1
        for row in times[1:]:
            np.add.at(row, rng.choice(judged, len(judged)), 1)
        found = np.zeros(len(times))
        for value, pool in self.pools.items():
            totals = np.zeros((2, count))
            for sign, name in ((1, TODAY), (-1, way)):
                for said in self.said[name][value]:
                    if said.ordinary:
                        totals[0, said.subject] += sign * (said.ends[1] - said.ends[0])
                        totals[1, said.subject] += sign > 0
            found += times @ totals[0] / (times @ totals[1]) / marginal_width(pool) / len(self.pools)
        return found


def nothing(_pools: Mapping[int, Pool]) -> Mapping[int, Fitted]:
    """A full conformal interval has no fit of its own."""
    return {}


WAY_FULL = Way(FULL, (2, 0, 0, 0), nothing)


def narrowest(tasks: Mapping[str, Task], candidates: Sequence[Way]) -> list[str]:
    """The three ways with the lowest ratio, mean over pools."""
    ratio = {
        way.name: np.mean([summary(task.said[way.name], task.pools)["ratio"] for task in tasks.values()])
        for way in candidates
        if way.name != TODAY
    }
    return sorted(ratio, key=lambda name: float(ratio[name]))[:3]


def winner(pools: Mapping[str, Any], candidates: Sequence[Way]) -> str:
    """What the rule chooses."""

    def may(way: str) -> bool:
        return all(
            part["ways"][way]["coverage"] >= LEAST_COVERAGE
            and part["ways"][way]["r_copies"] >= part["ways"][TODAY]["r_copies"] - LESS_R
            for part in pools.values()
        )

    ratio = {
        w.name: float(np.mean([part["ways"][w.name]["ratio"] for part in pools.values()])) for w in candidates
    }
    allowed = [way for way in candidates if may(way.name)]
    best = min(ratio[way.name] for way in allowed)
    close = [way for way in allowed if ratio[way.name] <= best + SIMILAR]
    return min(close, key=lambda way: (way.cost, ratio[way.name])).name


def drawn(part: Part, folds: Mapping[int, int]) -> list[tuple[list[int], list[int]]]:
    """Calibration sets and who is judged by each."""
    rng = np.random.default_rng(SEED)
    inside = [s for s, fold in folds.items() if fold in part.calibration]
    judged = [s for s, fold in folds.items() if fold in part.judged]
    sets = []
    for _ in range(DRAWS):
        chosen = sorted(rng.choice(inside, part.subjects, replace=False).tolist())
        sets.append((chosen, [s for s in judged if s not in chosen]))
    return sets


def pools_of(
    scans: Sequence[tuple[bool, ScoredScan]], *, centred: bool
) -> tuple[dict[int, Pool], dict[int, int]]:
    """Structure -> its scans; subject -> fold. A score that any scan lacks takes no part: all have them."""
    number = {name: i for i, name in enumerate(sorted({scan.subject for _, scan in scans}))}
    rows: dict[int, list[tuple[int, np.ndarray, float, bool]]] = {}
    for ordinary, scan in scans:
        for value, truth in scan.truth.items():
            details, y = scan.scores.details[value], truth.targets()["dice"]
            if details.entropy is not None and y is not None:
                rows.setdefault(value, []).append((number[scan.subject], scores_of(details), y, ordinary))
    pools = {
        value: Pool(
            np.array([r[0] for r in part]),
            np.array([r[1] for r in part]),
            np.array([r[2] for r in part]),
            np.array([r[3] for r in part]),
        )
        for value, part in rows.items()
    }
    folds = {number[scan.subject]: scan.fold for _, scan in scans}
    return {v: without_folds(pool, folds) if centred else pool for v, pool in pools.items()}, folds


def without_folds(pool: Pool, folds: Mapping[int, int]) -> Pool:
    """Scores less their mean over the scans, as they are, of the same fold."""
    of, x = np.array([folds[subject] for subject in pool.subject.tolist()]), pool.x.copy()
    for fold in np.unique(of):
        x[of == fold] -= x[(of == fold) & pool.ordinary].mean(axis=0)
    return replace(pool, x=x)


def one_ensemble(cell: Cell, folds: Folds, judged: tuple[int, ...], trained: tuple[int, ...], size: int,
                 args: argparse.Namespace, seed: int) -> list[tuple[bool, ScoredScan]]:  # fmt: skip
    """Scans of some folds, all judged by one ensemble that was trained on others, as a site sees them."""
    number = {fold: int(fold in judged) for fold in (*judged, *trained)}
    halves = Folds(folds.data, {s: number[f] for s, f in folds.fold_of.items() if f in number})
    runs = [replace(run, seed=SEEDS + run.seed) for run in cell.runs(halves, 1, size)]
    members = train_members(runs, args.runs / "members", say=lambda line: print(line, flush=True))
    scans = scored(cell, halves, {1: members}, args.runs, seed, among=True)
    subjects = read_subjects(folds.data)
    fold_of = {subjects.get(scan, scan): fold for scan, fold in folds.fold_of.items()}
    return [(ordinary, replace(scan, fold=fold_of[scan.subject])) for ordinary, scan in scans]


def hippocampus(
    judged: tuple[int, ...], trained: tuple[int, ...]
) -> Callable[..., list[tuple[bool, ScoredScan]]]:
    """Five small members."""

    def scans(args: argparse.Namespace, protocol: Protocol) -> list[tuple[bool, ScoredScan]]:
        experiment = read_experiments(HERE / "experiments.json")[EXPERIMENT]
        assert experiment.scored is not None  # the experiment names whose scores are compared
        name, size = experiment.scored
        cell = next(cell for cell in experiment.cells if cell.name == name)
        folds = Folds.read(args.data, protocol)
        return one_ensemble(cell, folds, judged, trained, size, args, protocol.shift_seed)

    return scans


def two_ensembles(args: argparse.Namespace, protocol: Protocol) -> list[tuple[bool, ScoredScan]]:
    """Five small members for each of two folds, as `run_doubt.py` has them."""
    experiment = read_experiments(HERE / "experiments.json")[EXPERIMENT]
    assert experiment.scored is not None  # the experiment names whose scores are compared
    name, size = experiment.scored
    cell = next(cell for cell in experiment.cells if cell.name == name)
    folds = Folds.read(args.data, protocol)
    members = {f: train_members(cell.runs(folds, f, size), args.runs / "members") for f in (0, 3)}
    return scored(cell, folds, members, args.runs, protocol.shift_seed, among=False)


def hearts(judged: tuple[int, ...], trained: tuple[int, ...]) -> Callable[..., list[tuple[bool, ScoredScan]]]:
    """Three small members."""

    def scans(args: argparse.Namespace, protocol: Protocol) -> list[tuple[bool, ScoredScan]]:
        folds = train_heart_folds.heart_folds(args.runs, args.heart)
        cell, size = train_heart_folds.CELL, train_heart_folds.MEMBERS
        return one_ensemble(cell, folds, judged, trained, size, args, protocol.shift_seed)

    return scans


MEASURED = {
    TWO: two_ensembles,
    "hippocampus": hippocampus((0, 3), (1, 2, 4)),
    "hippocampus rest": hippocampus((1, 2, 4), (0, 3)),
    "heart": hearts((0, 1), (2,)),
    "heart rest": hearts((1, 2), (0,)),
}


def scored(
    cell: Cell,
    folds: Folds,
    members: Mapping[int, Sequence[Path]],
    runs: Path,
    seed: int,
    *,
    among: bool,
) -> list[tuple[bool, ScoredScan]]:
    """One scan of every subject, and three worsened copies."""
    ranking = FoldRanking(
        cell,
        folds,
        members,
        seed=seed,
        cache=runs / "ranking",
        say=lambda line: print(line, flush=True),
        among=among,
    )
    clean = ranking.scans(CLEAN)
    most = max(sum(scan.fold == fold for scan in clean) for fold in members)
    copies = [
        scan
        for row in range(most)
        for k in range(COPIES_EACH)
        for scan in ranking.scans(COPIES[(COPIES_EACH * row + k) % len(COPIES)], slice(row, row + 1))
    ]
    return [*((True, scan) for scan in clean), *((False, scan) for scan in copies)]


if __name__ == "__main__":
    sys.exit(main())
