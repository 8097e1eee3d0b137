"""What lies in the studies folder and is not read, counted with the reasons."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from segtrust.label.studies.ids import split_name, why_unread

__all__ = ["Unread", "find_unread"]

_OURS = ("datastore_v2.json", ".lock", ".segtrust")  # and what begins with the last
_EXAMPLES = 10
_MOST = 10_000  # files in folders of their own: more are not counted one by one


@dataclass
class Unread:
    """Reason -> how many files it holds for, and some of their names."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count one file."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        names = self.examples.setdefault(reason, [])
        if len(names) < _EXAMPLES:
            names.append(name.encode("utf-8", "replace").decode("utf-8"))

    def to_json(self) -> dict[str, Any]:
        """The number of all, and a list of the reasons."""
        reasons = [
            {"reason": reason, "files": count, "examples": self.examples[reason]}
            for reason, count in sorted(self.counts.items(), key=lambda item: -item[1])
        ]
        return {"files": sum(self.counts.values()), "reasons": reasons}


def find_unread(
    folder: Path,
    final: Path,
    suffixes: Sequence[str],
    served: Mapping[str, str],
    unusable: Collection[str],
) -> Unread:
    """Look for files that somebody may think are read.

    Args:
        folder: the studies.
        final: the folder of the final labels; other labels beside it are not looked at.
        suffixes: endings that are read.
        served: scan id -> ending of the file that is read.
        unusable: ids of scans whose final label was looked at and cannot be used.

    Returns:
        What is not read.
    """
    unread = Unread()
    for entry in _entries(folder):
        if entry.is_dir():
            if Path(entry.path) != final.parent and not _is_ours(entry.name):
                _add_nested(unread, entry, folder)
        elif not _is_ours(entry.name) and (reason := _why(entry.name, suffixes, served)):
            unread.add(reason, entry.name)
    for entry in _entries(final):
        if not _is_ours(entry.name) and (reason := _why_no_label(entry, suffixes, served, unusable)):
            unread.add(f"a file in labels/{final.name} {reason}", f"labels/{final.name}/{entry.name}")
    return unread


def _why(name: str, suffixes: Sequence[str], served: Mapping[str, str]) -> str:
    reason = why_unread(name, suffixes)
    scan_id, extension = split_name(name, suffixes)
    if not reason and served.get(scan_id, extension) != extension:
        reason = "is a second file of one id; the other one is read"
    return reason and f"a file {reason}"


def _why_no_label(
    entry: os.DirEntry[str],
    suffixes: Sequence[str],
    served: Mapping[str, str],
    unusable: Collection[str],
) -> str:
    if entry.is_dir():
        return "is a folder"
    if reason := why_unread(entry.name, suffixes):
        return reason
    scan_id, _ = split_name(entry.name, suffixes)
    if scan_id not in served:
        return "belongs to no scan that is here"
    return "cannot be used; GET /datastore/ says why" if scan_id in unusable else ""


def _add_nested(unread: Unread, entry: os.DirEntry[str], folder: Path) -> None:
    reason = "a file lies in a folder of its own; only the studies folder itself is read"
    if entry.name.startswith("."):
        unread.add("a folder is hidden", entry.name)
        return
    files = (Path(place) / name for place, _, names in os.walk(entry.path) for name in names)
    for file in islice(files, _MOST):
        unread.add(reason, str(file.relative_to(folder)))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError:  # gone, or not made yet: whoever needs it says so
        return


def _is_ours(name: str) -> bool:
    return name.startswith(_OURS)
