"""Adds predicted Dice, verdicts, likeness and excess to the served version of a model, as a new version.

    python benchmarks/run_quality.py --model FOLDER --data ../shared/data/hippocampus

Weights and calibrator stay as they are; only scans of `val` are read. The figures go into the version's card
and to <out>/<model>-quality.json.
"""

import argparse
import json
import sys
from pathlib import Path

from segtrust.errors import SegtrustError
from segtrust.release.quality import add_quality

HERE = Path(__file__).parent


def main() -> int:
    """Fit, publish, and write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder, which gets a new version")
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs") / "probabilities", help="default: runs/probabilities"
    )
    args = parser.parse_args()
    try:
        version = add_quality(
            args.model, args.data, cache=args.cache, say=lambda line: print(line, flush=True)
        )
    except SegtrustError as error:
        print(f"run_quality: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{version.spec.name}-quality.json"
    figures = {"version": version.id, "parent": version.card["parent"], **version.card.get("quality", {})}
    path.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"published version {version.id}; wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
