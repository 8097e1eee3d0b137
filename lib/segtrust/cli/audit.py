"""`segtrust audit`: whether the trail of who did what is whole, and what it says of a patient."""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segtrust.errors import SettingError
from segtrust.store import StateStore, person_here, state_dir_for

__all__ = ["add_arguments", "run"]

_SECONDS_OF_A_DAY = 86_400.0
_COLUMNS = ("number", "time", "by", "kind", "facts", "hash")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust audit`."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "studies", nargs="?", help="folder of the scans, or DICOMweb URL, as the server has it"
    )
    where.add_argument("--state-dir", type=Path, metavar="DIR", help="the server's setting `state_dir`")
    actions = parser.add_subparsers(dest="action", required=True)
    verify = actions.add_parser(
        "verify", parents=[where], help="find any changed, missing or moved record; prints the last hash"
    )
    verify.add_argument("--has", metavar="HASH", help="a last hash of before: it must still be in the trail")
    export = actions.add_parser("export", parents=[where], help="print records, checked as they are read")
    export.add_argument(
        "--patient", help="only those of a patient, by PatientID or as the rule `subjects` says"
    )
    export.add_argument("--scan", help="only those of a scan, by id")
    export.add_argument("--by", help="only those of a user")
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="(default: jsonl)")
    prune = actions.add_parser(
        "prune", parents=[where], help="drop old records; a checkpoint takes their place, and the rest checks"
    )
    prune.add_argument("--days", type=float, required=True, help="what is younger stays")


def run(args: argparse.Namespace) -> int:
    """Check, print or prune.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if the trail does not check.

    Raises:
        ChainError: if it does not check.
        SettingError: if there is no site.
    """
    store = _open(args)
    if args.action == "verify":
        return _verify(store, args.has)
    if args.action == "prune":
        print(
            f"dropped {store.prune_trail(time.time() - args.days * _SECONDS_OF_A_DAY, person_here())} records"
        )
        return 0
    wanted = _wanted(store, args.patient, args.scan)
    records = (
        record
        for record in store.records()
        if (wanted is None or _names(record) & wanted) and (args.by is None or record.get("by") == args.by)
    )
    _print(records, args.format)
    facts = {"what": "audit trail", **({"patient": store.patient_hash(args.patient)} if args.patient else {})}
    store.append("export", person_here(), facts)
    return 0


def _open(args: argparse.Namespace) -> StateStore:
    if not args.studies and not args.state_dir:
        raise SettingError("name the studies, or the server's `state_dir` with --state-dir.")
    path = state_dir_for(args.studies or "", args.state_dir) / "state.sqlite"
    if not path.is_file():
        raise SettingError(f"a site must have a state file, but there is no {path}. Is --state-dir missing?")
    return StateStore(path)


def _verify(store: StateStore, has: str | None) -> int:
    found = store.verify_trail()
    since = datetime.fromtimestamp(found.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print(f"{found.records} records since {since} check")
    print(f"the last is number {found.end.number}, hash {found.end.hash}")
    if has and all(has not in (record.get("hash"), record.get("last")) for record in store.records()):
        print(f"segtrust: no record has the hash {has[:64]}: the trail is another one.", file=sys.stderr)
        return 1
    return 0


def _wanted(store: StateStore, patient: str | None, scan: str | None) -> set[str] | None:
    if patient is None and scan is None:
        return None
    names = set()
    if patient is not None:
        hashed = store.patient_hash(patient)
        names |= {hashed, *map(store.scan_hash, store.scans_of(hashed))}
    if scan is not None:
        names.add(store.scan_hash(scan))
    return names


def _names(record: Mapping[str, Any]) -> set[str]:
    facts = record.get("facts", {})
    return {str(facts.get("scan")), str(facts.get("patient")), *map(str, facts.get("scans", ()))}


def _print(records: Iterable[Mapping[str, Any]], form: str) -> None:
    if form == "jsonl":
        for record in records:
            print(json.dumps(record, sort_keys=True))
        return
    table = csv.writer(sys.stdout)
    table.writerow(_COLUMNS)
    for record in records:
        cells = {**record, "facts": json.dumps(record.get("facts", {}), sort_keys=True)}
        cells["time"] = datetime.fromtimestamp(float(record["time"]), UTC).isoformat()
        # a name such as =cmd() must stay text in a spreadsheet
        row = [str(cells.get(name, "")) for name in _COLUMNS]
        table.writerow([f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell for cell in row])
