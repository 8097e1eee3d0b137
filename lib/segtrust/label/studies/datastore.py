"""MONAI Label's local datastore with clean labels, safe paths, and information that cannot be lost."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelException
from watchdog.events import FileSystemEvent

from segtrust.errors import ScanError
from segtrust.files import Grid, read_claims
from segtrust.files.label import read_label_file
from segtrust.files.scan import scan_grid
from segtrust.label.failures import LabelError, PathError
from segtrust.label.studies.changes import Submission
from segtrust.label.studies.cleaning import Structures, cleaned_file
from segtrust.label.studies.ids import LABEL_SUFFIXES
from segtrust.label.studies.scans import ScansFolder
from segtrust.label.studies.tags import FINAL, check_result_tag, check_tag
from segtrust.release.collect import FinalLabel
from segtrust.store import InfoKey, StateStore

__all__ = ["SafeDatastore"]


class SafeDatastore(ScansFolder):
    """A folder of scans and labels.

    Args:
        folder: the studies.
        structures: structures of the served models, to which submitted labels are brought back.
        store: state file of the site.
        on_served: called with scan, client and strategy when a scan was handed out.
        keep: how many labels of the past are kept for each scan and tag.
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
        keep: int = 20,
        frozen: bool = False,
        **options: Any,  # noqa: ANN401 -- handed through
    ) -> None:
        self._structures = structures
        self._on_served = on_served
        self._by_hand: dict[str, tuple[str, str | None]] = {}
        super().__init__(folder, store=store, keep=keep, frozen=frozen, **options)

    def image_path(self, image_id: str) -> Path | None:
        """Where a scan lies on this machine; ``None`` if it is unknown. Nothing is fetched for it."""
        uri = super().get_image_uri(image_id)
        return Path(uri) if uri else None

    def _require_scan(self, image_id: str) -> None:
        self._check_studies()
        path = self.image_path(image_id)
        if path is None or not path.is_file():
            self._look_at(image_id)
            self._check_studies()  # they may have gone since the first look
            if image_id in self._datastore.objects:
                return  # or have come back
            raise ImageNotFoundException(f"no scan {image_id!r} in the datastore")

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        by = str((label_info or {}).get("client_id") or "")
        return self.submit_label(image_id, label_filename, label_tag, label_info, Submission(by=by))

    def submit_label(
        self, image_id: str, file: str, tag: str, info: Mapping[str, Any] | None, submission: Submission
    ) -> str:
        """Keep what a person submitted.

        Args:
            image_id: the scan.
            file: the label, ``.nii.gz``, ``.nii`` or ``.nrrd``.
            tag: ``final`` ends the work on the scan.
            info: what the viewer says about it.
            submission: who submitted it, and which slices were looked at.

        Returns:
            The id of the label.

        Raises:
            PathError: if the tag or the file's ending is not allowed.
            LabelError: if the label cannot be kept as it is.
            ImageNotFoundException: if the scan is not there.
            ReadOnlyError: if the studies are read-only.
            StudiesError: if the studies are not there now.
        """
        tag, about = check_tag(tag), dict(info or {})
        _check_suffix(file)
        self.check_writable(tag)
        self._require_scan(image_id)
        about.pop("result", None)  # says that a model made it, which a client cannot say
        about["author"] = submission.by
        segments = about.get("label_info")
        if tag != FINAL and not segments:
            read_claims(Path(file))
            return self._keep_label(image_id, Path(file), tag, about)
        with cleaned_file(Path(file), segments, self._structures, scan=self._place_of(image_id)) as (
            cleaned,
            report,
        ):
            if segments:
                values = self._structures.get(report.model, {})
                about["label_info"] = [{"name": name, "idx": value} for name, value in values.items()]
            about["segtrust"] = report.to_json()
            return self._keep_label(image_id, cleaned, tag, about, submission if tag == FINAL else None)

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
        tag = check_result_tag(tag)
        _check_suffix(file)
        self._require_scan(image_id)
        return self._keep_label(image_id, Path(file), tag, {**info, "result": True})

    def final_labels(self) -> dict[str, FinalLabel]:
        """Scans with a final label, and whose it is; nothing is fetched for it."""
        notes, labels = self._store.all_info(), {}
        with self._guard:  # those that cannot be used too: they may have been mended since
            labelled = sorted(s for s, obj in self._datastore.objects.items() if FINAL in obj.labels)
        for scan in labelled:
            path = Path(self.get_label_uri(scan, FINAL))
            about = notes.get(InfoKey("label", scan, FINAL), {}).get("segtrust")
            state = path.stat()
            stamp = f"{state.st_size}-{state.st_mtime_ns}"
            model = about["model"] if about else self._model_by_values(scan, path, stamp)
            if model is not None:
                labels[scan] = FinalLabel(model, stamp)
        return labels

    @property
    def patients_known_by(self) -> str:
        """What says which patient a scan belongs to."""
        return "nothing"

    def patient_of(self, image_id: str) -> str | None:  # noqa: ARG002 -- what other datastores need
        """PatientID of a scan; a file does not say it."""
        return None

    def labelled_files(self, image_id: str) -> tuple[Path, Path]:
        """Files of a scan and its final label.

        Args:
            image_id: the scan.

        Returns:
            Scan and label; what a PACS holds is fetched.

        Raises:
            SegtrustError: if one of them cannot be had.
        """
        try:
            return Path(self.get_image_uri(image_id)), Path(self.get_label_uri(image_id, FINAL))
        except (MONAILabelException, requests.RequestException) as error:
            raise LabelError(str(getattr(error, "msg", "") or error)) from error

    def look_at_labels(self) -> None:
        """Find out which final labels that somebody put into the folder cannot be used; reads each once."""
        self.final_labels()

    def _model_by_values(self, scan: str, path: Path, stamp: str) -> str | None:
        """Whose a label is that somebody put into the folder; ``None`` if it cannot be used."""
        entry = self._by_hand.get(scan)
        if entry is None or entry[0] != stamp:
            try:
                place = self._place_of(scan)
                label = read_label_file(path)
                if place is not None:
                    label.on(place[1], place[0])
                self._set_unusable(scan, None)
            except ScanError as error:
                self._set_unusable(scan, str(error))
                model = None
            else:
                model = self._model_by_hand(path)
            entry = self._by_hand[scan] = (stamp, model)
        return entry[1]

    def _model_by_hand(self, path: Path) -> str:
        try:
            with cleaned_file(path, None, self._structures) as (_, report):
                return report.model
        except LabelError:
            return ""  # training says what is wrong with it

    def grid_of(self, image_id: str) -> Grid | None:
        """Where the voxels of a scan lie; ``None`` if it is unknown, or a series in a PACS."""
        place = self._place_of(image_id)
        return None if place is None else place[1]

    def _place_of(self, image_id: str) -> tuple[str, Grid] | None:
        """Name and grid of a scan."""
        path = self.image_path(image_id)
        return None if path is None else (image_id, scan_grid(path))

    def _replace_label(
        self, image_id: str, file: Path, tag: str, info: dict[str, Any], submission: Submission | None
    ) -> None:
        super()._replace_label(image_id, file, tag, info, submission)
        if tag == FINAL:
            self._by_hand.pop(image_id, None)
            self._set_unusable(image_id, None)

    def _look_at(self, image: str) -> None:
        super()._look_at(image)
        obj = self._datastore.objects.get(image)
        if obj is not None and FINAL in obj.labels and self._is_put_by_hand(image):
            path = Path(self._datastore.label_path(FINAL)) / f"{image}{obj.labels[FINAL].ext}"
            if path.is_file():
                state = path.stat()
                self._model_by_values(image, path, f"{state.st_size}-{state.st_mtime_ns}")
        else:
            self._set_unusable(image, None)

    def notice_change(self, event: FileSystemEvent) -> None:
        """Look at a final label again that somebody writes or copies into the folder, piece by piece."""
        super().notice_change(event)
        path = Path(str(event.src_path))
        is_final = path.parent == Path(self._datastore.label_path(FINAL))
        if is_final and self._is_put_by_hand(self._to_id(path.name)[0]):
            self.notice(event)

    def _is_put_by_hand(self, image: str) -> bool:
        """Whether a final label came into the folder past all cleaning."""
        return image in self._by_hand or "segtrust" not in (
            self._store.get_info(InfoKey("label", image, FINAL)) or {}
        )

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        # the endpoint of /activelearning reports here whom it served; that belongs to the state file's list
        # of served scans, and must not shadow the answer's own `strategy`
        rest = dict(info)
        for strategy, entry in (rest.pop("strategy", None) or {}).items():
            self._on_served(image_id, str(entry.get("client_id") or ""), strategy)
        if rest:
            super().update_image_info(image_id, rest)


def _check_suffix(file: str) -> None:
    if not file.endswith(LABEL_SUFFIXES):
        raise PathError(
            f"a label must be one of {', '.join(LABEL_SUFFIXES)}, got {''.join(Path(file).suffixes)!r}."
        )
