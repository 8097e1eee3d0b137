"""`segtrust report`: the page of an evaluation from its JSON."""

import argparse
from pathlib import Path

from segtrust.report.evaluation_page import read_evaluation, write_evaluation_page

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust report`."""
    parser.add_argument(
        "evaluation", type=Path, help="evaluation.json of `evaluate` or `calibrate`, or its folder"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html beside it)")


def run(args: argparse.Namespace) -> int:
    """Write the page.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.
    """
    source = args.evaluation / "evaluation.json" if args.evaluation.is_dir() else args.evaluation
    path = args.out or source.with_name("report.html")
    write_evaluation_page(read_evaluation(source), path)
    print(path.resolve())
    return 0
