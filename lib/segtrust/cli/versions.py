"""`segtrust versions`: which models are at hand, what a version is made of, and which one is served."""

import argparse
import json
from pathlib import Path

from segtrust.cli.recorded import record_version
from segtrust.errors import ModelError, ModelNotFoundError
from segtrust.evaluate.table import card_tables
from segtrust.models import (
    find_models,
    list_versions,
    open_version,
    prune_versions,
    publish_kept,
    roll_back,
    shipped_models_dir,
    why_unpublished,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust versions`."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help="a folder with more models; a site keeps its own in STUDIES/.segtrust/models",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", parents=[where], help="models and their versions, the served one in brackets")
    one = argparse.ArgumentParser(add_help=False, parents=[where])
    one.add_argument("model")
    show = actions.add_parser("show", parents=[one], help="check a version and print its card")
    show.add_argument("--tables", action="store_true", help="print the measured figures as Markdown tables")
    show.add_argument("version", nargs="?", help="id of the version (default: the one that is served)")
    publish = actions.add_parser("publish", parents=[one], help="serve a version that was only kept")
    publish.add_argument("version", help="id of the version")
    back = actions.add_parser("rollback", parents=[one], help="serve an older version again")
    back.add_argument("version", nargs="?", help="id of the version (default: the one served before)")
    prune = actions.add_parser(
        "prune", parents=[one], help="delete old versions, never the one that is served"
    )
    prune.add_argument("--keep", type=int, default=5, help="how many of the newest stay (default: 5)")


def run(args: argparse.Namespace) -> int:
    """List models, print one version's card as JSON or as tables, or change what is served.

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
    model = models[args.model]
    if args.action == "show":
        _show(model, args.version, tables=args.tables)
    elif args.action == "publish":
        version = publish_kept(model, args.version)
        record_version(model, "publication", version)
        print(f"{args.model} {version.id} is served")
    elif args.action == "rollback":
        version = roll_back(model, args.version)
        record_version(model, "roll back", version)
        print(f"{args.model} {version.id} is served")
    else:
        gone = prune_versions(model, keep=args.keep)
        record_version(model, "versions deleted", None, {"versions": gone})
        print(f"{args.model}: deleted {', '.join(gone) or 'nothing'}")
    return 0


def _show(model: Path, version_id: str | None, *, tables: bool) -> None:
    version = open_version(model, version_id)
    if not tables:
        files = len(version.card["files"])
        print(f"{model.name} {version.id}: all {files} files check; digest {version.digest}")
        if reason := why_unpublished(model, version.id):
            print(f"not served: {reason}")
        print(json.dumps(version.card, indent=2, sort_keys=True))
    elif "test" in version.card:
        print(card_tables(version.card))
    else:
        raise ModelError(
            f"{model.name} {version.id} must have figures of test scans for tables, got none on its card. "
            "Label scans whose role is test, then train again."
        )


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
    for version_id in list_versions(folder):
        if reason := why_unpublished(folder, version_id):
            print(f"  {version_id} is not served: {reason}")
    return 0
