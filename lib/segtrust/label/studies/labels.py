"""The labels of a folder: kept, replaced, deleted and restored, each with its information as one."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel
from monailabel.interfaces.exception import LabelNotFoundException

from segtrust._files import can_write
from segtrust.label.failures import ConflictError, ReadOnlyError
from segtrust.label.studies.changes import FileChange, FileChanges, Submission
from segtrust.label.studies.history import FormerLabel, LabelHistory, Reason
from segtrust.label.studies.information import InformedFolder
from segtrust.label.studies.tags import FINAL, tag_name
from segtrust.store import Info, InfoKey, StateStore

__all__ = ["LabelledFolder", "stamped"]

_UNLISTED_S = 3600.0  # a copy that is not listed by then belongs to a process that was killed


class LabelledFolder(InformedFolder):
    """A folder of scans and labels that loses no label which a person made.

    Args:
        folder: the studies.
        store: state file of the site; labels of the past lie beside it.
        keep: how many labels of the past are kept for each scan and tag.
        frozen: never write the snapshot; for processes beside the server.
        options: what ``LocalDatastore`` takes.
    """

    def __init__(
        self,
        folder: str,
        *,
        store: StateStore,
        keep: int,
        frozen: bool,
        **options: Any,  # noqa: ANN401 -- handed through
    ) -> None:
        self.history = LabelHistory(store.path.with_name("history"), keep)
        self._changes = FileChanges(Path(folder), store, self.history, self._check_studies)
        super().__init__(folder, store=store, frozen=frozen, **options)
        if self.is_writable:
            self._changes.settle()
        if self.is_writable and not frozen:
            self.history.sweep(time.time() - _UNLISTED_S)
            self._reconcile_datastore()

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        self._changes.settle(label_id)
        return super().get_label_uri(label_id, label_tag)

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        self._changes.settle(label_id)
        return super().get_label_info(label_id, label_tag)

    def check_writable(self, tag: str | None = None) -> None:
        """Check that a label or scan can be written, before anything is computed for it.

        Args:
            tag: of the label; ``None`` for a scan.

        Raises:
            ReadOnlyError: if it cannot.
            StudiesError: if the studies are not there now.
        """
        folder = Path(self._datastore.image_path() if tag is None else self._datastore.label_path(tag))
        if self._read_only or not can_write(folder):
            raise ReadOnlyError(
                "the studies must be writable to store a scan or a label, and are read-only on this server. "
                "Inference works; for more, start the server on a folder that it may write to."
            )
        self._check_studies()

    def _check_studies(self) -> None:
        self.mark.check()

    def _before_keeping(self, image_id: str, file: Path, tag: str, info: Info) -> None:
        """What else has to happen before a label is kept; ``info`` may be added to."""

    def _keep_label(
        self, image_id: str, file: Path, tag: str, info: Info, submission: Submission | None = None
    ) -> str:
        """Keep a label and what is known about it, in place of an earlier one, which goes to the history."""
        self.check_writable(tag)
        with self._changes.alone(image_id):
            self._before_keeping(image_id, file, tag, info)
            self._replace_label(image_id, file, tag, info, submission)
        return image_id

    def _replace_label(
        self, image_id: str, file: Path, tag: str, info: Info, submission: Submission | None
    ) -> None:
        extension = self._to_id(file.name)[1]
        info |= stamped(info, f"{image_id}{extension}")
        folder = Path(self._datastore.label_path(tag))
        target, part = folder / info["name"], self._changes.part(folder, file)
        by = submission.by if submission else str(info.get("author") or "")
        try:
            former = self._set_aside(image_id, tag, by, "replaced")
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        change = FileChange(
            moves={part: target},
            removes=tuple(path for path in self._label_files(image_id, tag) if path != target),
            former=former,
            put={InfoKey("label", image_id, tag): info},
            withdraw=submission is not None,
            submission=submission,
        )
        self._changes.make(image_id, change)
        with self._guard:
            if image_id not in self._datastore.objects:
                self._look_at(image_id)
            if (scan := self._datastore.objects.get(image_id)) is not None:  # its file may be gone by now
                scan.labels[tag] = DataModel(info=info, ext=extension)
            self._summary = None
        self._update_datastore_file()

    def _label_files(self, image_id: str, tag: str) -> list[Path]:
        folder = Path(self._datastore.label_path(tag))
        label = self._datastore.label(image_id, tag)
        return [folder / f"{image_id}{suffix}" for suffix in self._extensions_of(image_id, folder, label)]

    def _set_aside(self, image_id: str, tag: str, by: str, reason: Reason) -> tuple[FormerLabel, ...]:
        """Copy a person's label that is about to go; a result of a model can be computed again."""
        info = self._store.get_info(InfoKey("label", image_id, tag)) or {}
        if info.get("result") and tag != FINAL:
            return ()
        files = self._label_files(image_id, tag)
        of = self._identity(image_id)
        return tuple(
            self.history.copy(file, image_id, tag, info, by=by, reason=reason, of=of) for file in files
        )

    def _identity(self, image_id: str) -> str:
        """Tells scans apart that have the same id one after the other; empty for one put into the folder."""
        return str((self._store.get_info(InfoKey("image", image_id)) or {}).get("identity") or "")

    def remove_label(self, label_id: str, label_tag: str, *, by: str = "") -> None:
        """Delete a label; one that a person made goes to the history.

        Args:
            label_id: the scan.
            label_tag: its tag.
            by: who deletes it.
        """
        tag = tag_name(label_tag)
        if self._known_label(label_id, tag) is None:
            return
        self.check_writable(tag)
        with self._changes.alone(label_id):
            change = FileChange(
                removes=tuple(self._label_files(label_id, tag)),
                former=self._set_aside(label_id, tag, by, "removed"),
                gone=(InfoKey("label", label_id, tag),),
                withdraw=tag == FINAL,
            )
            self._changes.make(label_id, change)
        self._look_at(label_id)
        self._update_datastore_file()

    def restore_label(self, image_id: str, entry: str, *, by: str = "") -> FormerLabel:
        """Make a label of the past the label of its scan again; the one of now goes to the history.

        Args:
            image_id: the scan.
            entry: which label, from :meth:`LabelHistory.entries`.
            by: who restores it.

        Returns:
            The label that was restored.

        Raises:
            LabelNotFoundException: if there is no such label.
            ConflictError: if it belongs to another scan that had the id.
        """
        if (there := self.history.find(image_id, entry)) is None:
            raise LabelNotFoundException(f"no label {entry!r} in the history of {image_id!r}")
        former, file = there
        if not former.tag:
            return self.restore_scan(former, file, by=by)
        self._require_scan(image_id)
        if former.of != self._identity(image_id):
            raise ConflictError(
                f"a label must belong to the scan that has the id {image_id!r} now, but this one belongs to "
                "another scan that had it. Restore that scan first, or download the label."
            )
        info = {**former.info, "restored": int(time.time()), "restored_by": by}
        final = former.tag == FINAL
        self._keep_label(image_id, file, former.tag, info, Submission(by=former.author) if final else None)
        return former

    def restore_scan(self, former: FormerLabel, file: Path, *, by: str = "") -> FormerLabel:
        """Bring back a scan of the past."""
        raise NotImplementedError

    def _require_scan(self, image_id: str) -> None:
        """Check that the scan of a label is there now."""
        raise NotImplementedError


def stamped(info: Mapping[str, Any] | None, name: str) -> Info:
    """An information with the time and the name of its file, as MONAI Label notes them."""
    return {**(info or {}), "ts": int(time.time()), "name": name}
