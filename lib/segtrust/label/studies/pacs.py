"""A DICOMweb archive: which series can be annotated, which are labelled, fetching and storing."""

import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from cachetools import TTLCache
from monailabel.config import settings as platform
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.datastore.utils.dicom import dicom_web_download_series
from monailabel.interfaces.exception import ImageNotFoundException
from pydicom import Dataset, dcmread

from segtrust.dicom import is_prediction, segment_names
from segtrust.label.failures import PacsError
from segtrust.label.temporary import part_of

__all__ = ["LabelSeries", "Pacs"]

logger = logging.getLogger(__name__)

# results that some programs write with the modality of the image they were made from
_NO_IMAGES = frozenset({
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "1.2.840.10008.5.1.4.1.1.30",  # parametric map
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
    "1.2.840.10008.5.1.4.1.1.66.5",  # surface segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation
})  # fmt: skip
_SHOWN = ("StudyDate", "StudyTime", "Modality", "RetrieveURL", "PatientID", "StudyInstanceUID")
# Manufacturer, ContentDate, ContentTime, ReferencedSeriesSequence, SegmentSequence
_OF_A_LABEL = ("00080070", "00080023", "00080033", "00081115", "00620002")
_AS_STORED = (("application/dicom", "*"),)  # a server that must decompress first may fail, or take long


@dataclass(frozen=True)
class LabelSeries:
    """A segmentation that is the label of a series; ``written`` sorts by time, ``names`` are lower case."""

    image: str
    study: str
    series: str
    written: tuple[str, str]
    names: frozenset[str]


