"""Options that several subcommands have."""

import argparse
from pathlib import Path

__all__ = ["add_conf", "add_folder_of_scans"]


def add_conf(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Declare ``--conf KEY VALUE``, which may be given several times; ``dict(args.conf)`` has them.

    Args:
        parser: of the subcommand.
        meaning: what help says.
    """
    parser.add_argument(
        "--conf", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help=meaning
    )


def add_folder_of_scans(parser: argparse.ArgumentParser) -> None:
    """Declare ``--studies DIR``, which must be given.

    Args:
        parser: of the subcommand.
    """
    parser.add_argument(
        "--studies", type=Path, required=True, metavar="DIR", help="folder of scans that a server labels"
    )
