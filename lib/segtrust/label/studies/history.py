"""Labels that were replaced or deleted: kept beside the state file, listed, and there to be restored."""

import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segtrust._files import replace_text, sync
from segtrust.label.failures import PathError

__all__ = ["FormerLabel", "LabelHistory", "Reason"]

logger = logging.getLogger(__name__)

Reason = Literal["replaced", "removed", "scan replaced", "scan removed"]
"""Why a label is not the label of its scan any more."""

_SCANS = 2  # replaced scans that are kept of one id: they are larger than labels

_ENTRY = re.compile(r"\d{19,20}-[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True)
class FormerLabel:
    """A label of the past; ``author`` made it, ``by`` replaced or deleted it at ``ended`` (s since 1970).

    ``entry`` names it among the labels of its scan and sorts by time; ``file`` is its volume. ``of`` tells
    the scans apart that had the id one after the other. With an empty ``tag`` it is such a scan itself.
    """

    scan: str
    entry: str
    tag: str
    author: str
    saved: float
    ended: float
    by: str
    reason: Reason
    file: str
    size: int
    of: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All but what viewers kept with the label."""
        shown = {key: value for key, value in vars(self).items() if key not in ("file", "info", "of")}
        return {"kind": "label" if self.tag else "scan", **shown}


class LabelHistory:
    """The labels of the past of one site, a folder for each scan.

    Args:
        folder: where they lie.
        keep: how many are kept for each scan and tag, the newest; of replaced scans at most two.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self._keep = keep

    def copy(
        self, file: Path, scan: str, tag: str, info: Mapping[str, Any], *, by: str, reason: Reason, of: str
    ) -> FormerLabel:
        """Copy a label that is about to go; it is not listed before :meth:`list_entry`.

        Args:
            file: the label's volume.
            scan: whose label it is.
            tag: its tag.
            info: what is known about it.
            by: who replaces or deletes it; empty if unknown.
            reason: why.
            of: identity of the scan.

        Returns:
            The entry to list.
        """
        folder = self._of(scan)
        folder.mkdir(parents=True, exist_ok=True)
        entry = f"{time.time_ns()}-{secrets.token_hex(4)}"
        former = FormerLabel(
            scan=scan,
            entry=entry,
            tag=tag,
            author=str(info.get("author") or info.get("client_id") or ""),
            saved=float(info.get("saved") or file.stat().st_mtime),
            ended=time.time(),
            by=by,
            reason=reason,
            file=f"{entry}{_suffix(file)}",
            size=file.stat().st_size,
            info=dict(info),
            of=of,
        )
        _link(file, folder / former.file)
        return former

    def list_entry(self, former: FormerLabel) -> None:
        """List a label that :meth:`copy` copied, and delete the oldest of more than are kept."""
        path = self._of(former.scan) / f"{former.entry}.json"
        if not path.is_file() and (path.parent / former.file).is_file():
            replace_text(path, json.dumps(vars(former)))
        self.prune(former.scan)

    def drop(self, former: FormerLabel) -> None:
        """Delete the copy of a label that stays as it is."""
        (self._of(former.scan) / former.file).unlink(missing_ok=True)

    def scans(self) -> list[str]:
        """Scans with labels of the past."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if any(path.glob("*.json")))

    def entries(self, scan: str) -> list[FormerLabel]:
        """Labels of a scan's past, the newest first."""
        listed = []
        for path in sorted(self._of(scan).glob("*.json"), reverse=True):
            try:
                listed.append(_read(path))
            except (OSError, ValueError, TypeError) as error:
                logger.warning("A label of the past cannot be listed: %s", error)
        return listed

    def find(self, scan: str, entry: str) -> tuple[FormerLabel, Path] | None:
        """A label of a scan's past, and its volume.

        Args:
            scan: the scan.
            entry: which label.

        Returns:
            ``None`` if there is none of that name.
        """
        path = self._of(scan) / f"{entry}.json"
        if not _ENTRY.fullmatch(entry) or not path.is_file():
            return None
        former = _read(path)
        return former, path.parent / former.file

    def prune(self, scan: str, keep: int | None = None) -> int:
        """Delete the oldest labels of a scan's past.

        Args:
            scan: the scan.
            keep: how many of each tag stay; the setting unless given.

        Returns:
            How many were deleted.
        """
        most, counts, deleted = self._keep if keep is None else keep, dict[str, int](), 0
        for former in self.entries(scan):
            counts[former.tag] = counts.get(former.tag, 0) + 1
            if counts[former.tag] <= (most if former.tag else min(most, _SCANS)):
                continue
            (self._of(scan) / f"{former.entry}.json").unlink(missing_ok=True)
            self.drop(former)
            deleted += 1
        if deleted:
            logger.info(
                "%d labels of the past of one scan were deleted: more than %d are there", deleted, most
            )
        return deleted

    def sweep(self, before: float) -> None:
        """Delete copies that were never listed: whoever made them was killed before it decided.

        Args:
            before: only what was copied before, in seconds since 1970.
        """
        for path in self.folder.glob("*/*"):
            entry, _, _ = path.name.partition(".")
            unlisted = not path.with_name(f"{entry}.json").is_file()
            if _ENTRY.fullmatch(entry) and unlisted and int(entry.partition("-")[0]) < before * 1e9:
                path.unlink(missing_ok=True)

    def _of(self, scan: str) -> Path:
        if not scan or scan in (".", "..") or re.search(r"[/\\\x00]", scan):
            raise PathError(f"a scan's id must be a plain file name without folders or '..', got {scan!r}.")
        return self.folder / scan


def _read(path: Path) -> FormerLabel:
    return FormerLabel(**json.loads(path.read_text(encoding="utf-8")))


def _suffix(file: Path) -> str:
    return ".nii.gz" if file.name.endswith(".nii.gz") else file.suffix


def _link(file: Path, target: Path) -> None:
    """A second name costs no room, and a label is never changed in place; elsewhere a copy."""
    try:
        os.link(file, target)
    except OSError:
        try:
            shutil.copyfile(file, target)
            sync(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise
