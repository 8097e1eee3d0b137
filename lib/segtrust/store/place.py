"""Where the state of a site lies."""

import hashlib
from pathlib import Path

from segtrust._files import can_write

__all__ = ["state_dir_for"]


def state_dir_for(studies: str, setting: Path | None = None) -> Path:
    """Folder for everything a site writes.

    Args:
        studies: MONAI Label's studies: a folder, or the URL of a DICOMweb server.
        setting: a folder that the site chose; it wins.

    Returns:
        ``setting``, or ``<studies>/.segtrust``, or for a URL, and for a folder in which nothing can be
        written, a folder of the user named by a hash of it.

    Example:
        >>> state_dir_for("/data/scans").name
        '.segtrust'
    """
    if setting is not None:
        return setting.expanduser().resolve()
    if studies.startswith(("http://", "https://")):
        return _of_user(studies.rstrip("/"))
    inside = Path(studies).expanduser().resolve() / ".segtrust"
    return inside if can_write(inside) else _of_user(str(inside.parent))


def _of_user(studies: str) -> Path:
    # only what cannot hold its own state needs it, and only the extra `label` installs it
    from platformdirs import user_data_path  # noqa: PLC0415

    digest = hashlib.sha256(studies.encode()).hexdigest()[:16]
    return Path(user_data_path("segtrust", appauthor=False)) / digest
