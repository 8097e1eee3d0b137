"""MONAI Label's local datastore with clean labels, safe paths, and information that cannot be lost."""

import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel
from monailabel.interfaces.exception import ImageNotFoundException

from segtrust.label.failures import LabelError, PathError
from segtrust.label.studies.cleaning import Structures, cleaned_file
from segtrust.label.studies.information import InformedFolder
from segtrust.label.studies.tags import FINAL, check_tag, result_tag, tag_name
from segtrust.store import InfoKey, StateStore

__all__ = ["FinalLabel", "SafeDatastore"]

_LABEL_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
_UNSAFE_ID = re.compile(r"[\x00-\x1f/\\:*?\"<>|]|\.\.|^[.\s]|[.\s]$")


@dataclass(frozen=True)
class FinalLabel:
    """A final label as it is listed: the model it belongs to (empty: any), a stamp that changes with it."""

    model: str
    stamp: str


class SafeDatastore(InformedFolder):
    """A folder of scans and labels.

    Args:
        folder: the studies.
        structures: structures of the served models, to which submitted labels are brought back.
        store: state file of the site.
        on_served: called with scan, client and strategy when a scan was handed out.
        frozen: never write the snapshot; for processes beside the server.
        options: what ``LocalDatastore`` takes.
    """

    def __init__(
        self,
        folder: str,
        *,
        structures: Structures,
        store: StateStore,
        on_served: Callable[[str, str, str], None],
        frozen: bool = False,
        **options: Any,  # noqa: ANN401 -- handed through
    ) -> None:
        self._structures = structures
        self._on_served = on_served
        super().__init__(folder, store=store, frozen=frozen, **options)

    def image_path(self, image_id: str) -> Path | None:
        """Where a scan lies on this machine; ``None`` if it is unknown. Nothing is fetched for it."""
        uri = super().get_image_uri(image_id)
        return Path(uri) if uri else None

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        if image_id:
            _check_id(image_id)
        found, extension = self._to_id(Path(image_filename).name)
        if extension not in self._suffixes:
            raise PathError(
                f"a scan must be one of {', '.join(self._extensions)}, got {Path(image_filename).suffix!r}."
            )
        image_id = image_id or found
        info = _stamped(image_info, f"{image_id}{extension}")
        with _beside(Path(image_filename), Path(self._datastore.image_path()) / info["name"]):
            self._store.put_info(InfoKey("image", image_id), info)
        with self._guard:
            self._look_at(image_id)
            self._datastore.objects[image_id].image.ext = extension
        self._update_datastore_file()
        return image_id

    def remove_image(self, image_id: str) -> None:
        obj = self._datastore.objects.get(image_id)
        if obj is None:
            raise ImageNotFoundException(f"no scan {image_id!r} in the datastore")
        for tag in list(obj.labels):
            self.remove_label(image_id, tag)
        Path(self.get_image_uri(image_id)).unlink(missing_ok=True)
        self._store.remove_info([InfoKey("image", image_id)])
        self._look_at(image_id)  # not left to the watcher, which may come after the next request
        self._update_datastore_file()

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        tag, info = check_tag(label_tag), dict(label_info or {})
        _check_suffix(label_filename)
        if not self.get_image_uri(image_id):
            raise ImageNotFoundException(f"no scan {image_id!r} in the datastore")
        info.pop("result", None)  # says that a model made it, which a client cannot say
        segments = info.get("label_info")
        if tag != FINAL and not segments:
            return self._keep_label(image_id, label_filename, tag, info)
        with cleaned_file(Path(label_filename), segments, self._structures) as (file, report):
            if segments:
                known = self._structures.get(report.model, {})
                info["label_info"] = [{"name": name, "idx": value} for name, value in known.items()]
            info["segtrust"] = report.to_json()
            label_id = self._keep_label(image_id, str(file), tag, info)
        if tag == FINAL:
            self._store.submitted(image_id, str(info.get("client_id") or ""))
        return label_id

    def save_result(self, image_id: str, file: str, tag: str, info: Mapping[str, Any]) -> str:
        """Keep what a model made of a scan, under a tag that is not ``final``.

        Args:
            image_id: the scan.
            file: the result, ``.nii.gz``, ``.nii`` or ``.nrrd``.
            tag: replaces an earlier result with this tag.
            info: model and parameters.

        Returns:
            The id of the label.

        Raises:
            LabelError: if the tag is ``final``.
            ImageNotFoundException: if there is no such scan.
        """
        tag = result_tag({"label_tag": tag})
        _check_suffix(file)
        if not self.get_image_uri(image_id):
            raise ImageNotFoundException(f"no scan {image_id!r} in the datastore")
        return self._keep_label(image_id, file, tag, {**info, "result": True})

    def _keep_label(self, image_id: str, file: str, tag: str, info: dict[str, Any]) -> str:
        extension = self._to_id(Path(file).name)[1]
        info = _stamped(info, f"{image_id}{extension}")
        folder = Path(self._datastore.label_path(tag))
        folder.mkdir(parents=True, exist_ok=True)
        with _beside(Path(file), folder / info["name"]):
            self._store.put_info(InfoKey("label", image_id, tag), info)
        with self._guard:
            if image_id not in self._datastore.objects:
                self._look_at(image_id)
            self._datastore.objects[image_id].labels[tag] = DataModel(info=info, ext=extension)
            self._summary = None
        self._update_datastore_file()
        return image_id

    def final_labels(self) -> dict[str, FinalLabel]:
        """Scans with a final label, and whose it is; nothing is fetched for it."""
        known, found = self._store.all_info(), {}
        for scan in sorted(self.get_labeled_images()):
            path = Path(self.get_label_uri(scan, FINAL))
            about = known.get(InfoKey("label", scan, FINAL), {}).get("segtrust")
            model = about["model"] if about else self._model_by_values(path)
            state = path.stat()
            found[scan] = FinalLabel(model, f"{state.st_size}-{state.st_mtime_ns}")
        return found

    def _model_by_values(self, path: Path) -> str:
        """Whose a label is that somebody put into the folder, past all cleaning."""
        try:
            with cleaned_file(path, None, self._structures) as (_, report):
                return report.model
        except LabelError:
            return ""  # training says what is wrong with it

    def remove_label(self, label_id: str, label_tag: str) -> None:
        if not (path := self.get_label_uri(label_id, label_tag)):
            return
        tag = tag_name(label_tag)
        Path(path).unlink(missing_ok=True)
        self._store.remove_info([InfoKey("label", label_id, tag)])
        if tag == FINAL:
            self._store.withdrawn(label_id)
        self._look_at(label_id)
        self._update_datastore_file()

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        # the endpoint of /activelearning reports here whom it served; that belongs to the state file's list
        # of served scans, and must not shadow the answer's own `strategy`
        rest = dict(info)
        for strategy, entry in (rest.pop("strategy", None) or {}).items():
            self._on_served(image_id, str(entry.get("client_id") or ""), strategy)
        if rest:
            super().update_image_info(image_id, rest)


def _stamped(info: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    return {**(info or {}), "ts": int(time.time()), "name": name}


@contextmanager
def _beside(source: Path, target: Path) -> Iterator[None]:
    """Copy beside the target, and rename after the block: a kill leaves the old file or the new one."""
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        shutil.copyfile(source, part)
        yield
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _check_suffix(file: str) -> None:
    if not file.endswith(_LABEL_SUFFIXES):
        raise PathError(
            f"a label must be one of {', '.join(_LABEL_SUFFIXES)}, got {''.join(Path(file).suffixes)!r}."
        )


def _check_id(image_id: str) -> None:
    if len(image_id) > 200 or _UNSAFE_ID.search(image_id):
        raise PathError(f"a scan's id must be a plain file name without folders or '..', got {image_id!r}.")
