"""Measures how far a model can be trusted, by protocol.json and targets.json; resumes where it was stopped.

    python benchmarks/run_trust.py --model lib/segtrust/shipped/hippocampus --role val

Writes <out>/<model>-<role>-records.json (for `segtrust compare`) and <out>/<model>-<role>-trust.json. The
role `test` is opened once per release; on `val` the calibrators were fitted to the very scans (`in_sample`).
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

from segtrust.errors import SegtrustError
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import write_records
from segtrust.experiments.trust import CLEAN, TrustBenchmark, shift_conditions
from segtrust.models import open_version
from segtrust.training.cases import read_splits

HERE = Path(__file__).parent


def main() -> int:
    """Measure, then write two files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--version", help="id of the version (default: the one that is served)")
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument(
        "--role", choices=("val", "test"), default="val", help="scans to measure (default: val)"
    )
    parser.add_argument("--limit", type=int, help="only the first so many scans of each role, to try it out")
    parser.add_argument("--clean-only", action="store_true", help="without the shift suite")
    parser.add_argument("--cache", type=Path, default=Path("runs") / "trust", help="default: runs/trust")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    try:
        run(args)
    except SegtrustError as error:
        print(f"run_trust: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Do what the options say."""
    command = shlex.join(["python", *sys.argv])
    protocol = Protocol.read(HERE / "protocol.json")
    check_data(protocol, args.data)
    splits = read_splits(args.data)
    benchmark = TrustBenchmark(
        open_version(args.model, args.version),
        protocol,
        args.data,
        calibration=splits["val"][: args.limit],
        cache=args.cache,
        say=lambda line: print(line, flush=True),
    )
    ids = splits[args.role][: args.limit]
    clean = benchmark.records(ids, CLEAN)
    conditions = () if args.clean_only else shift_conditions()
    shifted = {condition: benchmark.records(ids, condition) for condition in conditions}
    args.out.mkdir(parents=True, exist_ok=True)
    stem = f"{benchmark.version.spec.name}-{args.role}" + (f"-first{args.limit}" if args.limit else "")
    write_records(
        args.out / f"{stem}-records.json", benchmark.record_set(clean, role=args.role, command=command)
    )
    targets = json.loads((HERE / "targets.json").read_text(encoding="utf-8"))
    result = benchmark.result(clean, shifted, role=args.role, command=command, targets=targets)
    path = args.out / f"{stem}-trust.json"
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
