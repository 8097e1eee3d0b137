"""Cleaning up sessions; at one that a kill left unfinished MONAI Label's own stops, and the start with it."""

import shutil
import time
from pathlib import Path

from monailabel.utils.sessions import Sessions

__all__ = ["remove_expired"]

_UNFINISHED_SECONDS = 3600.0  # an upload of another server on the same folder may still run


def remove_expired(sessions: Sessions) -> int:
    """Remove sessions that expired, and what is left of those that were never finished.

    Args:
        sessions: of the server.

    Returns:
        How many were removed.
    """
    place, removed = Path(sessions.store_path), 0
    for folder in sorted(place.iterdir()) if place.is_dir() else []:
        if not folder.is_dir():
            continue
        try:
            session = sessions.get_session(folder.name, update_ts=False, fetch_cache=False)
        except (OSError, ValueError, TypeError, AttributeError):  # its record was cut off
            session = None
        if session is None:
            over = folder.is_dir() and time.time() - folder.stat().st_mtime > _UNFINISHED_SECONDS
        else:
            over = 0 < session.expiry < time.time() - session.last_access_ts
        if over:
            sessions.pop(folder.name, None)
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed
