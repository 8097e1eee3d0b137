"""`segtrust versions`: which models are at hand, and what a version is made of."""

import argparse
import json
from pathlib import Path

from segtrust.errors import ModelError, ModelNotFoundError
from segtrust.evaluate.table import card_tables
from segtrust.models import find_models, list_versions, open_version, shipped_models_dir

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust versions`."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--models-dir", type=Path, metavar="DIR", help="a folder with more models")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", parents=[where], help="models and their versions")
    show = actions.add_parser("show", parents=[where], help="check a version and print its card")
    show.add_argument("model")
    show.add_argument("--tables", action="store_true", help="print the measured figures as Markdown tables")
    show.add_argument("version", nargs="?", help="id of the version (default: the one that is served)")


def run(args: argparse.Namespace) -> int:
    """List models, or print one version's card as JSON or as tables.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if a version does not check.
    """
    models = find_models(*filter(None, (args.models_dir, shipped_models_dir())))
    if args.action == "list":
        return max((_list_one(name, folder) for name, folder in models.items()), default=0)
    if args.model not in models:
        raise ModelNotFoundError(f"no model {args.model!r}. Known: {', '.join(models) or 'none'}.")
    version = open_version(models[args.model], args.version)
    if args.tables:
        print(card_tables(version.card))
        return 0
    print(f"{args.model} {version.id}: all {len(version.card['files'])} files check; digest {version.digest}")
    print(json.dumps(version.card, indent=2, sort_keys=True))
    return 0


def _list_one(name: str, folder: Path) -> int:
    try:
        served = open_version(folder)
    except ModelError as error:
        print(f"{name}  broken: {error}")
        return 1
    ids = [f"[{i}]" if i == served.id else i for i in list_versions(folder)]
    structures = ", ".join(label.name for label in served.spec.labels)
    print(f"{name}  versions {' '.join(ids)}  members {len(served.members)}  structures {structures}")
    print(f"  {folder}")
    return 0
