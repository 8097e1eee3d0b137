"""Which number says best how doubtful a scan is, also one with a small or missed structure; resumes.

    python benchmarks/run_doubt.py --runs runs

The rule is in docs/decisions/0014-doubt.md. Members of two organs, inside train, judge scans of
the fold that they never saw. Writes <out>/doubt.json; what is measured of a scan is kept in <runs>/ranking.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import train_heart_folds

from segtrust.errors import SegtrustError
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.evaluate.shifts import SHIFT_SUITE
from segtrust.experiments.doubt import compare, mixed
from segtrust.experiments.fold_ranking import FoldRanking, expected_by_fold
from segtrust.experiments.folds import Cell, Folds, read_experiments
from segtrust.experiments.hard_scans import HARDSHIPS, Hardship
from segtrust.experiments.trust import CLEAN, Condition
from segtrust.training.cache import train_members

HERE = Path(__file__).parent
EXPERIMENT, FOLDS = "facts", (0, 3)
SHIFTS = tuple(Condition(name, 2) for name in list(SHIFT_SUITE)[::2])
EVERY_SECOND = slice(1, None, 2)


def main() -> int:
    """Measure, then write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--heart", type=Path, default=train_heart_folds.heart.FOLDER)
    parser.add_argument(
        "--organs", nargs="+", choices=("hippocampus", "heart"), default=("hippocampus", "heart")
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    try:
        run(args)
    except SegtrustError as error:
        print(f"run_doubt: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Do what the options say; an organ that was measured before stays in the file."""
    protocol = Protocol.read(HERE / "protocol.json")
    check_data(protocol, args.data)
    path = args.out / "doubt.json"
    organs = json.loads(path.read_text(encoding="utf-8"))["organs"] if path.is_file() else {}
    for organ in args.organs:
        organs[organ] = ORGANS[organ](args, protocol)
        document = {
            "protocol": protocol.hash,
            "shifts": [str(shift) for shift in SHIFTS],
            "software": software_versions(),
            "command": "python benchmarks/run_doubt.py",
            "organs": organs,
            "mean": {
                name: float(np.mean([figures["candidates"][name]["mean"] for figures in organs.values()]))
                for name in organs[organ]["candidates"]
            },
        }
        args.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(f"wrote {path}", flush=True)


def hippocampus(args: argparse.Namespace, protocol: Protocol) -> dict[str, Any]:
    """Five small members per fold."""
    experiment = read_experiments(HERE / "experiments.json")[EXPERIMENT]
    assert experiment.scored is not None  # the experiment names whose scores are compared
    name, size = experiment.scored
    cell = next(cell for cell in experiment.cells if cell.name == name)
    folds = Folds.read(args.data, protocol)
    members = {f: train_members(cell.runs(folds, f, size), args.runs / "members") for f in FOLDS}
    return measure(cell, folds, members, args.runs, protocol.shift_seed, (0, 1, 2))


def hearts(args: argparse.Namespace, protocol: Protocol) -> dict[str, Any]:
    """Three small members per fold; slices stay as they are."""
    folds = train_heart_folds.heart_folds(args.runs, args.heart)
    members = train_heart_folds.heart_members(folds, args.runs)
    return measure(train_heart_folds.CELL, folds, members, args.runs, protocol.shift_seed, (0, 1))


ORGANS = {"hippocampus": hippocampus, "heart": hearts}


def measure(  # what an organ is
    cell: Cell,
    folds: Folds,
    members: Mapping[int, Sequence[Path]],
    runs: Path,
    seed: int,
    axes: tuple[int, ...],
) -> dict[str, Any]:
    """Every condition, then every candidate."""
    ranking = FoldRanking(
        cell, folds, members, seed=seed, cache=runs / "ranking", say=lambda line: print(line, flush=True)
    )
    clean = ranking.scans(CLEAN)
    hardest = 1 + int(np.nanmean([scan.dice for scan in clean], axis=0).argmin())
    conditions = {"clean": {"clean": clean}, "shifts": {str(c): ranking.scans(c) for c in SHIFTS}}
    for kind in HARDSHIPS:
        hard = ranking.scans(Hardship(kind, hardest, axes), EVERY_SECOND)
        conditions[kind] = {kind: mixed(clean, hard)}
    return {
        "subjects": len(clean),
        "members": len(next(iter(members.values()))),
        "folds": sorted(members),
        "hardest": next(label.name for label in cell.spec.labels if label.value == hardest),
        "dice": {
            group: float(np.mean([np.nanmean(scan.dice) for scans in part.values() for scan in scans]))
            for group, part in conditions.items()
        },
        "candidates": compare(conditions, expected_by_fold(clean)),
    }


if __name__ == "__main__":
    sys.exit(main())
