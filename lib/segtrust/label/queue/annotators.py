"""Who asks: names under which scans are handed out."""

from collections.abc import Mapping
from typing import Any

from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import User

__all__ = ["annotator"]

_NOBODY = (
    "",
    "user-xyz",
)  # OHIF sends no name; the other is in 3D Slicer's settings until somebody changes it


def annotator(params: Mapping[str, Any], user: User) -> str:
    """Name of the person behind a request.

    Args:
        params: what the client sent; ``client_id`` is believed only where nobody logs in.
        user: who logged in; without logins MONAI Label calls everybody `admin`.

    Returns:
        The name; empty for somebody who gives none.

    Note:
        Two people who left 3D Slicer's name as it came would end each other's leases.
    """
    if platform.MONAI_LABEL_AUTH_ENABLE:
        return user.username
    name = str(params.get("client_id") or "").strip()
    return "" if name in _NOBODY else name
