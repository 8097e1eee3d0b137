"""`segtrust compare`: differences of two measured sets, from their records."""

import argparse
import json
from pathlib import Path

from segtrust.evaluate.compare import compare_records, comparison_table
from segtrust.evaluate.records import read_records

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust compare`."""
    parser.add_argument("first", type=Path, help="records of one set, JSON, or the folder of an evaluation")
    parser.add_argument("second", type=Path, help="records of the other set, of the same protocol and scans")
    parser.add_argument(
        "--first-system", metavar="NAME", help="system of the first set (default: its main one)"
    )
    parser.add_argument(
        "--second-system", metavar="NAME", help="system of the second set (default: its main one)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Print the paired differences.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.
    """
    comparison = compare_records(
        *(
            read_records(path / "records.json" if path.is_dir() else path)
            for path in (args.first, args.second)
        ),
        systems=(args.first_system, args.second_system),
    )
    print(json.dumps(comparison.to_json(), indent=1) if args.json else comparison_table(comparison))
    return 0
