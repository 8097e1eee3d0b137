"""A chain of records: each holds the hash of the one before, so that none can be changed or taken out."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segtrust.errors import StoreError

__all__ = ["BEGIN", "ChainError", "Link", "checkpoint_line", "follow", "next_line", "read_link"]

_NO_HASH = "0" * 64
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Link:
    """The end of a chain: number and hash of its last record."""

    number: int
    hash: str


BEGIN = Link(0, _NO_HASH)
"""The end of a chain without records."""


class ChainError(StoreError):
    """A record was changed, is missing, or stands in another order."""

    code = "trail"


def next_line(end: Link, time: float, kind: str, by: str, facts: Mapping[str, Any]) -> tuple[str, Link]:
    """The next record of a chain.

    Args:
        end: of the chain.
        time: seconds since 1970.
        kind: what was done.
        by: who did it.
        facts: JSON types.

    Returns:
        Its line, without a line break, and the new end.

    Raises:
        ValueError: if a fact is no JSON, NaN or infinite.

    Example:
        >>> line, end = next_line(BEGIN, 0.0, "label", "anna", {"n": 1})
        >>> end.number, line[:18]
        (1, '{"before":"0000000')
    """
    record = {"number": end.number + 1, "time": time, "kind": kind, "by": by, "facts": dict(facts)}
    record["before"] = end.hash
    link = Link(end.number + 1, _digest(record))
    return _canonical(record | {"hash": link.hash}), link


def checkpoint_line(end: Link, time: float, by: str, dropped: str, key: bytes) -> str:
    """What stands in place of records that were dropped: where the rest goes on.

    Args:
        end: the last record that is dropped.
        time: seconds since 1970.
        by: who drops them.
        dropped: SHA-256 of their lines, for whoever kept a copy.
        key: the site's secret; without it nobody can make one.

    Returns:
        The line.
    """
    record = {"kind": CHECKPOINT, "number": end.number, "last": end.hash, "time": time, "by": by}
    record["dropped"] = dropped
    return _canonical(record | {"mac": _mac(record, key)})


def read_link(line: str, end: Link, key: bytes) -> tuple[Mapping[str, Any], Link]:
    """Read one record and check that it is the next of a chain.

    Args:
        line: without a line break.
        end: of the chain so far.
        key: the site's secret, for a checkpoint.

    Returns:
        The record, and the new end.

    Raises:
        ChainError: if it is not, in any byte.
    """
    place = f"record {end.number + 1}"
    try:
        record = json.loads(line)
        kind, number = record["kind"], record["number"]
    except (ValueError, KeyError, TypeError) as error:
        raise ChainError(f"{place} must be as it was written, but is no record.") from error
    if _canonical(record) != line:
        raise ChainError(f"{place} must be as it was written, but was written anew.")
    if kind == CHECKPOINT:
        return record, _of_checkpoint(record, end, key)
    link = Link(end.number + 1, _digest({name: record[name] for name in record if name != "hash"}))
    if number != link.number:
        raise ChainError(f"{place} must follow, but record {number} does. Records are missing or were moved.")
    if record.get("before") != end.hash:
        raise ChainError(f"{place} must follow the one before it, but follows another. One was changed.")
    if record.get("hash") != link.hash:
        raise ChainError(f"{place} must be as it was written, but was changed.")
    return record, link


def follow(lines: Iterable[str], key: bytes, begin: Link = BEGIN) -> Iterator[tuple[Mapping[str, Any], Link]]:
    """Read a chain from its beginning.

    Args:
        lines: without line breaks.
        key: the site's secret.
        begin: where the lines begin.

    Yields:
        Each record and the end of the chain with it.

    Raises:
        ChainError: at the first record that is not what was written.
    """
    end = begin
    for line in lines:
        record, end = read_link(line, end, key)
        yield record, end


def _of_checkpoint(record: Mapping[str, Any], end: Link, key: bytes) -> Link:
    rest = {name: record[name] for name in record if name != "mac"}
    if end != BEGIN or not hmac.compare_digest(str(record.get("mac")), _mac(rest, key)):
        raise ChainError(
            f"record {end.number + 1} must not be a checkpoint: it is not the first, or not of this site."
        )
    return Link(int(record["number"]), str(record["last"]))


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(record).encode()).hexdigest()


def _mac(record: Mapping[str, Any], key: bytes) -> str:
    return hmac.new(key, b"checkpoint\0" + _canonical(record).encode(), hashlib.sha256).hexdigest()


def _canonical(record: Mapping[str, Any]) -> str:
    # ASCII: half a character of a client's becomes an escape, and no text has a line break
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
