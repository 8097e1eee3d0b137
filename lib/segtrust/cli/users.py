"""`segtrust users`: who may log in at the server, as what, and with which keys."""

import argparse
import getpass
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from segtrust.errors import SettingError
from segtrust.label.login.accounts import RANKS, User, UsersFile
from segtrust.store.place import state_dir_for

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust users`."""
    where = argparse.ArgumentParser(add_help=False)
    place = where.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--studies", metavar="DIR", help="folder of the scans, or DICOMweb URL, as the server has it"
    )
    place.add_argument("--state-dir", type=Path, metavar="DIR", help="the server's setting `state_dir`")
    place.add_argument("--file", type=Path, metavar="FILE", help="the server's setting `users_file`")
    actions = parser.add_subparsers(dest="action", required=True)
    add = actions.add_parser(
        "add",
        parents=[where],
        help="add a user, or change role and password; the password is asked for, or read from stdin",
    )
    add.add_argument("name")
    add.add_argument("--role", required=True, choices=RANKS)
    add.add_argument("--no-password", action="store_true", help="keys only; an existing password stays")
    actions.add_parser("list", parents=[where], help="users, roles and keys")
    remove = actions.add_parser("remove", parents=[where], help="remove a user with all keys")
    remove.add_argument("name")
    key = actions.add_parser("key", parents=[where], help="make a key for a program; it is shown once")
    key.add_argument("name", help="the user in whose name the program acts")
    key.add_argument("--role", choices=RANKS, help="at most that of the user (default: that)")
    key.add_argument("--note", default="", help="what the key is for")
    revoke = actions.add_parser("revoke", parents=[where], help="take a key back")
    revoke.add_argument("key", help="its first part, as `list` shows it")


def run(args: argparse.Namespace) -> int:
    """List or change users.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.

    Raises:
        SettingError: if something must not be so.
    """
    state_dir = None if args.file else state_dir_for(args.studies or "", args.state_dir)
    users = UsersFile(args.file or (state_dir or Path()) / "users.json")
    if args.action == "add":
        users.add(args.name, args.role, None if args.no_password else _password())
        print(f"{args.name} is {args.role} ({users.path})")
    elif args.action == "remove":
        users.remove(args.name)
        print(f"{args.name} is removed; labels and the audit trail keep the name")
    elif args.action == "key":
        print(users.add_key(args.name, args.role, args.note))
        print(
            "Shown once, and kept nowhere: give it to the program as `Authorization: Bearer`.",
            file=sys.stderr,
        )
    elif args.action == "revoke":
        users.revoke_key(args.key)
        print(f"{args.key} is revoked")
    else:
        _show(users.users())
    return 0


def _password() -> str:
    """Never an argument, which other users of the machine could read in the list of processes."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise SettingError("both passwords must be the same. Nothing was changed.")
    return password


def _show(users: Mapping[str, User]) -> None:
    for user in users.values():
        print(f"{user.name}  {user.rank}  {'password' if user.password else 'keys only'}")
        for key in user.keys:
            made = datetime.fromtimestamp(key.made, UTC).strftime("%Y-%m-%d")
            print(f"  key {key.id}  {key.rank}  since {made}  {key.note}".rstrip())
    print(f"{len(users)} users")
