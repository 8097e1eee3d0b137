"""Who asks: names under which scans are handed out."""

from collections.abc import Mapping
from typing import Any

from monailabel.endpoints.user.auth import User

from segtrust.errors import SettingError
from segtrust.label.login.identity import SignedIn

__all__ = ["annotator"]

_NOBODY = (
    "",
    "user-xyz",
)  # OHIF sends no name; the other is in 3D Slicer's settings until somebody changes it

_LONGEST = 200


def annotator(params: Mapping[str, Any], user: User) -> str:
    """Name of the person behind a request.

    Args:
        params: what the client sent; ``client_id`` is believed only where nobody logs in. With a log-in it is
            overruled and not refused, since 3D Slicer's plug-in sends one with everything.
        user: who logged in; without logins MONAI Label calls everybody `admin`.

    Returns:
        The name; empty for somebody who gives none.

    Raises:
        SettingError: if ``client_id`` is no name.

    Note:
        Two people who left 3D Slicer's name as it came would end each other's leases.
    """
    if isinstance(user, SignedIn):
        return user.username
    name = params.get("client_id") or ""
    if not isinstance(name, str) or len(name) > _LONGEST or not name.isprintable():
        raise SettingError(
            f"`client_id` must be a name of at most {_LONGEST} printable characters, got {str(name)[:40]!r}."
        )
    return "" if name.strip() in _NOBODY else name.strip()
