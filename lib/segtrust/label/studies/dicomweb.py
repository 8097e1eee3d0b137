"""The datastore of a DICOMweb archive: scans and final labels live there, a local folder keeps copies."""

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
from monailabel.config import settings as platform
from monailabel.datastore.utils.convert import binary_to_image
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException
from monailabel.utils.others.generic import md5_digest
from pydicom import dcmread

from segtrust.decisions import LabelRule, label_type
from segtrust.dicom import read_label, read_series, write_label
from segtrust.errors import ScanError, SegtrustError, SettingError
from segtrust.files import series as files
from segtrust.files.scan import scan_grid
from segtrust.inference import write_volume
from segtrust.inference.scan import read_labels
from segtrust.label.names import structure_labels
from segtrust.label.studies.changes import Submission
from segtrust.label.studies.cleaning import cleaned_file
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.label.studies.pacs import LabelSeries, Pacs
from segtrust.label.studies.tags import FINAL, tag_name
from segtrust.label.studies.unread import Unread
from segtrust.label.temporary import part_of
from segtrust.models import Label, ModelSpec
from segtrust.release.collect import FinalLabel
from segtrust.store import Info, InfoKey, StateStore

__all__ = ["DicomwebDatastore", "cache_dir"]

logger = logging.getLogger(__name__)

_WRITTEN = ("u1", "i2", "u2", "f4")  # other types of values are written as f4


