"""Predictions as DICOM objects: for the answer, and, only if asked for, for the PACS."""

import logging
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from monailabel.interfaces.exception import ImageNotFoundException
from pydicom import dcmread

from segtrust.dicom import Series, map_names, read_series, write_parametric_map, write_segmentation
from segtrust.errors import DicomError, SegtrustError, SettingError
from segtrust.inference import Prediction
from segtrust.label.studies.dicomweb import DicomwebDatastore
from segtrust.models import ModelSpec

__all__ = ["Archive", "objects_of"]

logger = logging.getLogger(__name__)

_MASK, _PROBABILITY = "mask", "probability"


def objects_of(spec: ModelSpec, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the DICOM objects that a request or setting means.

    Args:
        spec: of the model.
        names: ``mask``, ``entropy``, ``chance_of_error``, ``between_member``, ``probability:<structure>``,
            ``probability`` for those of all structures, or ``all``.

    Returns:
        ``mask`` and names of :func:`segtrust.dicom.map_names`, each once.

    Raises:
        SettingError: for another name; the message lists those allowed.
    """
    maps = map_names(spec)
    groups = {
        "all": (_MASK, *maps),
        _PROBABILITY: tuple(name for name in maps if name.startswith(f"{_PROBABILITY}:")),
        **{name: (name,) for name in (_MASK, *maps)},
    }
    if unknown := [name for name in names if name not in groups]:
        raise SettingError(
            f"`store_in_pacs` must name {', '.join(groups)}, separated by commas; got {', '.join(unknown)}."
        )
    return tuple(dict.fromkeys(part for name in names for part in groups[name]))


class Archive:
    """Writes predictions of series of a PACS as DICOM, and stores them there.

    Args:
        datastore: the PACS as MONAI Label sees it.
    """

    def __init__(self, datastore: DicomwebDatastore) -> None:
        self._datastore = datastore
        self._lock = threading.Lock()
        self._stored: dict[tuple[str, ...], str] = {}

    def write_mask(self, prediction: Prediction, scan: Path) -> Path:
        """Write the mask as a DICOM segmentation for the answer.

        Args:
            prediction: of the scan.
            scan: the volume that was predicted.

        Returns:
            A temporary file, which the caller deletes.

        Raises:
            DicomError: if the scan is not from the PACS, or its series cannot be referred to.
        """
        series = self._series(scan)
        with tempfile.NamedTemporaryFile(prefix="segtrust-", suffix=".dcm", delete=False) as file:
            path = Path(file.name)
        try:
            return write_segmentation(prediction, series, path)
        except SegtrustError:
            path.unlink()
            raise

    def store(self, prediction: Prediction, scan: Path, names: Sequence[str]) -> dict[str, Any]:
        """Store objects in the PACS; what cannot be stored stops neither the rest nor the answer.

        Args:
            prediction: of the scan.
            scan: the volume that was predicted.
            names: what :func:`objects_of` returned.

        Returns:
            ``stored``: name -> UID of its series; ``refused``: name -> reason. An object of the same version
            for the same series that the PACS still has is not stored twice.
        """
        try:
            series = self._series(scan)
        except DicomError as error:
            return {"stored": {}, "refused": dict.fromkeys(names, str(error))}
        stored: dict[str, str] = {}
        refused: dict[str, str] = {}
        with self._lock:  # two requests for one scan must not both store
            for name in names:
                try:
                    stored[name] = self._store(prediction, series, name)
                except (SegtrustError, requests.RequestException) as error:
                    logger.warning("%s was not stored in the PACS: %s", name, error)
                    refused[name] = str(error)
        return {"stored": stored, "refused": refused}

    def _series(self, scan: Path) -> Series:
        folder = self._datastore.series_dir(scan)
        if folder is None:
            raise DicomError(
                "a DICOM object needs a scan of the PACS, got a file that was sent along. "
                "Send its series to the PACS and ask for it by its UID."
            )
        return read_series(folder)

    def _store(self, prediction: Prediction, series: Series, name: str) -> str:
        source = str(series.headers[0].SeriesInstanceUID)
        key = (source, prediction.digest, prediction.precision, name)
        if key in self._stored and self._is_there(self._stored[key]):
            return self._stored[key]
        with tempfile.TemporaryDirectory(prefix="segtrust-store-") as folder:
            path = Path(folder) / "object.dcm"
            if name == _MASK:
                write_segmentation(prediction, series, path)
            else:
                write_parametric_map(prediction, name, series, path)
            self._datastore.pacs.store([path])
            self._stored[key] = str(dcmread(path, stop_before_pixels=True).SeriesInstanceUID)
        return self._stored[key]

    def _is_there(self, series: str) -> bool:
        try:
            self._datastore.pacs.info(series)
        except ImageNotFoundException:
            return False
        return True
