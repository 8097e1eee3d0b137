"""Passwords as they are kept: Argon2id of the library `cryptography`, in the usual text form."""

import functools
import os
import unicodedata

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from segtrust.errors import SettingError

__all__ = ["hash_password", "is_password", "waste_time"]

_SHORTEST, _LONGEST = 10, 256  # characters
# the smallest that OWASP's cheat sheet names: 19 MiB, two passes, one lane; about 40 ms
_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1


def hash_password(password: str) -> str:
    """What is kept in place of a password.

    Args:
        password: 10 to 256 characters, without control characters.

    Returns:
        ``$argon2id$...`` with parameters, salt and hash.

    Raises:
        SettingError: if it is too short or too long.

    Source:
        RFC 9106; OWASP Password Storage Cheat Sheet; NIST SP 800-63B (no rules but length).
    """
    if not _SHORTEST <= len(password) <= _LONGEST or not password.isprintable():
        raise SettingError(
            f"a password must have {_SHORTEST} to {_LONGEST} characters, none for control, got "
            f"{len(password)}. Several words are easy to remember."
        )
    return _argon2(os.urandom(16)).derive_phc_encoded(_bytes(password))


def is_password(password: str, kept: str) -> bool:
    """Whether this is the password of which :func:`hash_password` made what is kept.

    Takes as long for a wrong password as for the right one.
    """
    if len(password) > _LONGEST:
        waste_time()
        return False
    try:
        Argon2id.verify_phc_encoded(_bytes(password), kept)
    except (InvalidKey, ValueError):  # the latter: what is kept is damaged
        return False
    return True


def waste_time() -> None:
    """Take as long as :func:`is_password`, for a user that does not exist."""
    is_password("nobody's password", _nobody())


@functools.cache
def _nobody() -> str:
    return hash_password("the password of nobody")


def _argon2(salt: bytes) -> Argon2id:
    return Argon2id(salt=salt, length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)


def _bytes(password: str) -> bytes:
    # two keyboards may send one letter in two ways
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
