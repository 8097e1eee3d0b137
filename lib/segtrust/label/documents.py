"""JSON that clients send, read strictly: what cannot be stored, sent back or counted never gets further."""

import json
import math
from typing import Any

from segtrust.errors import SettingError

__all__ = ["DocumentError", "read_object"]

_MOST_BYTES = 1 << 20
_MOST_NESTED = 32
_LONGEST_NUMBER = 64
_MOST = 2**63


class DocumentError(SettingError):
    """JSON from a client that is none, or that holds what no answer and no file could hold."""

    code = "malformed"


def read_object(text: str | bytes, name: str) -> dict[str, Any]:
    """Read a JSON object that a client sent.

    Args:
        text: the JSON; empty for no options.
        name: what it is, for the error.

    Returns:
        The object.

    Raises:
        SettingError: if it is no JSON object, or holds NaN, infinity, a number beyond 64 bits, a NUL, half a
            character, a key twice, or more than 32 levels; code ``malformed`` unless ``name`` is ``params``.

    Example:
        >>> read_object('{"model": "hippocampus"}', "params")
        {'model': 'hippocampus'}
    """
    try:
        return _object(text)
    except (ValueError, RecursionError) as error:
        kind = SettingError if name == "params" else DocumentError
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise kind(f'`{name}` must be a JSON object such as {{"key": "value"}}, but {reason}.') from error


def _object(text: str | bytes) -> dict[str, Any]:
    if len(text) > _MOST_BYTES:
        raise ValueError(f"it has {len(text):,} characters and may have {_MOST_BYTES:,}")
    plain = text.decode("utf-8") if isinstance(text, bytes) else text
    if not plain.strip():
        return {}
    document = json.loads(
        plain,
        parse_int=_whole_number,
        parse_float=_fraction,
        parse_constant=_no_number,
        object_pairs_hook=_pairs,
    )
    if not isinstance(document, dict):
        raise ValueError(f"it is {_noun(document)}")  # noqa: TRY004 -- one kind of refusal for all of JSON
    _check(document)
    return document


def _noun(document: object) -> str:
    nouns = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return nouns.get(type(document), "a number")


def _whole_number(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER or not -_MOST <= (number := int(digits)) < _MOST:
        raise ValueError(f"the number {digits[:12]}... has more than 64 bits")
    return number


def _fraction(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER or not math.isfinite(number := float(digits)):
        raise ValueError(f"the number {digits[:12]}... is too long or too large")
    return number


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("it has a key twice")
    return document


def _check(document: dict[str, Any]) -> None:
    """Look at every text, level by level."""
    level: list[Any] = [document]
    for _ in range(_MOST_NESTED):
        for text in level:
            if isinstance(text, str):
                _check_text(text)
        level = [part for whole in level for part in _parts(whole)]
        if not level:
            return
    raise ValueError(f"it has more than {_MOST_NESTED} levels")


def _parts(whole: object) -> list[Any]:
    if isinstance(whole, dict):
        return [*whole, *whole.values()]
    return whole if isinstance(whole, list) else []


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("a text in it has a NUL")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a text in it has half a character (a lone surrogate)")
