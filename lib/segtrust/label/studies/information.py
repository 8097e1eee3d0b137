"""What is known about scans and labels: kept in the state file, with MONAI Label's own file as a snapshot."""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastoreModel
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException
from watchdog.events import FileSystemEvent

from segtrust._files import replace_text
from segtrust.label.failures import StudiesError
from segtrust.label.studies.folder import ScanFolder
from segtrust.label.studies.mark import StudiesMark
from segtrust.label.studies.snapshot import Snapshot
from segtrust.label.studies.tags import tag_name
from segtrust.store import InfoKey, StateStore

__all__ = ["InformedFolder"]

logger = logging.getLogger(__name__)

_OPENED = "studies"


class InformedFolder(ScanFolder):
    """A folder of scans and labels whose information several processes may change at once.

    ``datastore_v2.json`` is a snapshot for plain MONAI Label: written some seconds after a change and at the
    end of the process, and merged when the folder is opened or another program writes it.

    Args:
        folder: the studies.
        store: state file of the site.
        frozen: never write the snapshot; for processes beside the server.
        options: what ``LocalDatastore`` takes.
    """

    def __init__(
        self,
        folder: str,
        *,
        store: StateStore,
        frozen: bool,
        **options: Any,  # noqa: ANN401 -- handed through
    ) -> None:
        self._store = store
        self._frozen = frozen
        self._snapshot = Snapshot(self.write_snapshot)
        self._refuse_empty(Path(folder))
        super().__init__(folder, **options)
        self._frozen = frozen or not self.is_writable
        self.mark = StudiesMark(Path(folder), self._holds_scan, frozen=self._frozen)
        if not self._frozen and self._store.note(_OPENED) != self.mark.text:
            self._store.keep_note(_OPENED, self.mark.text)
        if not Path(self._datastore_config_path).exists():
            self._snapshot.now()

    @property
    def snapshot_path(self) -> Path:
        """MONAI Label's own list of scans and labels."""
        return Path(self._datastore_config_path)

    def _refuse_empty(self, folder: Path) -> None:
        """Refuse the empty place where studies are mounted otherwise, if the state file remembers them."""
        if self._store.note(_OPENED) and not (folder.is_dir() and any(folder.iterdir())):
            raise StudiesError(
                f"the studies folder {folder} must hold what it held when it was last opened, but is empty. "
                "Is its disk mounted? For other studies name another `state_dir`."
            )

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        info: dict[str, Any] = super().get_image_info(image_id)
        stored = self._store.get_info(InfoKey("image", image_id)) if info else None
        return info if stored is None else {**stored, "path": info["path"]}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        self._update_info(InfoKey("image", image_id), info, self._image_default(image_id))

    def _image_default(self, image_id: str) -> dict[str, Any]:
        if image_id not in self._datastore.objects:
            self._look_at(image_id)
        if (obj := self._datastore.objects.get(image_id)) is None:
            raise ImageNotFoundException(f"no scan {image_id!r} in the datastore")
        return dict(obj.image.info)

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        tag = tag_name(label_tag)
        if (label := self._known_label(label_id, tag)) is None:
            return {}
        stored = self._store.get_info(InfoKey("label", label_id, tag))
        return dict(label.info) if stored is None else stored

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        tag = tag_name(label_tag)
        if (label := self._known_label(label_id, tag)) is None:
            return ""
        return os.path.realpath(Path(self._datastore.label_path(tag)) / f"{label_id}{label.ext}")

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        tag = tag_name(label_tag)
        if (label := self._known_label(label_id, tag)) is None:
            raise LabelNotFoundException(f"no label {tag!r} of {label_id!r} in the datastore")
        self._update_info(InfoKey("label", label_id, tag), info, label.info)

    def _update_info(self, key: InfoKey, changes: Mapping[str, Any], default: Mapping[str, Any]) -> None:
        self._store.update_info(key, changes, default)
        self._update_datastore_file()

    def _known_label(self, label_id: str, tag: str) -> DataModel | None:
        """A label of the list; one that another process saved a moment ago is looked for in the folder."""
        if self._datastore.label(label_id, tag) is None and label_id in self._datastore.objects:
            self._look_at(label_id)
        label: DataModel | None = self._datastore.label(label_id, tag)
        return label

    def json(self) -> dict[str, Any]:
        with self._guard:
            self._tell_infos()
            return dict(super().json())

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        with self._guard:
            self._tell_infos()
        return str(super().get_dataset_archive(limit_cases))

    def _tell_infos(self) -> None:
        """Bring the list's own copy of the information up to the state file."""
        for (kind, scan, tag), info in self._store.all_info().items():
            obj: ImageLabelModel | None = self._datastore.objects.get(scan)
            part = obj and (obj.image if kind == "image" else obj.labels.get(tag))
            if part:
                part.info = info

    def notice_change(self, event: FileSystemEvent) -> None:
        if self._datastore_config_path not in (event.src_path, getattr(event, "dest_path", "")):
            return
        try:
            self._init_from_datastore_file()
            self._reconcile_datastore()
        except OSError as error:  # would end the watching; the folder may be emptied just now
            logger.warning("%s changed, and cannot be read: %s", self._datastore_config_path, error)

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        """Take over what plain MONAI Label wrote; at the start also which scans there are."""
        path = Path(self._datastore_config_path)
        if not path.is_file():
            return  # and no lock is made in a folder that is not there now
        with self._index_lock():
            if not path.is_file() or (written := path.stat().st_mtime) == self._config_ts:
                return
            try:
                index = LocalDatastoreModel.model_validate_json(path.read_bytes())
            except ValueError as error:
                logger.warning("%s is not whole, and put aside: %s", path, error)
                if not self._frozen:
                    path.replace(path.with_name(f"{path.name}.damaged"))
                return
            self._store.merge(_infos(index), written)
            self._config_ts = written
            if throw_exception:  # as MONAI Label asks for at the start, and only there
                index.base_path = self._datastore_path
                self._datastore = index

    def _update_datastore_file(self, lock: bool = True) -> None:  # noqa: ARG002 -- MONAI Label's interface
        if not self._frozen:
            self._snapshot.changed()

    def close(self) -> None:
        """Stop watching the folder, and write the snapshot if a change waits for it."""
        if (observer := getattr(self, "_observer", None)) is not None and observer.is_alive():
            observer.stop()
            observer.join()
        self._snapshot.close()

    def _index_lock(self) -> AbstractContextManager[object]:
        """For MONAI Label's own file; where nothing can be written nobody else changes it either."""
        return FileLock(self._lock_file) if self.is_writable else nullcontext()

    def _holds_scan(self) -> bool:
        """Whether one of the scans that are listed is in the folder now, or none is listed."""
        with self._guard:
            objects = list(self._datastore.objects.items())
        folder = Path(self._datastore.image_path())
        return not objects or any((folder / f"{scan}{obj.image.ext}").exists() for scan, obj in objects)

    def write_snapshot(self) -> None:
        """Write ``datastore_v2.json`` now, as a whole; a frozen datastore writes nothing."""
        if self._frozen or not self.is_writable:
            return
        self.mark.check()
        self._init_from_datastore_file()
        path = Path(self._datastore_config_path)
        with FileLock(self._lock_file):
            self._reconcile_datastore()  # in here: a list from before would undo what another process wrote
            with self._guard:
                self._tell_infos()
                infos = _infos(self._datastore)
                text = self._datastore.model_dump_json(exclude={"base_path"}, indent=2)
            replace_text(path, text, self.mark.check)
            self._config_ts = path.stat().st_mtime
            self._store.mark_written(infos)


def _infos(index: LocalDatastoreModel) -> dict[InfoKey, dict[str, Any]]:
    entries = {InfoKey("image", scan): obj.image.info for scan, obj in index.objects.items()}
    for scan, obj in index.objects.items():
        entries |= {InfoKey("label", scan, tag): label.info for tag, label in obj.labels.items()}
    return entries
