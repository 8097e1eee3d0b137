"""What came with a request to say who asks: read here and nowhere else."""

import base64
import binascii
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

__all__ = [
    "BadCredentialsError",
    "Basic",
    "Bearer",
    "path_of",
    "read_credentials",
    "take_key_from_path",
]

_LONGEST = 16_384  # bytes; tokens of providers have a few thousand
_KEY_IN_PATH = re.compile(r"/u/([^/]*)(/.*)?", re.DOTALL)
_OF_BROWSERS = ("sec-fetch-mode", "sec-fetch-site", "sec-fetch-dest", "origin", "referer")


class BadCredentialsError(Exception):
    """What came is not what a client sends that does as HTTP says; the words are for its writer."""


@dataclass(frozen=True)
class Basic:
    """A name and a password."""

    name: str
    password: str


@dataclass(frozen=True)
class Bearer:
    """A key, a session's token, or a provider's token."""

    token: str


def take_key_from_path(scope: Scope) -> str | None:
    """Take ``/u/KEY`` off the front of an address, for clients that can send no header.

    Args:
        scope: of the request; changed in place, so that the web server's own log does not have the key.

    Returns:
        The key; ``None`` if the address has none.

    Raises:
        BadCredentialsError: if a browser asks: it would tell the address to other pages and keep it in its
            history.
    """
    root = scope.get("root_path") or ""
    there = _KEY_IN_PATH.fullmatch(path_of(scope))
    if there is None:
        return None
    key, rest = there[1], there[2] or "/"
    scope["path"] = f"{root}{rest}"
    raw = bytes(scope.get("raw_path") or b"").partition(b"?")[0]
    # the rest of the address as it was sent: after the third slash
    parts = raw.removeprefix(root.encode()).split(b"/", 3)
    scope["raw_path"] = root.encode() + b"/" + (parts[3] if len(parts) > 3 else b"")
    headers = Headers(scope=scope)
    if any(name in headers for name in _OF_BROWSERS):
        raise BadCredentialsError(
            "an address with a key in it is for programs. In a browser open the address without /u/KEY, and "
            "log in with name and password."
        )
    return key


def path_of(scope: Scope) -> str:
    """The decoded path as routes see it: without the prefix of a server that runs below one."""
    path: str = scope["path"]
    root = scope.get("root_path") or ""
    if not root or not path.startswith(root):
        return path
    rest = path[len(root) :]
    return rest if rest[:1] in ("", "/") else path


def read_credentials(scope: Scope) -> Basic | Bearer | None:
    """What the headers say.

    Args:
        scope: of the request.

    Returns:
        Name and password, or a token; ``None`` without either.

    Raises:
        BadCredentialsError: for two headers, or one that is none.
    """
    sent = Headers(scope=scope).getlist("authorization")
    if not sent:
        return None
    if len(sent) > 1:
        raise BadCredentialsError("a request must have one Authorization header, got several.")
    kind, _, value = sent[0].strip().partition(" ")
    value = value.strip()
    if len(sent[0]) > _LONGEST or not value:
        raise BadCredentialsError("the Authorization header must be `Basic ...` or `Bearer ...`.")
    if kind.lower() == "basic":
        return _basic(value)
    if kind.lower() == "bearer":
        return Bearer(value)
    raise BadCredentialsError("the Authorization header must be `Basic ...` or `Bearer ...`.")


def _basic(value: str) -> Basic:
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError) as error:
        raise BadCredentialsError("`Basic` must be followed by name:password, UTF-8, in Base64.") from error
    if not colon:
        raise BadCredentialsError("`Basic` must be followed by name:password, UTF-8, in Base64.")
    return Basic(name, password)
