"""`segtrust labels`: labels that were replaced or deleted, listed and restored, without a server."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from segtrust.errors import SettingError
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.label.studies.history import FormerLabel
from segtrust.store import StateStore, state_dir_for

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust labels`."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("studies", type=Path, help="folder of the scans, as the server has it")
    where.add_argument("--state-dir", type=Path, metavar="DIR", help="the server's setting `state_dir`")
    where.add_argument(
        "--keep", type=int, default=20, help="the server's setting `label_history` (default: 20)"
    )
    actions = parser.add_subparsers(dest="action", required=True)
    history = actions.add_parser("history", parents=[where], help="list labels of the past, the newest first")
    history.add_argument("scan", nargs="?", help="id of one scan (default: all)")
    restore = actions.add_parser(
        "restore",
        parents=[where],
        help="make one the label of its scan again; that of now goes to the history",
    )
    restore.add_argument("scan", help="id of the scan")
    restore.add_argument("entry", nargs="?", help="which label, as `history` lists it (default: the newest)")
    restore.add_argument("--by", default="", metavar="NAME", help="who restores it")
    prune = actions.add_parser(
        "prune", parents=[where], help="delete labels of the past, but the newest --keep of each scan and tag"
    )
    prune.add_argument("scan", nargs="?", help="id of one scan (default: all)")


def run(args: argparse.Namespace) -> int:
    """List, restore or prune.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.

    Raises:
        SettingError: if the folder does not exist, or nothing is there to restore.
    """
    if not args.studies.is_dir():
        raise SettingError(
            f"`studies` must be an existing folder, got {str(args.studies)!r}. Labels of a PACS are listed "
            "and restored over the server: /segtrust/labels/history"
        )
    datastore = _open(args)
    scans = [args.scan] if args.scan else datastore.history.scans()
    if args.action == "history":
        _show([former for scan in scans for former in datastore.history.entries(scan)])
    elif args.action == "prune":
        print(f"deleted {sum(datastore.history.prune(scan) for scan in scans)}")
    else:
        entry = args.entry or _newest(datastore, args.scan)
        former = datastore.restore_label(args.scan, entry, by=args.by)
        print(f"restored the label {former.tag!r} of {former.scan} by {former.author or 'somebody'}")
    return 0


def _open(args: argparse.Namespace) -> SafeDatastore:
    store = StateStore(state_dir_for(str(args.studies), args.state_dir) / "state.sqlite")
    return SafeDatastore(
        str(args.studies),
        structures={},
        store=store,
        on_served=store.mark_served,
        keep=args.keep,
        frozen=True,
        extensions=["*.nii.gz", "*.nii", "*.nrrd"],
    )


def _newest(datastore: SafeDatastore, scan: str) -> str:
    entries = datastore.history.entries(scan)
    if not entries:
        raise SettingError(f"`scan` must have labels of the past, but {scan!r} has none. Is the id right?")
    return entries[0].entry


def _show(labels: Sequence[FormerLabel]) -> None:
    for label in sorted(labels, key=lambda label: label.ended, reverse=True):
        ended = datetime.fromtimestamp(label.ended, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        print(
            f"{label.scan}  {label.entry}  {label.tag}  by {label.author or 'unknown'}; {label.reason} "
            f"{ended} by {label.by or 'unknown'}; {label.size} bytes"
        )
    print(f"{len(labels)} labels of the past")
