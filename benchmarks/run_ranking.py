"""Measures how well each score orders scans by Dice, clean and under each shift, inside train; resumes.

    python benchmarks/run_ranking.py --strengths 1 2 3

Members of benchmarks/experiments.json judge scans of the fold that they never saw, one scan per subject.
Writes <out>/<model>-ranking.json. What is measured of a scan is kept in <runs>/ranking.
"""

import argparse
import json
import sys
from pathlib import Path

from segtrust.errors import SegtrustError
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.experiments.fold_ranking import FoldRanking, completed, expected_by_fold, within_folds
from segtrust.experiments.folds import Folds, read_experiments
from segtrust.experiments.trust import CLEAN, shift_conditions
from segtrust.training.cache import train_members

HERE = Path(__file__).parent
EXPERIMENT = "facts"


def main() -> int:
    """Measure, then write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--strengths", type=int, nargs="+", choices=(1, 2, 3), default=(1, 2, 3))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    try:
        run(args)
    except SegtrustError as error:
        print(f"run_ranking: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Do what the options say."""
    protocol = Protocol.read(HERE / "protocol.json")
    check_data(protocol, args.data)
    experiment = read_experiments(HERE / "experiments.json")[EXPERIMENT]
    assert experiment.scored is not None  # the experiment names whose scores are compared
    name, size = experiment.scored
    cell = next(cell for cell in experiment.cells if cell.name == name)
    folds = Folds.read(args.data, protocol)
    members = {
        fold: train_members(cell.runs(folds, fold, size), args.runs / "members") for fold in experiment.folds
    }
    ranking = FoldRanking(
        cell,
        folds,
        members,
        seed=protocol.shift_seed,
        cache=args.runs / "ranking",
        say=lambda line: print(line, flush=True),
    )
    as_they_are = ranking.scans(CLEAN)
    expected = expected_by_fold(as_they_are)
    clean = completed(as_they_are, expected)
    shifted = {
        str(c): completed(ranking.scans(c), expected)
        for c in shift_conditions()
        if c.strength in args.strengths
    }
    document = {
        "protocol": protocol.hash,
        "experiment": EXPERIMENT,
        "cell": name,
        "members": size,
        "folds": list(experiment.folds),
        "subjects": len(clean),
        "software": software_versions(),
        "command": f"python benchmarks/run_ranking.py --strengths {' '.join(map(str, args.strengths))}",
        "clean": within_folds({str(CLEAN): clean})["conditions"][str(CLEAN)],
        "shifts": within_folds(shifted),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{cell.spec.name}-ranking.json"
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
