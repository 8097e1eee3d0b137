"""The scans of a folder: added, replaced, deleted and brought back, each with all that belongs to it."""

import filecmp
import os
import time
import uuid
from pathlib import Path
from typing import Any

from monailabel.interfaces.exception import ImageNotFoundException

from segtrust.files.scan import read_scan_file
from segtrust.label.failures import ConflictError, PathError
from segtrust.label.studies.changes import FileChange
from segtrust.label.studies.history import FormerLabel, Reason
from segtrust.label.studies.ids import check_id
from segtrust.label.studies.labels import LabelledFolder, stamped
from segtrust.label.studies.tags import FINAL
from segtrust.label.studies.unread import Unread, find_unread
from segtrust.store import InfoKey

__all__ = ["ScansFolder"]

_UNREAD_S = 30.0


class ScansFolder(LabelledFolder):
    """A folder in which no scan takes the place, the labels or the scores of another unasked."""

    _unread: tuple[float, Unread] | None = None

    def add_image(
        self,
        image_id: str,
        image_filename: str,
        image_info: dict[str, Any],
        *,
        replace: bool = False,
        by: str = "",
    ) -> str:
        """Add a scan.

        Args:
            image_id: its id; the file's name without its ending if empty.
            image_filename: the file.
            image_info: what is known about it.
            replace: whether it may take the place of another scan with this id, which then goes to the
                history with its labels, scores and leases.
            by: who adds it.

        Returns:
            The id. A scan that is there already, byte by byte, is left as it is.

        Raises:
            PathError: if the id or the ending is not allowed.
            ScanError: if it is no scan, or cannot be read to its end.
            ConflictError: if another scan has the id and is not to be replaced.
            ReadOnlyError: if the studies are read-only.
            StudiesError: if the studies are not there now.
        """
        source = Path(image_filename)
        listed_as, extension = self._to_id(source.name)
        image_id = image_id or listed_as
        if extension not in self._suffixes:
            raise PathError(f"a scan must be one of {', '.join(self._extensions)}, got {extension!r}.")
        check_id(image_id, extension, self._suffixes)
        self.check_writable()
        read_scan_file(source, channels=None)
        with self._changes.alone(image_id):
            files = self._image_files(image_id)
            if len(files) == 1 and _are_equal(source, files[0]) and files[0].name == f"{image_id}{extension}":
                return image_id
            if files and not replace:
                raise ConflictError(
                    f"each scan must have an id of its own, but {image_id!r} is another scan already. Choose "
                    "another id; or replace that scan with `replace=true`: its labels, scores and leases "
                    "then go to the history with it."
                )
            info = stamped(image_info, f"{image_id}{extension}") | {"identity": uuid.uuid4().hex}
            target = Path(self._datastore.image_path()) / info["name"]
            self._put_scan(image_id, self._changes.part(target.parent, source), target, info, by)
        self._after_change(image_id, extension)
        return image_id

    def _put_scan(
        self,
        image_id: str,
        part: Path,
        target: Path,
        info: dict[str, Any],
        by: str,
        back: FileChange | None = None,
    ) -> None:
        """Put a finished part in the place of whatever has the id; ``back`` is what comes back with it."""
        back = back or FileChange(record={})
        try:
            former = self._set_all_aside(image_id, by, "scan replaced", scan=True)
        except BaseException:
            for path in (part, *back.moves):
                path.unlink(missing_ok=True)
            raise
        stays = {target, *back.moves.values()}
        old = (*self._image_files(image_id), *self._files_of_labels(image_id))
        change = FileChange(
            moves={part: target, **back.moves},
            removes=tuple(file for file in old if file not in stays),
            former=former,
            gone=tuple(key for key in self._label_keys(image_id) if key not in back.put),
            put={InfoKey("image", image_id): info, **back.put},
            record=back.record,
        )
        self._changes.make(image_id, change)

    def remove_image(self, image_id: str, *, by: str = "") -> None:
        """Delete a scan and its labels; labels that a person made go to the history, the scan does not.

        Args:
            image_id: the scan.
            by: who deletes it.
        """
        if image_id not in self._datastore.objects:
            raise ImageNotFoundException(f"no scan {image_id!r} in the datastore")
        self.check_writable()
        with self._changes.alone(image_id):
            change = FileChange(
                removes=(*self._all_channels(image_id), *self._files_of_labels(image_id)),
                former=self._set_all_aside(image_id, by, "scan removed", scan=False),
                gone=(InfoKey("image", image_id), *self._label_keys(image_id)),
                record={},
            )
            self._changes.make(image_id, change)
        self._look_at(image_id)  # not left to the watcher, which may come after the next request
        self._update_datastore_file()

    def restore_scan(self, former: FormerLabel, file: Path, *, by: str = "") -> FormerLabel:
        """Bring a replaced scan back, with the labels, scores and leases that it had; that of now goes aside.

        Args:
            former: the scan, from the history.
            file: its volume.
            by: who restores it.

        Returns:
            ``former``.
        """
        self.check_writable()
        scan = former.scan
        with self._changes.alone(scan):
            moves, put = {}, {}
            for entry in former.info["labels"]:
                if (there := self.history.find(scan, entry)) is None:
                    continue  # pruned
                label, volume = there
                folder = Path(self._datastore.label_path(label.tag))
                moves[self._changes.part(folder, volume)] = folder / str(label.info["name"])
                put[InfoKey("label", scan, label.tag)] = dict(label.info)
            info = dict(former.info["info"])
            target = Path(self._datastore.image_path()) / str(info["name"])
            part = self._changes.part(target.parent, file)
            state = file.stat()
            os.utime(part, ns=(state.st_atime_ns, state.st_mtime_ns))  # by which scores know the file again
            back = FileChange(moves=moves, put=put, record=former.info["record"])
            self._put_scan(scan, part, target, info, by, back)
        self._after_change(scan, self._to_id(target.name)[1])
        return former

    def unread(self) -> Unread:
        """What lies in the folder and is not read, with the reasons; looked for again after half a minute."""
        if self._unread is None or time.monotonic() - self._unread[0] > _UNREAD_S:
            with self._guard:  # only for the list: looking takes half a second where there are 20,000 scans
                served = {scan: obj.image.ext for scan, obj in self._datastore.objects.items()}
            what = find_unread(
                Path(self._datastore.image_path()),
                Path(self._datastore.label_path(FINAL)),
                self._suffixes,
                served,
                self.unusable_labels(),
            )
            self._unread = (time.monotonic(), what)
        return self._unread[1]

    def _after_change(self, image_id: str, extension: str) -> None:
        with self._guard:
            self._look_at(image_id)
            if (scan := self._datastore.objects.get(image_id)) is not None:  # the studies may be gone by now
                scan.image.ext = extension
        self._update_datastore_file()

    def _image_files(self, image_id: str) -> list[Path]:
        """Every file that has the id, the one that is served first."""
        folder, obj = Path(self._datastore.image_path()), self._datastore.objects.get(image_id)
        suffixes = self._extensions_of(image_id, folder, obj and obj.image)
        served = obj.image.ext if obj else ""
        return [folder / f"{image_id}{s}" for s in sorted(suffixes, key=lambda suffix: suffix != served)]

    def _all_channels(self, image_id: str) -> list[Path]:
        """Every file of a scan, those of its further channels too."""
        return [
            file for one in (image_id, *self._other_channels(image_id)) for file in self._image_files(one)
        ]

    def _tags(self, image_id: str) -> list[str]:
        return [folder.name for folder in self._tag_folders() if self._label_files(image_id, folder.name)]

    def _label_keys(self, image_id: str) -> list[InfoKey]:
        return [InfoKey("label", image_id, tag) for tag in self._tags(image_id)]

    def _files_of_labels(self, image_id: str) -> list[Path]:
        return [file for tag in self._tags(image_id) for file in self._label_files(image_id, tag)]

    def _set_all_aside(
        self, image_id: str, by: str, reason: Reason, *, scan: bool
    ) -> tuple[FormerLabel, ...]:
        """Copy all labels of people, and the scan itself with what is derived from it, if that is wanted."""
        labels = [
            label for tag in self._tags(image_id) for label in self._set_aside(image_id, tag, by, reason)
        ]
        if not scan:
            return tuple(labels)
        about = self._store.get_info(InfoKey("image", image_id)) or {}
        scans = []
        for file in self._image_files(image_id):
            info = {
                "info": {**about, "name": file.name},
                "labels": [label.entry for label in labels],
                "record": self._store.record_of(image_id),
                "author": str(about.get("user") or ""),
            }
            of = self._identity(image_id)
            scans.append(self.history.copy(file, image_id, "", info, by=by, reason=reason, of=of))
        return (*scans, *labels)


def _are_equal(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and filecmp.cmp(one, other, shallow=False)
