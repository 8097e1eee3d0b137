"""Which scans and labels lie in a folder: listed once, then followed file by file at a constant cost."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from watchdog.events import FileSystemEvent, PatternMatchingEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from segtrust._files import can_write
from segtrust.files.channels import split_channel
from segtrust.files.opening import is_regular
from segtrust.label.studies.ids import split_name, why_unread
from segtrust.label.studies.tags import FINAL

__all__ = ["ScanFolder"]

logger = logging.getLogger(__name__)

_Listing = dict[str, list[str]]


class _Summary(NamedTuple):
    labelled: list[str]
    unlabelled: list[str]
    tags: Counter[str]


class ScanFolder(LocalDatastore):
    """MONAI Label's local datastore with its list of files kept up to date at low cost.

    A folder in which nothing can be written is listed and followed as well.

    Args:
        folder: the studies; made if it does not exist.
        extensions: patterns of the names of files that are scans or labels.
        auto_reload: follow what happens in the folder.
        read_only: never write in it.
        channels: most channels of a served model; files ``ID_0001``, ... below that number are no scans of
            their own where ``ID_0000`` lies beside them.
    """

    def __init__(  # MONAI Label's own makes folders, also where nothing can be written
        self,
        folder: str,
        *,
        extensions: Sequence[str] = ("*.nii.gz", "*.nii"),
        auto_reload: bool = False,
        read_only: bool = False,
        channels: int = 1,
    ) -> None:
        self._channels = channels
        self._guard = threading.RLock()  # the folder's watcher and requests change the same list
        self._summary: _Summary | None = None
        self._unusable: dict[str, str] = {}
        self._suffixes = tuple(extension.lstrip("*") for extension in extensions)
        self._read_only = read_only
        self._extensions = list(extensions)
        self._auto_reload = auto_reload
        self._datastore_path = folder
        self._datastore_config_path = str(Path(folder) / "datastore_v2.json")
        self._lock_file = str(Path(folder) / ".lock")
        self._config_ts = 0.0
        logging.getLogger("filelock").setLevel(logging.ERROR)  # it tells of every lock
        self._datastore = LocalDatastoreModel(
            name="new-dataset", description="New Dataset", images_dir=".", base_path=folder
        )
        if self.is_writable:
            Path(folder).mkdir(parents=True, exist_ok=True)
        self._init_from_datastore_file(throw_exception=True)
        if self.is_writable:
            for tag in (FINAL, "original"):
                Path(self._datastore.label_path(tag)).mkdir(parents=True, exist_ok=True)
        self._reconcile_datastore()
        if auto_reload:
            self._watch()

    @property
    def is_writable(self) -> bool:
        """Whether scans can be added to the folder."""
        return not self._read_only and can_write(Path(self._datastore_path))

    def _watch(self) -> None:
        folders = [self._datastore.image_path(), *map(self._datastore.label_path, (FINAL, "original"))]
        folders += [str(folder) for folder in self._tag_folders()]
        patterns = [f"{folder}{os.sep}{pattern}" for folder in folders for pattern in self._extensions]
        self._handler = _Watcher([*patterns, self._datastore_config_path], self)
        self._observer = (PollingObserver if self._is_on_mount(self._datastore_path) else Observer)()
        try:
            self._observer.schedule(self._handler, recursive=True, path=self._datastore_path)
            self._observer.start()
        except OSError as error:
            logger.warning("What happens in the folder of scans by hand is not noticed: %s", error)

    def list_images(self) -> list[str]:
        with self._guard:
            return list(self._datastore.objects)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002 -- what other datastores need
        return list(self._summed_up().labelled)

    def get_unlabeled_images(
        self,
        label_tag: str | None = None,  # noqa: ARG002 -- what other datastores need
        labels: list[str] | None = None,  # noqa: ARG002 -- what other datastores need
    ) -> list[str]:
        return list(self._summed_up().unlabelled)

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        with self._guard:
            return list(super().datalist(full_path))

    def status(self) -> dict[str, Any]:
        completed = len(self.get_labeled_images())
        return {
            "total": len(self.list_images()),
            "completed": completed,
            "label_tags": dict(self._summed_up().tags),
            **({"unusable_labels": self.unusable_labels()} if self._unusable else {}),
        }

    def unusable_labels(self) -> dict[str, str]:
        """Scans whose final label somebody put into the folder and that cannot be used, with the reason."""
        with self._guard:
            return dict(self._unusable)

    def _set_unusable(self, scan: str, reason: str | None) -> None:
        with self._guard:
            if reason is None:
                changed = self._unusable.pop(scan, None) is not None
            else:
                changed = self._unusable.get(scan) != reason
                self._unusable[scan] = reason
                if changed:
                    logger.warning("A final label in the folder cannot be used; GET /datastore/ says why")
            if changed:
                self._summary = None

    def _summed_up(self) -> _Summary:
        """What the list of files says, counted anew only after a change of it."""
        with self._guard:
            if self._summary is None:
                objects = self._datastore.objects
                self._summary = _Summary(
                    [s for s, obj in objects.items() if FINAL in obj.labels and s not in self._unusable],
                    [s for s, obj in objects.items() if FINAL not in obj.labels or s in self._unusable],
                    Counter(tag for obj in objects.values() for tag in obj.labels),
                )
            return self._summary

    def part_folders(self) -> list[Path]:
        """Folders in which a server that was killed may have left parts of files."""
        return [Path(self._datastore.image_path()), *self._tag_folders()]

    def get_image_uri(self, image_id: str) -> str:
        if image_id not in self._datastore.objects:
            self._look_at(image_id)  # its disk may have been away, and is there again
        return str(super().get_image_uri(image_id))

    def refresh(self) -> None:
        self._reconcile_datastore()

    def _to_id(self, file: str) -> tuple[str, str]:
        return split_name(file, self._suffixes)

    def notice(self, event: FileSystemEvent) -> None:
        """Look at what came, went or was moved."""
        for path in filter(None, (event.src_path, getattr(event, "dest_path", ""))):
            if path == self._datastore_config_path:
                self.notice_change(event)
                continue
            try:
                self._look_at(self._to_id(Path(path).name)[0])
            except OSError as error:  # would end the watching
                logger.warning("A file changed, and the folder cannot be read: %s", error)

    def notice_change(self, event: FileSystemEvent) -> None:
        """Look at MONAI Label's own file again, if it was that which changed."""

    def _reconcile_datastore(self) -> None:
        """List the folder again."""
        with self._guard:  # also while listing: what is saved meanwhile would not be on the list
            listing = self._listing(Path(self._datastore.image_path()))
            images = {image: endings for image, endings in listing.items() if not self._is_channel(image)}
            labels = {folder.name: self._listing(folder) for folder in self._tag_folders()}
            for image, obj in list(self._datastore.objects.items()):
                if image not in images or any(image not in labels.get(tag, {}) for tag in obj.labels):
                    self._look_at(image)
            for image, extensions in images.items():
                self._set(image, extensions, {tag: listing.get(image, []) for tag, listing in labels.items()})
            self._summary = None

    def _look_at(self, image: str) -> None:
        """Bring one scan of the list up to what lies in the folder."""
        with self._guard:
            scan = self._datastore.objects.get(image)
            extensions = self._extensions_of(image, Path(self._datastore.image_path()), scan and scan.image)
            if self._is_channel(image):
                extensions = []
            for other in self._other_channels(image):  # scans of their own without this one
                self._look_at(other)
            if scan is None and not extensions:
                return
            labels = {
                folder.name: self._extensions_of(image, folder, scan and scan.labels.get(folder.name))
                for folder in self._tag_folders()
            }
            if extensions:
                self._set(image, extensions, labels)
                for tag in [tag for tag in self._datastore.objects[image].labels if not labels.get(tag)]:
                    del self._datastore.objects[image].labels[tag]
            else:
                self._datastore.objects.pop(image, None)
            self._summary = None

    def _is_channel(self, image: str) -> bool:
        """Whether a file is a further channel of a scan whose first one lies beside it."""
        parts = split_channel(f"{image}{self._suffixes[0]}") if self._channels > 1 else None
        if parts is None or not 0 < parts[1] < self._channels:
            return False
        folder = Path(self._datastore.image_path())
        return bool(self._extensions_of(f"{parts[0]}_0000", folder, None))

    def _other_channels(self, image: str) -> list[str]:
        """Ids under which the further channels of a scan would be listed."""
        parts = split_channel(f"{image}{self._suffixes[0]}") if self._channels > 1 else None
        if parts is None or parts[1] != 0:
            return []
        return [f"{parts[0]}_{number:04d}" for number in range(1, self._channels)]

    def _set(self, image: str, extensions: list[str], labels: Mapping[str, list[str]]) -> None:
        scan = self._datastore.objects.get(image)
        if scan is None:
            scan = self._datastore.objects[image] = ImageLabelModel(image=_new(image, extensions[0]))
        elif scan.image.ext not in extensions:
            scan.image.ext = extensions[0]
        for tag, endings in labels.items():
            if endings and tag not in scan.labels:
                scan.labels[tag] = _new(image, endings[0])
            elif endings and scan.labels[tag].ext not in endings:
                scan.labels[tag].ext = endings[0]

    def _tag_folders(self) -> list[Path]:
        folder = Path(self._datastore.label_path(None))
        if not folder.is_dir() and Path(self._datastore_path).is_dir():
            return []  # nobody could make it yet
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]

    def _listing(self, folder: Path) -> _Listing:
        listing: _Listing = {}
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.is_file() and not why_unread(entry.name, self._suffixes)
            ]
        for name in names:
            image, extension = self._to_id(name)
            listing.setdefault(image, []).append(extension)
        for several in listing.values():
            several.sort(key=self._suffixes.index)
        return listing

    def _extensions_of(self, image: str, folder: Path, listed: DataModel | None) -> list[str]:
        """Of a scan or label; one may be listed whose extension is not among those of the folder.

        A client may have made the name up: what leads to another folder is nothing that lies in this one.
        """
        if any(separator in image for separator in "/\\\0"):
            return []
        suffixes = dict.fromkeys((*self._suffixes, *([listed.ext] if listed else [])))
        return [
            suffix
            for suffix in suffixes
            if is_regular(folder / f"{image}{suffix}") and self._names(image, suffix)
        ]

    def _names(self, image: str, suffix: str) -> bool:
        """Whether a file of this name is read as the one of this scan; the longest ending counts."""
        if suffix not in self._suffixes:
            return True
        name = f"{image}{suffix}"
        return self._to_id(name) == (image, suffix) and not why_unread(name, self._suffixes)


def _new(image: str, extension: str) -> DataModel:
    return DataModel(info={"ts": int(time.time()), "name": f"{image}{extension}"}, ext=extension)


class _Watcher(PatternMatchingEventHandler):
    """Tells a folder what somebody does in it; files that are put in place whole are moved there."""

    def __init__(self, patterns: list[str], folder: ScanFolder) -> None:
        super().__init__(patterns=patterns)
        self._folder = folder

    def on_created(self, event: FileSystemEvent) -> None:
        self._folder.notice(event)

    def on_deleted(self, event: FileSystemEvent) -> None:
        self._folder.notice(event)

    def on_moved(self, event: FileSystemEvent) -> None:
        self._folder.notice(event)

    def on_closed(self, event: FileSystemEvent) -> None:
        self._folder.notice(event)  # only now a file that was created is there to its end

    def on_modified(self, event: FileSystemEvent) -> None:
        self._folder.notice_change(event)
