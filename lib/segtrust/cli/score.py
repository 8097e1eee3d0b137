"""`segtrust score`: score a studies folder without a server, in several processes or on a Ray cluster."""

import argparse

from segtrust.cli.failures import failure_table
from segtrust.cli.options import add_conf, add_folder_of_scans
from segtrust.label.scoring.studies import score_folder
from segtrust.label.settings import AppSettings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust score`."""
    parser.add_argument("model", help="name of the model")
    add_folder_of_scans(parser)
    add_conf(parser, "a setting as the server has it, such as models_dir, state_dir, device or precision")
    parser.add_argument("--workers", type=int, default=1, help="scans scored at the same time (default: 1)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="score on a Ray cluster, or 'local'; needs the extra `ray`"
    )


def run(args: argparse.Namespace) -> int:
    """Score what has no score yet.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if a scan failed, or must be tried again because the device failed or the file was
        gone.
    """
    result = score_folder(
        args.model,
        args.studies,
        AppSettings.from_conf(dict(args.conf)),
        workers=args.workers,
        ray=args.ray,
        say=_say,
    )
    _say(
        f"{result.model} {result.version}: scored {len(result.scores)}, {result.skipped} had a score, "
        f"{len(result.failed)} failed, {len(result.again)} to try again"
    )
    reasons = {
        **result.failed,
        **{scan: f"try again: {reason}" for scan, reason in result.again.items()},
    }
    if reasons:
        _say(f"\n{failure_table(reasons)}")
    return 1 if reasons else 0


def _say(line: str) -> None:
    print(line, flush=True)
