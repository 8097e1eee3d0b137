"""MONAI Label's local datastore with clean labels, safe paths, and an index that is whole at any time."""

import json
import logging
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException

from segtrust._files import replace_text
from segtrust.label.cleaning import Structures, cleaned_file
from segtrust.label.failures import LabelError, PathError

__all__ = ["FinalLabel", "SafeDatastore", "tag_name"]

logger = logging.getLogger(__name__)

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNSAFE_ID = re.compile(r"[\x00-\x1f/\\:*?\"<>|]|\.\.|^[.\s]|[.\s]$")


@dataclass(frozen=True)
class FinalLabel:
    """A final label as it is listed: the model it belongs to (empty: any), a stamp that changes with it."""

    model: str
    stamp: str


class SafeDatastore(LocalDatastore):
    """A folder of scans and labels.

    Args:
        folder: the studies.
        structures: structures of the served models, to which submitted labels are brought back.
        on_served: called with scan, client and strategy when a scan was handed out.
        frozen: never write the index; for processes beside the server, which would undo what it wrote.
        options: what ``LocalDatastore`` takes.
    """

    def __init__(
        self,
        folder: str,
        *,
        structures: Structures,
        on_served: Callable[[str, str, str], None],
        frozen: bool = False,
        **options: Any,  # noqa: ANN401 -- handed through
    ) -> None:
        self._structures = structures
        self._frozen = frozen
        self._on_served = on_served
        self._guard = threading.RLock()  # the folder's watcher and requests change the same index
        super().__init__(folder, **options)
        if (handler := getattr(self, "_handler", None)) is not None:
            handler.on_moved = self._on_index_replaced  # how another process writes the index

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        if image_id:
            _check_id(image_id)
        if not any(image_filename.endswith(extension.lstrip("*")) for extension in self._extensions):
            raise PathError(
                f"a scan must be one of {', '.join(self._extensions)}, got {Path(image_filename).suffix!r}."
            )
        with self._guard:
            return str(super().add_image(image_id, image_filename, image_info))

    def remove_image(self, image_id: str) -> None:
        with self._guard:
            super().remove_image(image_id)
            self.refresh()  # not left to the watcher, which may come after the next request

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        tag = tag_name(label_tag)
        if not _TAG.fullmatch(tag):
            raise PathError(f"a label's tag must be letters, digits, '.', '_' and '-', got {tag!r}.")
        if not self.get_image_uri(image_id):
            raise ImageNotFoundException(f"no scan {image_id!r} in the datastore")
        info = dict(label_info or {})
        segments = info.get("label_info")
        if tag != DefaultLabelTag.FINAL.value and not segments:
            return self._keep_label(image_id, label_filename, tag, info)
        with cleaned_file(Path(label_filename), segments, self._structures) as (file, report):
            if segments:
                known = self._structures.get(report.model, {})
                info["label_info"] = [{"name": name, "idx": value} for name, value in known.items()]
            info["segtrust"] = report.to_json()
            return self._keep_label(image_id, str(file), tag, info)

    def _keep_label(self, image_id: str, file: str, tag: str, info: dict[str, Any]) -> str:
        with self._guard:
            label_id = str(super().save_label(image_id, file, tag, info))
        # MONAI Label copies the mode of a temporary file, which nobody else may read, with the content
        mode = Path(self._datastore_config_path).stat().st_mode
        Path(self.get_label_uri(label_id, tag)).chmod(stat.S_IMODE(mode))
        return label_id

    def final_labels(self) -> dict[str, FinalLabel]:
        """Scans with a final label, and whose it is; nothing is fetched for it."""
        tag = DefaultLabelTag.FINAL.value
        found = {}
        for scan in sorted(self.get_labeled_images()):
            path = Path(self.get_label_uri(scan, tag))
            about = self.get_label_info(scan, tag).get("segtrust")
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
        with self._guard:
            if self.get_label_uri(label_id, label_tag):
                super().remove_label(label_id, label_tag)
                self.refresh()

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        # the endpoint of /activelearning reports here whom it served; that belongs to the state file, where
        # it costs the same for any number of scans and does not shadow the answer's own `strategy`
        rest = dict(info)
        for strategy, entry in (rest.pop("strategy", None) or {}).items():
            self._on_served(image_id, str(entry.get("client_id") or ""), strategy)
        if rest:
            with self._guard:
                super().update_image_info(image_id, rest)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        with self._guard:
            super().update_label_info(label_id, label_tag, info)

    def refresh(self) -> None:
        with self._guard:
            super().refresh()

    def _on_modify_event(self, event: object) -> None:
        with self._guard:
            super()._on_modify_event(event)

    def _on_index_replaced(self, event: Any) -> None:  # noqa: ANN401 -- watchdog's own type
        if event.dest_path == self._datastore_config_path:
            with self._guard:
                self._init_from_datastore_file()

    def _update_datastore_file(self, lock: bool = True) -> None:
        if self._frozen:
            return
        if lock:
            with FileLock(self._lock_file):
                self._replace_index()
        else:
            self._replace_index()

    def _replace_index(self) -> None:
        """Write beside and rename: a kill leaves the old index or the new one, never half of it."""
        text = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
        target = Path(self._datastore_config_path)
        replace_text(target, text)
        self._config_ts = target.stat().st_mtime


def _check_id(image_id: str) -> None:
    if len(image_id) > 200 or _UNSAFE_ID.search(image_id):
        raise PathError(f"a scan's id must be a plain file name without folders or '..', got {image_id!r}.")


def tag_name(tag: object) -> str:
    """A label's tag as text; MONAI Label hands over text or a member of its enumeration."""
    return str(getattr(tag, "value", tag))
