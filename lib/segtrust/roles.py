"""Roles of patients: a keyed hash decides them before anything is selected, so that nobody can choose them.

A scan whose label nobody asked for (``volunteered``) was chosen by somebody: it may be trained on, but never
calibrated on.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

from segtrust.errors import SettingError

__all__ = [
    "FRACTIONS",
    "HELD_OUT",
    "ROLES",
    "Role",
    "fold_of",
    "is_held_out",
    "keyed_name",
    "patient_hash",
    "role_of",
    "role_used",
]

Role = Literal["train", "calibration", "test", "volunteered"]
ROLES: tuple[Role, ...] = get_args(Role)

FRACTIONS: Mapping[Role, float] = MappingProxyType({"train": 0.75, "calibration": 0.15, "test": 0.10})
"""Share of patients of each role; the queue serves the last two in every fourth turn."""

HELD_OUT = "held_out"
"""What the state file notes when the queue hands out a scan that calibrates or tests."""

BLIND = (HELD_OUT, "uniform")
"""Ways to hand out a scan that do not depend on what a model thinks of it."""


def role_of(subject: str, key: bytes, fractions: Mapping[Role, float] = FRACTIONS) -> Role:
    """Role of a patient: the same now and in ten rounds, and nothing about the patient's scans enters.

    Args:
        subject: name of the patient.
        key: the site's secret, from :meth:`segtrust.store.StateStore.site_key`.
        fractions: role -> share of patients; the shares sum to 1.

    Returns:
        One of the roles in ``fractions``.

    Raises:
        SettingError: if the shares are no shares of one, or a role is unknown.

    Note:
        HMAC-SHA256 (RFC 2104) read as a number in [0, 1).

    Example:
        >>> role_of("patient 7", b"a site's key", {"train": 1.0})
        'train'
    """
    if (
        not set(fractions) <= set(ROLES)
        or min(fractions.values()) < 0
        or abs(sum(fractions.values()) - 1) > 1e-9
    ):
        raise SettingError(
            f"shares of roles must be 0 or more, sum to 1 and name {', '.join(ROLES)}, got {dict(fractions)}."
        )
    drawn = _number("role", subject, key) / 2**64
    upper = 0.0
    for role, share in fractions.items():
        upper += share
        if drawn < upper:
            return role
    return role  # rounding: the shares sum to a little less than 1


def is_held_out(role: Role) -> bool:
    """Whether scans of a role measure a model and are never ranked by what it thinks of them.

    Args:
        role: of a patient.

    Returns:
        True for calibration and test.

    Example:
        >>> is_held_out("test"), is_held_out("volunteered")
        (True, False)
    """
    return role in ("calibration", "test")


def role_used(role: Role, strategies: Iterable[str]) -> Role:
    """Role that a labelled scan may play, given how it came to be labelled.

    Args:
        role: of its patient.
        strategies: that handed the scan out before it was labelled.

    Returns:
        ``role`` for a training scan, and for a scan that a strategy of :data:`BLIND` drew; ``volunteered``
        for any other, since somebody or a model chose it.

    Example:
        >>> role_used("calibration", ["entropy"]), role_used("calibration", ["uniform"])
        ('volunteered', 'calibration')
    """
    return role if role == "train" or set(BLIND) & set(strategies) else "volunteered"


def fold_of(subject: str, key: bytes, folds: int) -> int:
    """Fold of a patient, which never changes when others join.

    Args:
        subject: name of the patient.
        key: the site's secret.
        folds: number of folds.

    Returns:
        0 to ``folds - 1``; independent of the role.

    Example:
        >>> fold_of("patient 7", b"a site's key", 1)
        0
    """
    return _number("fold", subject, key) % folds


def patient_hash(subject: str, key: bytes) -> str:
    """Name of a patient that says nothing to whoever lacks the key; it goes onto cards.

    Args:
        subject: name of the patient.
        key: the site's secret.

    Returns:
        32 hexadecimal digits.

    Note:
        HMAC-SHA256, cut to 128 bits.

    Example:
        >>> len(patient_hash("patient 7", b"a site's key"))
        32
    """
    return keyed_name("patient", subject, key)


def keyed_name(purpose: str, name: str, key: bytes) -> str:
    """A name that says nothing to whoever lacks the key, for something else than a patient.

    Args:
        purpose: what is named, so that a scan and a patient of one name get different ones.
        name: of it.
        key: the site's secret.

    Returns:
        32 hexadecimal digits.

    Example:
        >>> keyed_name("scan", "a", b"key") == keyed_name("patient", "a", b"key")
        False
    """
    return _digest(purpose, name, key).hex()[:32]


def _number(purpose: str, subject: str, key: bytes) -> int:
    return int.from_bytes(_digest(purpose, subject, key)[:8], "big")


def _digest(purpose: str, subject: str, key: bytes) -> bytes:
    return hmac.new(key, f"{purpose}\0{subject}".encode(), hashlib.sha256).digest()
