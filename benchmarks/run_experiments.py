"""Trains and judges an experiment of benchmarks/experiments.json inside the split train; resumes.

    python benchmarks/run_experiments.py facts --workers 2

Writes <out>/<model>-<experiment>.json. Members and their probabilities are kept in <runs> and never computed
twice.
"""

import argparse
import hashlib
import json
import shlex
import sys
from pathlib import Path

from segtrust.errors import SegtrustError
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.experiments.crossfit import CrossFit
from segtrust.experiments.findings import findings
from segtrust.experiments.folds import Folds, read_experiments
from segtrust.training.cache import train_members

HERE = Path(__file__).parent


def main() -> int:
    """Train, judge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", help="its name in experiments.json")
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument(
        "--workers", type=int, default=1, help="members trained at the same time (default: 1)"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    try:
        run(args)
    except SegtrustError as error:
        print(f"run_experiments: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Do what the options say."""
    protocol, description = Protocol.read(HERE / "protocol.json"), HERE / "experiments.json"
    check_data(protocol, args.data)
    experiments = read_experiments(description)
    if args.experiment not in experiments:
        raise SegtrustError(f"no experiment {args.experiment!r}. Known: {', '.join(experiments)}.")
    experiment = experiments[args.experiment]
    folds = Folds.read(args.data, protocol)
    runs = experiment.runs(folds)
    weights = train_members(runs, args.runs / "members", workers=args.workers)
    found = {(run.name, run.seed): path for run, path in zip(runs, weights, strict=True)}
    members = {
        (cell.name, fold): [found[r.name, r.seed] for r in cell.runs(folds, fold, experiment.members)]
        for cell in experiment.cells
        for fold in experiment.folds
    }
    judged = list(CrossFit(experiment, folds, members, args.runs / "probabilities", print).judged())
    document = {
        "protocol": protocol.hash,
        "experiments": hashlib.sha256(description.read_bytes()).hexdigest(),
        "command": shlex.join(["python", *sys.argv]),
        "software": software_versions(),
        **findings(experiment, judged),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{experiment.cells[0].spec.name}-{args.experiment}.json"
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
