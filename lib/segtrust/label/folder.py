"""Which scans and labels lie in a folder: listed once, then followed file by file at a constant cost."""

import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore

__all__ = ["ScanFolder"]

_Listing = dict[str, list[str]]


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
        self._suffixes = tuple(extension.lstrip("*") for extension in extensions)
        super().__init__(folder, extensions=extensions, **options)
        if (handler := getattr(self, "_handler", None)) is not None:
            handler.on_moved = self._on_any_event  # how files are put in place whole

    def unlabeled_ids(self) -> list[str]:
        """Scans without a final label, as :meth:`get_unlabeled_images`; no file is looked at."""
        return self.get_unlabeled_images()

    def list_images(self) -> list[str]:
        with self._guard:
            return list(super().list_images())

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        with self._guard:
            return list(super().get_labeled_images(label_tag, labels))

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        with self._guard:
            return list(super().get_unlabeled_images(label_tag, labels))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        with self._guard:
            return list(super().datalist(full_path))

    def status(self) -> dict[str, Any]:
        with self._guard:
            tags = Counter(tag for obj in self._datastore.objects.values() for tag in obj.labels)
        completed = len(self.get_labeled_images())
        return {"total": len(self.list_images()), "completed": completed, "label_tags": dict(tags)}

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
            else:
                self._look_at(self._to_id(Path(path).name)[0])

    def _reconcile_datastore(self) -> None:
        """List the folder again."""
        with self._guard:  # also while listing: what is saved meanwhile would not be on the list
            images = self._listing(Path(self._datastore.image_path()))
            labels = {folder.name: self._listing(folder) for folder in self._tag_folders()}
            for image in [image for image in self._datastore.objects if image not in images]:
                del self._datastore.objects[image]
            for image, extensions in images.items():
                self._set(image, extensions, {tag: found.get(image, []) for tag, found in labels.items()})

    def _look_at(self, image: str) -> None:
        """Bring one scan of the list up to what lies in the folder."""
        with self._guard:
            extensions = self._extensions_of(image, Path(self._datastore.image_path()))
            labels = {folder.name: self._extensions_of(image, folder) for folder in self._tag_folders()}
            if extensions:
                self._set(image, extensions, labels)
            else:
                self._datastore.objects.pop(image, None)

    def _set(self, image: str, extensions: list[str], labels: Mapping[str, list[str]]) -> None:
        known = self._datastore.objects.get(image)
        if known is None:
            known = self._datastore.objects[image] = ImageLabelModel(image=_new(image, extensions[0]))
        elif known.image.ext not in extensions:
            known.image.ext = extensions[0]
        for tag in [tag for tag in known.labels if not labels.get(tag)]:
            del known.labels[tag]
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

    def _extensions_of(self, image: str, folder: Path) -> list[str]:
        return [suffix for suffix in self._suffixes if (folder / f"{image}{suffix}").exists()]


def _new(image: str, extension: str) -> DataModel:
    return DataModel(info={"ts": int(time.time()), "name": f"{image}{extension}"}, ext=extension)