class Pacs:
    """The archive behind one DICOMweb address. Listings are kept for a while, until something is stored.

    Args:
        client: MONAI Label's client of the archive.
        filters: QIDO-RS filters of which a series must meet one to be offered for annotation.
        structures: names of the structures of the served models, in lower case. A segmentation of other
            structures is no label.
        max_age: seconds until a listing is asked for again.
    """

    def __init__(
        self,
        client: DICOMwebClientX,
        filters: Sequence[Mapping[str, Any]],
        structures: frozenset[str],
        max_age: float,
    ) -> None:
        self._client = client
        self._filters = filters
        self._structures = structures
        self._lock = threading.RLock()
        self._listings: TTLCache[str, dict[str, Any]] = TTLCache(2, max_age)
        # what never changes for a series is asked for once
        self._classes: dict[str, str] = {}
        self._labels: dict[str, LabelSeries | None] = {}
        self._patients: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Root of the archive's DICOMweb services."""
        return str(self._client.base_url)

    def images(self) -> dict[str, str]:
        """Series that can be annotated: their UIDs with those of their studies."""
        return self._listing("images", self._find_images)

    def labels(self) -> dict[str, LabelSeries]:
        """Newest label of each labelled series, by the UID of that series."""
        return self._listing("labels", self._find_labels)

    def has(self, series: str) -> bool:
        """Whether a series can be annotated; one that is not listed is looked for again."""
        if series not in self.images():
            self.forget()
        return series in self.images()

    def forget(self) -> None:
        """Ask again at the next listing."""
        with self._lock:
            self._listings.clear()

    def info(self, series: str) -> dict[str, str]:
        """What MONAI Label shows of a series.

        Args:
            series: its UID.

        Returns:
            Six attributes and the UID, ``UNK`` for those that the archive does not give.

        Raises:
            ImageNotFoundException: if the archive has no such series.
        """
        listed = self._client.search_for_series(search_filters={"SeriesInstanceUID": series})
        header = next((h for h in map(Dataset.from_json, listed) if h.SeriesInstanceUID == series), None)
        if header is None:
            raise ImageNotFoundException(f"no series {series!r} in the PACS")
        return {
            "SeriesInstanceUID": series,
            **{keyword: str(header.get(keyword) or "UNK") for keyword in _SHOWN},
        }

    def patient(self, series: str) -> str:
        """PatientID of a series that is listed; empty if it has none."""
        if series not in self._patients:
            patient = self.info(series)["PatientID"]  # a server need not list what belongs to the patient
            self._patients[series] = "" if patient == "UNK" else patient
        return self._patients[series]

    def fetch(self, study: str, series: str, folder: Path) -> None:
        """Fetch all files of a series; a folder that is there is whole.

        Args:
            study: UID of the study.
            series: UID of the series.
            folder: made by this call; its parent exists.
        """
        part = part_of(folder)
        try:
            part.mkdir(mode=0o700)
            self._fetch_into(study, series, part)
            part.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _fetch_into(self, study: str, series: str, folder: Path) -> None:
        if platform.MONAI_LABEL_DICOMWEB_FETCH_BY_FRAME:
            dicom_web_download_series(study, series, str(folder), self._client, frame_fetch=True)
            return
        for number, instance in enumerate(
            self._client.iter_series(study, series, media_types=_AS_STORED), start=1
        ):
            instance.save_as(folder / f"{number:05d}.dcm")

    def store(self, files: Sequence[Path]) -> None:
        """Store objects by STOW-RS and forget the listings.

        Args:
            files: DICOM files of one study.

        Raises:
            PacsError: if the archive answers that it did not keep them all.
        """
        answer = self._client.store_instances([dcmread(file) for file in files])
        self.forget()
        if failed := answer.get("FailedSOPSequence"):
            reasons = sorted({str(item.get("FailureReason")) for item in failed})
            raise PacsError(
                f"the PACS must keep what it is sent, but refused {len(failed)} of {len(files)} objects with "
                f"reason {', '.join(reasons)}. Does it allow this kind of object?"
            )

    def _listing(self, name: str, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            if (listing := self._listings.get(name)) is not None:
                return listing
            listing = self._listings[name] = find()
            return listing

    def _search(self, filters: Mapping[str, Any]) -> list[Dataset]:
        headers = self._client.search_for_series(
            search_filters=dict(filters), fields=["SOPClassUID", "PatientID"], get_remaining=True
        )
        return [Dataset.from_json(item) for item in headers]

    def _find_images(self) -> dict[str, str]:
        headers = [header for filters in self._filters for header in self._search(filters)]
        self._patients |= {str(h.SeriesInstanceUID): str(h.PatientID) for h in headers if h.get("PatientID")}
        return {
            str(h.SeriesInstanceUID): str(h.StudyInstanceUID)
            for h in headers
            if self._class_of(h) not in _NO_IMAGES
        }

    def _class_of(self, header: Dataset) -> str:
        """Class of a series' objects; empty if the archive does not know it."""
        if listed := header.get("SOPClassUID"):
            return str(listed)
        series = str(header.SeriesInstanceUID)
        if series not in self._classes:
            instances = self._client.search_for_instances(
                str(header.StudyInstanceUID), series, limit=1, fields=["SOPClassUID"]
            )
            self._classes[series] = (
                str(Dataset.from_json(instances[0]).get("SOPClassUID") or "") if instances else ""
            )
        return self._classes[series]

    def _find_labels(self) -> dict[str, LabelSeries]:
        newest: dict[str, LabelSeries] = {}
        for header in self._search({"Modality": "SEG"}):
            label = self._label(str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
            if label is None or label.image not in self.images():
                continue
            if label.image not in newest or label.written > newest[label.image].written:
                newest[label.image] = label
        return newest

    def _label(self, study: str, series: str) -> LabelSeries | None:
        if series not in self._labels:
            try:
                metadata = self._client.retrieve_series_metadata(study, series)[0]
            except (requests.HTTPError, IndexError) as error:
                logger.warning("Segmentation %s cannot be looked at: %s", series, error)
                return None
            header = Dataset.from_json({tag: metadata[tag] for tag in _OF_A_LABEL if tag in metadata})
            self._labels[series] = self._as_label(header, study, series)
        return self._labels[series]

    def _as_label(self, header: Dataset, study: str, series: str) -> LabelSeries | None:
        references = header.get("ReferencedSeriesSequence")
        names = frozenset(name.strip().lower() for name in segment_names(header).values())
        if not references or is_prediction(header) or not names & self._structures:
            logger.info("Segmentation %s is no label: a prediction, or of other structures", series)
            return None
        return LabelSeries(
            image=str(references[0].SeriesInstanceUID),
            study=study,
            series=series,
            written=(str(header.get("ContentDate") or ""), str(header.get("ContentTime") or "")),
            names=names,
        )
