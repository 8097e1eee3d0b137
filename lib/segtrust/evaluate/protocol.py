"""The protocol file: what is measured, where, on whom and with which seeds, fixed beforehand."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from segtrust.errors import SettingError

__all__ = ["Protocol", "check_data", "protocol_hash", "subject_folds"]

_FIELDS = ("name", "data", "folds", "regions", "calibration", "bootstrap", "seeds", "endpoints", "shifts")


@dataclass(frozen=True)
class Protocol:
    """A protocol that was read: its ``content`` and the ``hash`` that every result carries."""

    content: Mapping[str, Any]
    hash: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a protocol file.

        Args:
            path: JSON.

        Returns:
            The protocol.

        Raises:
            SettingError: if the file is missing, no JSON, or lacks a part.
        """
        content = _content(path)
        missing = [name for name in _FIELDS if name not in content]
        if missing:
            raise SettingError(f"the protocol {path.name} must hold {', '.join(missing)}.")
        return cls.of(content)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """A protocol of this content, with its hash; see :func:`protocol_hash`."""
        return cls(content, _digest(content))

    @property
    def shift_seed(self) -> int:
        """Seed of the shift suite."""
        return int(self.content["shifts"]["seed"])


def protocol_hash(path: Path) -> str:
    """Hash of what a protocol says; spaces and the order of keys do not count.

    Args:
        path: JSON.

    Returns:
        64 hexadecimal digits.

    Raises:
        SettingError: if the file is missing or no JSON.

    Note:
        SHA-256 of the JSON with sorted keys and without spaces.
    """
    return _digest(_content(path))


def _content(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"the protocol {path} cannot be read: {error}.") from error
    return content


def _digest(content: Mapping[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def check_data(protocol: Protocol, data: Path) -> None:
    """Refuse data whose splits are not those of the protocol.

    Args:
        protocol: a protocol.
        data: folder with the files that the protocol names.

    Raises:
        SettingError: if a file is missing or has another SHA-256.
    """
    for name, expected in protocol.content["data"]["sha256"].items():
        path = data / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if digest != expected:
            raise SettingError(
                f"{path} must have the SHA-256 {expected} that the protocol names, got {digest}. "
                "Use the data of the protocol, or write a protocol for yours."
            )


def subject_folds(subjects: Iterable[str], *, count: int, key: str) -> dict[str, int]:
    """Deal subjects to folds: in order of a keyed hash, one to each fold in turn.

    Args:
        subjects: subjects in any order, repeats allowed.
        count: number of folds.
        key: another key gives other folds.

    Returns:
        Subject -> fold, 0..count-1; folds differ by at most one subject.

    Note:
        HMAC-SHA-256.

    Example:
        >>> sorted(subject_folds(["a", "b", "c", "d"], count=2, key="k").values())
        [0, 0, 1, 1]
    """

    def digest(subject: str) -> bytes:
        return hmac.digest(key.encode(), subject.encode(), "sha256")

    return {s: place % count for place, s in enumerate(sorted(set(subjects), key=digest))}
