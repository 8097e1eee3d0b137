"""Ids of scans: the name of the file without its ending, whatever dots it holds."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from segtrust.label.failures import PathError

__all__ = ["LABEL_SUFFIXES", "check_id", "split_name", "why_unread"]

LABEL_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
"""Endings of labels."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]|\.\.|^[.\s]|[.\s]$")
_LONGEST_NAME = 255  # bytes: what ext4, XFS, Btrfs, ZFS and tmpfs take; NTFS and APFS take no fewer


def split_name(name: str, suffixes: Sequence[str]) -> tuple[str, str]:
    """Id and ending of a file.

    Args:
        name: of the file.
        suffixes: endings that are read; the longest that fits counts.

    Returns:
        The id keeps all its other dots; a file with another ending has what Python calls its suffix.

    Example:
        >>> split_name("1.2.840.10008.nii.gz", [".nii", ".nii.gz"])
        ('1.2.840.10008', '.nii.gz')
    """
    fitting = [suffix for suffix in suffixes if name.endswith(suffix) and name != suffix]
    extension = max(fitting, key=len) if fitting else Path(name).suffix
    return name.removesuffix(extension), extension


def check_id(scan_id: str, extension: str, suffixes: Sequence[str]) -> None:
    """Check that an id names one file of its own, and leaves room for the names of its labels.

    Args:
        scan_id: what was asked for.
        extension: ending of the scan's file.
        suffixes: endings that are read.

    Raises:
        PathError: if it does not.
    """
    if not scan_id or _UNSAFE.search(scan_id) or not _is_text(scan_id):
        raise PathError(f"a scan's id must be a plain file name without folders or '..', got {scan_id!r}.")
    if not _leaves_room(scan_id, extension):
        most = _LONGEST_NAME - max(map(len, (extension, *LABEL_SUFFIXES)))
        raise PathError(
            f"a scan's id must have at most {most} bytes, so that its labels can have names, got "
            f"{len(os.fsencode(scan_id))}. Choose a shorter name."
        )
    if split_name(f"{scan_id}{extension}", suffixes) != (scan_id, extension):
        raise PathError(
            f"a scan's id must not change with the ending of its file, got {scan_id!r} with {extension!r}. "
            "Leave the ending out of the id."
        )


def why_unread(name: str, suffixes: Sequence[str]) -> str:
    """Why a file of this name is no scan and no label.

    Args:
        name: of the file.
        suffixes: endings that are read.

    Returns:
        A few words; empty if the name is that of a scan or label.
    """
    scan_id, extension = split_name(name, suffixes)
    if name.startswith("."):
        return "is a copy of attributes that macOS makes" if name.startswith("._") else "is hidden"
    if not _is_text(name):
        return "has a name that is no text in UTF-8"
    if extension not in suffixes:
        small = name.lower()
        if split_name(small, suffixes)[1] in suffixes:
            return "has an ending in capitals; it must be in small letters"
        return f"ends in {extension.lower()[:16] or 'nothing'}, which is not read"
    return "" if _leaves_room(scan_id, extension) else "has a name too long to give names to its labels"


def _leaves_room(scan_id: str, extension: str) -> bool:
    """Whether the file systems take the names of a scan and of its labels."""
    longest = max(map(len, (extension, *LABEL_SUFFIXES)))
    return len(os.fsencode(scan_id)) + longest <= _LONGEST_NAME


def _is_text(name: str) -> bool:
    """Whether a name of a file is text that can be sent."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
