"""The users' file: names, roles, passwords and keys, changed by `segtrust users` alone."""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import time
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock

from segtrust.errors import SettingError
from segtrust.label.login.passwords import hash_password

__all__ = ["KEY_PREFIX", "RANKS", "Account", "ApiKey", "Rank", "User", "UsersFile", "checked_name", "reaches"]

Rank = Literal["reader", "annotator", "reviewer", "administrator"]
"""Role of a user; each may do what those before it may. (`Role` is that of a patient.)"""
RANKS: tuple[Rank, ...] = get_args(Rank)

KEY_PREFIX = "stk_"
"""Begins every key of a program, so that scanners of source code find one that was published."""

_FORM = 1
_LONGEST_NAME = 64
_NO_NAMES = ("user-xyz",)  # 3D Slicer's setting until somebody changes it: stands for nobody


@dataclass(frozen=True)
class Account:
    """Somebody who proved who they are: name, role, and how.

    ``how`` is ``password``, ``key``, ``session`` or ``openid``.
    """

    name: str
    rank: Rank
    how: str


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A program's key: its public part, the hash of its secret part, its role, and what it is for."""

    id: str
    sha256: str
    rank: Rank
    made: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class User:
    """One user; without ``password`` only keys let them in."""

    name: str
    rank: Rank
    password: str = ""
    made: float = 0.0
    keys: tuple[ApiKey, ...] = ()


def reaches(rank: Rank, needed: Rank) -> bool:
    """Whether a role is the one that is needed, or a higher one.

    Example:
        >>> reaches("reviewer", "annotator"), reaches("reader", "annotator")
        (True, False)
    """
    return RANKS.index(rank) >= RANKS.index(needed)


def checked_name(name: str) -> str:
    """A user's name in its one form.

    Args:
        name: 1 to 64 printable characters without a colon, which HTTP Basic needs for itself.

    Returns:
        The name, composed (NFC).

    Raises:
        SettingError: for any other.
    """
    plain = unicodedata.normalize("NFC", name)
    fits = 0 < len(plain) <= _LONGEST_NAME and plain.isprintable() and ":" not in plain
    if not fits or plain != plain.strip() or plain in _NO_NAMES:
        raise SettingError(
            f"a user's name must have 1 to {_LONGEST_NAME} printable characters, no colon and no space at "
            f"its ends, and not be {', '.join(_NO_NAMES)}, got {name[:_LONGEST_NAME]!r}."
        )
    return plain