class DicomwebDatastore(SafeDatastore):
    """Series of an archive as scans, segmentations of people as their final labels.

    Args:
        folder: cache of this archive; series, their volumes, and labels with other tags are kept there.
        pacs: the archive.
        specs: specifications of the served models.
        store: state file of the site.
        on_served: called with scan, client and strategy when a scan was handed out.
        keep: how many labels of the past are kept for each series and tag.
        frozen: never write the index of the cache; for processes beside the server.
    """

    def __init__(
        self,
        folder: Path,
        pacs: Pacs,
        *,
        specs: Mapping[str, ModelSpec],
        store: StateStore,
        on_served: Callable[[str, str, str], None],
        keep: int = 20,
        frozen: bool = False,
    ) -> None:
        self._pacs = pacs
        self._specs = specs
        self._folder = folder.resolve()
        self._fetching: dict[str, threading.Lock] = {}
        super().__init__(
            str(self._folder),
            structures={model: structure_labels(spec) for model, spec in specs.items()},
            store=store,
            on_served=on_served,
            keep=keep,
            frozen=frozen,
            extensions=["*.nii.gz", "*.nii", "*.nrrd"],
            auto_reload=not frozen,
        )

    @property
    def pacs(self) -> Pacs:
        """The archive."""
        return self._pacs

    def name(self) -> str:
        return self._pacs.url

    def series_dir(self, image: Path) -> Path | None:
        """Folder with the DICOM files of a volume that :meth:`get_image_uri` returned; else ``None``."""
        folder = image.with_name(image.name.removesuffix(".nii.gz"))
        return folder if image.parent == self._folder and folder.is_dir() else None

    def image_path(self, image_id: str) -> Path | None:
        path = self._folder / f"{image_id}.nii.gz"
        return path if path.is_file() and self.series_dir(path) is not None else None

    def get_image_uri(self, image_id: str) -> str:
        if not self._pacs.has(image_id):
            return ""
        path = self._folder / f"{image_id}.nii.gz"
        with self._guard:
            lock = self._fetching.setdefault(image_id, threading.Lock())
        with lock:
            if self.image_path(image_id) is None:
                self._fetch_image(image_id, path)
        return str(path)

    def _fetch_image(self, image_id: str, path: Path) -> None:
        folder = self._folder / image_id
        if not folder.is_dir():
            self._pacs.fetch(self._pacs.images()[image_id], image_id, folder)
        info = {**self._pacs.info(image_id), "ts": int(time.time()), "name": path.name}
        part = part_of(path)
        try:
            _write_scan(folder, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._store.update_info(InfoKey("image", image_id), info, {})
        self._look_at(image_id)
        self._update_datastore_file()

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        if info := super().get_image_info(image_id):
            return info
        stored = self._store.get_info(InfoKey("image", image_id))
        return self._pacs.info(image_id) if stored is None else stored

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        if set(info) - {"strategy"} and not self._pacs.has(image_id):
            raise ImageNotFoundException(f"no series {image_id!r} to annotate in the PACS")
        super().update_image_info(image_id, info)

    def _image_default(self, image_id: str) -> dict[str, Any]:
        return dict(self._pacs.info(image_id))

    def add_image(
        self,
        image_id: str,  # noqa: ARG002 -- what other datastores need
        image_filename: str,  # noqa: ARG002 -- what other datastores need
        image_info: dict[str, Any],  # noqa: ARG002 -- what other datastores need
        *,
        replace: bool = False,  # noqa: ARG002 -- what other datastores need
        by: str = "",  # noqa: ARG002 -- what other datastores need
    ) -> str:
        raise SettingError(
            "a scan cannot be added over a DICOMweb server. Send the series to the PACS itself."
        )

    def remove_image(self, image_id: str, *, by: str = "") -> None:  # noqa: ARG002 -- what other datastores need
        raise SettingError("a scan cannot be removed over a DICOMweb server. Remove it in the PACS itself.")

    def list_images(self) -> list[str]:
        return list(self._pacs.images())

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002 -- what other datastores need
        return list(self._pacs.labels())

    def get_unlabeled_images(
        self,
        label_tag: str | None = None,  # noqa: ARG002 -- what other datastores need
        labels: list[str] | None = None,  # noqa: ARG002 -- what other datastores need
    ) -> list[str]:
        labelled = self._pacs.labels()
        return [image for image in self._pacs.images() if image not in labelled]

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = super().status()
        return {**status, "label_tags": {**status["label_tags"], FINAL: status["completed"]}}

    def submit_label(
        self, image_id: str, file: str, tag: str, info: Mapping[str, Any] | None, submission: Submission
    ) -> str:
        if not file.endswith(".bin"):
            return super().submit_label(image_id, file, tag, info, submission)
        if not (image := self.get_image_uri(image_id)):
            raise ImageNotFoundException(f"no series {image_id!r} to annotate in the PACS")
        volume = Path(binary_to_image(image, file))
        try:
            return super().submit_label(image_id, str(volume), tag, info, submission)
        finally:
            volume.unlink()

    def unread(self) -> Unread:
        """Nothing: what an archive lists is read, or said to be no scan."""
        return Unread()

    def _refuse_empty(self, folder: Path) -> None:
        """A cache may be empty."""

    def _place_of(self, image_id: str) -> None:
        """Compared with the series itself before a label is kept."""

    def _check_studies(self) -> None:
        """The folder is a cache, which may be emptied or moved at any time."""

    def _require_scan(self, image_id: str) -> None:
        self._pacs.info(image_id)  # asked for now: what a listing told may be a minute old
        if not self.get_image_uri(image_id):
            raise ImageNotFoundException(f"no series {image_id!r} to annotate in the PACS")

    def _before_keeping(self, image_id: str, file: Path, tag: str, info: Info) -> None:
        if tag != FINAL:
            return
        series = read_series(self._folder / image_id)
        values, affine = read_labels(file)
        model = info["segtrust"]["model"]
        labels, rule = self._labels_of(model), self._specs[model].head.rule if model else LabelRule()
        with tempfile.TemporaryDirectory(prefix="segtrust-label-") as folder:
            path = Path(folder) / "label.dcm"
            stored = values.numpy().astype(label_type(len(labels) + 1))
            write_label(stored, affine, labels, series, path, rule=rule)
            info["SeriesInstanceUID"] = str(dcmread(path, stop_before_pixels=True).SeriesInstanceUID)
            self._pacs.store([path])

    def _labels_of(self, model: str) -> list[Label]:
        """Structures of a model; all that are served for an empty label that belongs to none."""
        if model:
            return list(self._specs[model].labels)
        every = {label.name: label for spec in self._specs.values() for label in spec.labels}
        return [replace(label, value=number) for number, label in enumerate(every.values(), start=1)]

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        if tag_name(label_tag) != FINAL:
            return str(super().get_label_uri(label_id, label_tag))
        label = self._label(label_id)
        if label is None or not (image := self.get_image_uri(label.image)):
            return ""
        cached = super().get_label_info(label.image, FINAL).get("SeriesInstanceUID")
        path = str(super().get_label_uri(label.image, FINAL))
        if cached != label.series or not Path(path).is_file():
            self._fetch_label(label, Path(image))
            path = str(super().get_label_uri(label.image, FINAL))
        return path

    def _label(self, label_id: str) -> LabelSeries | None:
        """The label of a series, or with that UID itself."""
        labels = self._pacs.labels()
        return labels.get(label_id) or next((x for x in labels.values() if x.series == label_id), None)

    def _fetch_label(self, label: LabelSeries, image: Path) -> None:
        series = read_series(self._folder / label.image)
        grid = scan_grid(image)
        with tempfile.TemporaryDirectory(prefix="segtrust-label-") as folder:
            self._pacs.fetch(label.study, label.series, Path(folder) / "seg")
            document = dcmread(next((Path(folder) / "seg").iterdir()))
            stored = read_label(document, series, nested=self._nested_names(self._model_with_most(label)))
            values = series.place(grid.affine, grid.shape).to_volume(stored.frames)
            path = Path(folder) / "label.nii.gz"
            write_volume(values, grid.affine, path)
            named = [{"name": name, "idx": number} for number, name in stored.names.items()]
            info: dict[str, Any] = {"label_info": named, "SeriesInstanceUID": label.series}
            with cleaned_file(path, named, self._structures) as (file, report):
                info["segtrust"] = report.to_json()
                former = self._store.get_info(InfoKey("label", label.image, FINAL)) or {}
                if former.get("SeriesInstanceUID") == label.series:  # only the cache was emptied
                    info |= former
                with self._changes.alone(label.image):
                    self._replace_label(label.image, file, FINAL, info, None)

    def _nested_names(self, model: str) -> list[str]:
        """Names of a model's structures from the outermost to the innermost; none if they are not nested."""
        spec = self._specs.get(model)
        if spec is None or spec.head.structures != "nested":
            return []
        return [spec.labels[value - 1].name for value in spec.head.priority]

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        if tag_name(label_tag) != FINAL:
            return dict(super().get_label_info(label_id, label_tag))
        label = self._label(label_id)
        if label is None or not self.get_label_uri(label_id, label_tag):
            return {}
        return dict(super().get_label_info(label.image, label_tag))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        if tag_name(label_tag) == FINAL:
            label = self._label(label_id)
            if label is None or not self.get_label_uri(label_id, label_tag):
                raise LabelNotFoundException(f"no final label {label_id!r} in the PACS")
            label_id = label.image
        super().update_label_info(label_id, label_tag, info)

    def remove_label(self, label_id: str, label_tag: str, *, by: str = "") -> None:
        if tag_name(label_tag) == FINAL:
            raise SettingError("a final label cannot be removed over DICOMweb. Remove it in the PACS itself.")
        super().remove_label(label_id, label_tag, by=by)

    def final_labels(self) -> dict[str, FinalLabel]:
        return {
            image: FinalLabel(self._model_with_most(label), label.series)
            for image, label in sorted(self._pacs.labels().items())
        }

    @property
    def patients_known_by(self) -> str:
        return "DICOM"

    def patient_of(self, image_id: str) -> str | None:
        return self._pacs.patient(image_id)

    def _model_with_most(self, label: LabelSeries) -> str:
        """The model with most of a label's structures."""
        fitting = {m: len({n.lower() for n in names} & label.names) for m, names in self._structures.items()}
        return max(fitting, key=fitting.__getitem__)

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:  # noqa: ARG002 -- what other datastores need
        pairs = []
        for image in sorted(self._pacs.labels()):
            try:
                label = self.get_label_uri(image, FINAL)
            except (SegtrustError, requests.RequestException) as error:
                logger.warning("A label cannot be used for training: %s", error)
                logger.debug("It is that of %s", image)
                continue
            pairs.append({"image": self.get_image_uri(image), "label": label})
        return pairs


def _write_scan(folder: Path, part: Path) -> None:
    """Write a series as NIfTI, at the place and with the voxel size that its slices give."""
    series = files.read_series_volume(folder)
    if series.spacing is None:
        raise ScanError(
            f"the series {folder.name!r} must say how large its voxels are (PixelSpacing), since labels are "
            "stored beside it in the PACS, got none. Send a series that says so.",
            "scan_series",
        )
    values = series.values if series.values.dtype.str[1:] in _WRITTEN else series.values.astype("f4")
    with tempfile.TemporaryDirectory(prefix="segtrust-scan-") as place:
        file = Path(place) / "scan.nii.gz"  # a part has no ending, so that nothing lists it
        write_volume(values, series.affine, file)
        shutil.move(file, part)


def cache_dir(url: str) -> Path:
    """Folder for copies of what an archive has, where MONAI Label puts it too.

    Args:
        url: root of DICOMweb.

    Returns:
        A folder of its own for each archive, below MONAI Label's setting or the user's cache.
    """
    root = platform.MONAI_LABEL_DICOMWEB_CACHE_PATH.strip()
    folder = Path(root) if root else Path.home() / ".cache" / "monailabel" / "dicom"
    return folder / md5_digest(url)
