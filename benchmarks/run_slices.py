"""What correcting the few slices with most expected error is worth, inside the split train.

    python benchmarks/run_slices.py --runs runs

Members of experiments.json judge scans that they have not seen; they are trained if <runs> has none. Writes
<out>/hippocampus-slices.json.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from segtrust.errors import SegtrustError
from segtrust.evaluate.crossfit import CrossFit
from segtrust.evaluate.experiments import Folds, read_experiments
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.evaluate.slice_correction import CHOICES, correct, summarise

HERE = Path(__file__).parent
SYSTEMS = (("long", "base", 1), ("facts", "dice_ce, instance", 5))
"""Experiment, cell, members: one member after 16 epochs on all scans of train, and an ensemble of five small
ones after 4 epochs on three of the five folds."""


def main() -> int:
    """Judge and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    try:
        protocol = Protocol.read(HERE / "protocol.json")
        check_data(protocol, args.data)
        folds = Folds.read(args.data, protocol)
        document = {
            "protocol": protocol.hash,
            "command": shlex.join(["python", *sys.argv]),
            "software": software_versions(),
            "choices": CHOICES,
            "systems": {
                f"{e}: {cell}; {size}": judge(args, folds, e, cell, size) for e, cell, size in SYSTEMS
            },
        }
    except SegtrustError as error:
        print(f"run_slices: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "hippocampus-slices.json"
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 0


def judge(args: argparse.Namespace, folds: Folds, name: str, cell: str, size: int) -> dict[str, Any]:
    """Correct every held-out scan of one experiment."""
    experiment = read_experiments(HERE / "experiments.json")[name]
    fit = CrossFit.of_cell(experiment, folds, cell, size, args.runs, lambda line: print(line, flush=True))
    n_structures = len(fit.experiment.cells[0].spec.labels)
    found = [correct(scan, n_structures) for scan in fit.predictions()]
    corrected = [scan for scan in found if scan is not None]
    return {"empty_predictions": len(found) - len(corrected), **summarise(corrected)}


if __name__ == "__main__":
    sys.exit(main())