@dataclass
class UsersFile:
    """The users of a site.

    Args:
        path: JSON; need not exist. Only its owner may read it.

    Note:
        Read again whenever the file has changed, so that a removed user is out at the next request.
    """

    path: Path
    _read: tuple[tuple[int, int, int], Mapping[str, User]] | None = field(default=None, repr=False)

    def users(self) -> Mapping[str, User]:
        """Name -> user; empty without a file.

        Raises:
            SettingError: if it cannot be read, is not ours, or others may write it.
        """
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return {}
        mark = (state.st_mtime_ns, state.st_size, state.st_ino)
        if self._read is None or self._read[0] != mark:
            self._read = mark, self._load(state)
        return self._read[1]

    def add(self, name: str, rank: Rank, password: str | None) -> None:
        """Add a user, or give one that exists another role or password; keys stay.

        Args:
            name: of the user.
            rank: their role.
            password: ``None`` keeps the one of now; a new user without one has keys only.

        Raises:
            SettingError: for a bad name or password, or a name that differs from another's by case alone.
        """
        name, kept = checked_name(name), None if password is None else hash_password(password)
        with self._change() as users:
            if twin := [n for n in users if n != name and n.casefold() == name.casefold()]:
                raise SettingError(f"names must differ by more than case, got {name!r} beside {twin[0]!r}.")
            old = users.get(name, User(name=name, rank=rank, made=time.time()))
            keys = tuple(key if reaches(rank, key.rank) else replace(key, rank=rank) for key in old.keys)
            users[name] = replace(old, rank=rank, password=old.password if kept is None else kept, keys=keys)

    def remove(self, name: str) -> None:
        """Remove a user with all keys.

        Raises:
            SettingError: if there is none of this name.
        """
        with self._change() as users:
            _known(users, name)
            del users[name]

    def add_key(self, name: str, rank: Rank | None = None, note: str = "") -> str:
        """Make a key for a program that acts in a user's name.

        Args:
            name: of the user.
            rank: role of the key, at most the user's, which is the default.
            note: what it is for.

        Returns:
            The key. It is kept nowhere: show it once.

        Raises:
            SettingError: if there is no such user, or the role is above the user's.
        """
        secret, key_id = secrets.token_urlsafe(32), secrets.token_hex(6)
        with self._change() as users:
            user = _known(users, name)
            rank = rank or user.rank
            if not reaches(user.rank, rank):
                raise SettingError(f"a key's role must not be above {user.rank!r}, its user's, got {rank!r}.")
            key = ApiKey(id=key_id, sha256=_digest(secret), rank=rank, made=time.time(), note=note[:200])
            users[user.name] = replace(user, keys=(*user.keys, key))
        return f"{KEY_PREFIX}{key_id}_{secret}"

    def revoke_key(self, key_id: str) -> None:
        """Take a key back.

        Args:
            key_id: as `segtrust users list` shows it.

        Raises:
            SettingError: if there is no such key.
        """
        with self._change() as users:
            for user in users.values():
                if any(key.id == key_id for key in user.keys):
                    users[user.name] = replace(user, keys=tuple(k for k in user.keys if k.id != key_id))
                    return
            raise SettingError(f"no key {key_id[:40]!r}. `segtrust users list` shows them.")

    def account_of_key(self, text: str) -> Account | None:
        """Whose key this is.

        Args:
            text: what :meth:`add_key` returned.

        Returns:
            The account with the key's role; ``None`` if nobody has this key.
        """
        key_id, _, secret = text.removeprefix(KEY_PREFIX).partition("_")
        digest = _digest(secret)
        for user in self.users().values():
            for key in user.keys:
                if hmac.compare_digest(key.id.encode(), key_id.encode()) and hmac.compare_digest(
                    key.sha256, digest
                ):
                    return Account(user.name, key.rank, "key")
        return None

    def _load(self, state: os.stat_result) -> dict[str, User]:
        if os.name == "posix" and state.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_IROTH):
            raise SettingError(
                f"the users' file {self.path} must be its owner's alone, got mode "
                f"{stat.S_IMODE(state.st_mode):o}: who can write it can log in as anybody. chmod 600 it."
            )
        try:
            return _users(self.path.read_text("utf-8"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingError(
                f"the users' file {self.path} must be one that `segtrust users` wrote, but {error}. Nobody "
                "can log in. Restore it, or remove it and add the users again."
            ) from error

    @contextlib.contextmanager
    def _change(self) -> Iterator[dict[str, User]]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f"{self.path.name}.lock")):
            self._read = None
            users = dict(self.users())
            yield users
            document = {"form": _FORM, "users": {name: _entry(user) for name, user in sorted(users.items())}}
            _replace_private(self.path, json.dumps(document, indent=1, ensure_ascii=False))
            self._read = None


def _users(text: str) -> dict[str, User]:
    document = json.loads(text)
    if document["form"] != _FORM:
        raise ValueError(f"its form is {document['form']!r}, this program knows {_FORM}")
    return {name: _user(name, entry) for name, entry in document["users"].items()}


def _known(users: Mapping[str, User], name: str) -> User:
    if name not in users:
        raise SettingError(f"no user {name[:_LONGEST_NAME]!r}. Known: {', '.join(users) or 'nobody'}.")
    return users[name]


def _entry(user: User) -> dict[str, Any]:
    entry = asdict(user)
    del entry["name"]
    return entry


def _user(name: str, entry: Mapping[str, Any]) -> User:
    keys = tuple(ApiKey(**key) for key in entry["keys"])
    user = User(name=checked_name(name), **{**entry, "keys": keys})
    if wrong := [rank for rank in (user.rank, *(key.rank for key in keys)) if rank not in RANKS]:
        raise ValueError(f"{wrong[0]!r} is no role")
    return user


def _digest(secret: str) -> str:
    # 256 random bits: nobody guesses them, so one pass is enough
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _replace_private(path: Path, text: str) -> None:
    """As :func:`segtrust._files.replace_text`, but at no moment readable by others."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
