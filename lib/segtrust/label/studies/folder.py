"""Which scans and labels lie in a folder: listed once, then followed file by file at a constant cost."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore

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

    Args:
        folder: the studies.
        extensions: patterns of the names of files that are scans or labels.
        options: what else ``LocalDatastore`` takes.
    """

    def __init__(
        self,
        folder: str,
        *,
        extensions: Sequence[str] = ("*.nii.gz", "*.nii"),
        **options: Any,  # noqa: ANN401 -- handed through
    ) -> None:
        self._guard = threading.RLock()  # the folder's watcher and requests change the same list
        self._summary: _Summary | None = None
        self._suffixes = tuple(extension.lstrip("*") for extension in extensions)
        super().__init__(folder, extensions=extensions, **options)
        if (handler := getattr(self, "_handler", None)) is not None:
            handler.on_moved = self._on_any_event  # how files are put in place whole

    def unlabeled_ids(self) -> list[str]:
        """Scans without a final label, as :meth:`get_unlabeled_images`; no file is looked at."""
        return self.get_unlabeled_images()

    def list_images(self) -> list[str]:
        with self._guard:
            return list(self._datastore.objects)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return list(self._summed_up().labelled)

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
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
        }

    def _summed_up(self) -> _Summary:
        """What the list of files says, counted anew only after a change of it."""
        with self._guard:
            if self._summary is None:
                objects = self._datastore.objects
                self._summary = _Summary(
                    [scan for scan, obj in objects.items() if FINAL in obj.labels],
                    [scan for scan, obj in objects.items() if FINAL not in obj.labels],
                    Counter(tag for obj in objects.values() for tag in obj.labels),
                )
            return self._summary

    def refresh(self) -> None:
        self._reconcile_datastore()

    def _to_id(self, file: str) -> tuple[str, str]:
        fitting = [suffix for suffix in self._suffixes if file.endswith(suffix)]
        extension = max(fitting, key=len) if fitting else Path(file).suffix
        return file.removesuffix(extension), extension

    def _on_any_event(self, event: Any) -> None:  # noqa: ANN401 -- watchdog's own type
        for path in filter(None, (event.src_path, getattr(event, "dest_path", ""))):
            if path == self._datastore_config_path:
                self._on_modify_event(event)
                continue
            try:
                self._look_at(self._to_id(Path(path).name)[0])
            except OSError as error:  # would end the watching
                logger.warning("A file changed, and the folder cannot be read: %s", error)

    def _reconcile_datastore(self) -> None:
        """List the folder again."""
        with self._guard:  # also while listing: what is saved meanwhile would not be on the list
            images = self._listing(Path(self._datastore.image_path()))
            labels = {folder.name: self._listing(folder) for folder in self._tag_folders()}
            for image, obj in list(self._datastore.objects.items()):
                if image not in images or any(image not in labels.get(tag, {}) for tag in obj.labels):
                    self._look_at(image)
            for image, extensions in images.items():
                self._set(image, extensions, {tag: found.get(image, []) for tag, found in labels.items()})
            self._summary = None

    def _look_at(self, image: str) -> None:
        """Bring one scan of the list up to what lies in the folder."""
        with self._guard:
            known = self._datastore.objects.get(image)
            extensions = self._extensions_of(image, Path(self._datastore.image_path()), known and known.image)
            labels = {
                folder.name: self._extensions_of(image, folder, known and known.labels.get(folder.name))
                for folder in self._tag_folders()
            }
            if extensions:
                self._set(image, extensions, labels)
                for tag in [tag for tag in self._datastore.objects[image].labels if not labels.get(tag)]:
                    del self._datastore.objects[image].labels[tag]
            else:
                self._datastore.objects.pop(image, None)
            self._summary = None

    def _set(self, image: str, extensions: list[str], labels: Mapping[str, list[str]]) -> None:
        known = self._datastore.objects.get(image)
        if known is None:
            known = self._datastore.objects[image] = ImageLabelModel(image=_new(image, extensions[0]))
        elif known.image.ext not in extensions:
            known.image.ext = extensions[0]
        for tag, found in labels.items():
            if found and tag not in known.labels:
                known.labels[tag] = _new(image, found[0])
            elif found and known.labels[tag].ext not in found:
                known.labels[tag].ext = found[0]

    def _tag_folders(self) -> list[Path]:
        with os.scandir(self._datastore.label_path(None)) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]

    def _listing(self, folder: Path) -> _Listing:
        found: _Listing = {}
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if name.endswith(self._suffixes) and not name.startswith("."):
                image, extension = self._to_id(name)
                found.setdefault(image, []).append(extension)
        for several in found.values():
            several.sort(key=self._suffixes.index)
        return found

    def _extensions_of(self, image: str, folder: Path, known: DataModel | None) -> list[str]:
        """Of a scan or label; one may be listed whose extension is not among those of the folder."""
        suffixes = dict.fromkeys((*self._suffixes, *([known.ext] if known else [])))
        return [suffix for suffix in suffixes if (folder / f"{image}{suffix}").exists()]


def _new(image: str, extension: str) -> DataModel:
    return DataModel(info={"ts": int(time.time()), "name": f"{image}{extension}"}, ext=extension)
