"""The infer tasks of a model: its mask, and where not to trust it."""

import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray

from segtrust.error_flags import FlagRule
from segtrust.errors import ScanError, SettingError
from segtrust.inference import VIEW_MAPS, Prediction
from segtrust.label.answer import AnswerForm
from segtrust.label.archive import Archive, objects_of
from segtrust.label.names import (
    BLIND_SPOT,
    FLAGGED,
    NOT_SEEN,
    RESEARCH_ONLY,
    band_colours,
    combined_labels,
    contour_labels,
    is_band,
    structure_labels,
)
from segtrust.label.requests import InferRequest
from segtrust.label.served import ServedModel
from segtrust.label.served_heads import ServedHeads
from segtrust.metrics.bootstrap import finite_or_none
from segtrust.metrics.observed import ObservedErrors

__all__ = ["CombinedTask", "MaskTask", "ModelTask", "UncertaintyTask"]


class ModelTask(InferTask):
    """One view of a model's prediction; all views of one scan share one computation."""

    def __init__(
        self,
        model: ServedModel | ServedHeads,
        labels: dict[str, int],
        description: str,
        archive: Archive | None = None,
    ) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=labels,
            dimension=model.spec.spatial_dims,
            description=f"{description} {RESEARCH_ONLY}",
            config={"device": _devices(model.settings.device), **_storing(model, archive)},
        )
        self.model = model
        self.archive = archive

    @abstractmethod
    def render(self, prediction: Prediction, request: InferRequest) -> tuple[NDArray[Any], dict[str, Any]]:
        """The volume to send, and what is to be said about it."""

    def needs_views(self, _request: InferRequest) -> bool:
        """Whether a map of mirrored views is shown or flagged."""
        return False

    @abstractmethod
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """Colour of each label, for clients that ask; stock plug-ins choose colours by name."""

    def label_names(self, _request: InferRequest) -> dict[str, int]:
        """Names of the values of a label map."""
        return dict(self.labels)

    def is_valid(self) -> bool:
        return True

    def info(self) -> dict[str, Any]:
        return {**super().info(), "label_colors": {name: list(rgb) for name, rgb in self.colours().items()}}

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        started = time.perf_counter()
        wanted = InferRequest.from_request(request, self.model.settings)
        objects = objects_of(self.model.spec, wanted.store_in_pacs)
        if (scan := wanted.scan) is None:
            raise ScanError("`image` must name a scan of the datastore, a session or a file.", "scan_missing")
        prediction = self.model.predict(scan, wanted.device, views=self.needs_views(wanted))
        volume, about = self.render(prediction, wanted)
        file = self.write(prediction, volume, wanted.form, scan)
        pacs = {"pacs": self.store(prediction, scan, objects)} if objects else {}
        return str(file), {
            "label_names": {} if volume.dtype.kind == "f" else self.label_names(wanted),
            "latencies": {"total": round(time.perf_counter() - started, 3)},
            "segtrust": {
                **prediction.params(),
                **about,
                **pacs,
                "ignored": list(wanted.ignored),
            },
        }

    def write(self, prediction: Prediction, volume: NDArray[Any], form: AnswerForm, scan: Path) -> Path:  # noqa: ARG002 -- what other views need
        """Write the answer to a temporary file."""
        if form.extension == ".dcm":
            raise SettingError(
                "only masks are written as DICOM SEG, since a segmentation in an archive counts as a label. "
                f"Ask {self.model.name!r} for one, or store maps with `store_in_pacs`."
            )
        return form.write(volume, prediction.affine)

    def store(self, prediction: Prediction, scan: Path, objects: tuple[str, ...]) -> dict[str, Any]:
        """Store in the PACS, and say what was stored and what was not."""
        if self.archive is None:
            reason = "the studies are a folder; storing needs a DICOMweb server."
            return {"stored": {}, "refused": dict.fromkeys(objects, reason)}
        return self.archive.store(prediction, scan, objects)


class MaskTask(ModelTask):
    """``<model>``: the segmentation; everything else about it is in ``params.segtrust``.

    Args:
        model: the model.
        archive: the PACS, if the studies are one.
    """

    def __init__(self, model: ServedModel | ServedHeads, archive: Archive | None = None) -> None:
        labels = structure_labels(model.spec)
        text = model.spec.description or f"Segmentation of {', '.join(labels)}."
        super().__init__(model, labels, text, archive)

    def write(self, prediction: Prediction, volume: NDArray[Any], form: AnswerForm, scan: Path) -> Path:
        if form.extension != ".dcm":
            return super().write(prediction, volume, form, scan)
        if self.archive is None:
            raise SettingError("a DICOM SEG needs a DICOMweb server as studies; this is a folder.")
        return self.archive.write_mask(prediction, scan)

    def render(self, prediction: Prediction, request: InferRequest) -> tuple[NDArray[Any], dict[str, Any]]:  # noqa: ARG002 -- what other views need
        return prediction.mask, {"shows": "mask"}

    def colours(self) -> dict[str, tuple[int, int, int]]:
        return {label.name: label.colour for label in self.model.spec.labels}


class UncertaintyTask(ModelTask):
    """``<model>_uncertainty``: bands of the chance of error, flags, contours, or a map as floats.

    Args:
        model: the model.
        bands: name -> value of the bands.
        archive: the PACS, if the studies are one.
    """

    def __init__(
        self, model: ServedModel | ServedHeads, bands: dict[str, int], archive: Archive | None = None
    ) -> None:
        if isinstance(model, ServedHeads):
            bands = {**bands, NOT_SEEN: len(bands) + 1}
        text = f"Where the labels of {model.name} may be wrong: bands of the calibrated chance of error."
        super().__init__(model, bands, f"{text} {BLIND_SPOT}", archive)

    def needs_views(self, request: InferRequest) -> bool:
        return request.map in VIEW_MAPS and (request.float_map or bool(request.flag))

    def render(self, prediction: Prediction, request: InferRequest) -> tuple[NDArray[Any], dict[str, Any]]:
        if request.contours:
            volume = prediction.contour_map(request.contours, tuple(self._shown(request).values()))
            return volume, {"shows": "contours", "contours_hold": request.contours}
        if request.flag:
            return self._flags(prediction, request)
        if request.float_map:
            return prediction.map(request.map), {"shows": request.map, "unit": "1, from 0 to 1"}
        edges = self.model.settings.band_edges
        return prediction.bands(edges), {"shows": "bands", "bands": _band_table(self, prediction)}

    def _flags(self, prediction: Prediction, request: InferRequest) -> tuple[NDArray[Any], dict[str, Any]]:
        rule = FlagRule.parse(request.flag)
        observed = _observed(self, prediction) if request.map == "chance_of_error" else None
        if rule.name == "calibrated" and observed is None:
            raise SettingError(
                "the flag rule 'calibrated' needs the map `chance_of_error` and a version that knows where "
                f"it was wrong on labelled scans, got the map {request.map!r} of version "
                f"{prediction.version_id}. Ask for map=chance_of_error, or for a rule such as otsu."
            )
        flags, threshold = prediction.flagged(
            request.map, rule, wrong=None if observed is None else observed.errors
        )
        about = {
            "map": request.map,
            "rule": str(rule),
            "threshold": finite_or_none(threshold),
            "voxels": int(np.count_nonzero(flags)),
        }
        return flags, {"shows": "flags", "flagged": about}

    def label_names(self, request: InferRequest) -> dict[str, int]:
        if request.contours:
            return contour_labels(self._shown(request) or structure_labels(self.model.spec))
        return {FLAGGED: 1} if request.flag else super().label_names(request)

    def _shown(self, request: InferRequest) -> dict[str, int]:
        """The structure whose contours are asked for; empty for all that the version knows."""
        structures = structure_labels(self.model.spec)
        if request.structure and request.structure not in structures:
            raise SettingError(
                f"`structure` must be one of {', '.join(structures)}, got {request.structure!r}."
            )
        return {request.structure: structures[request.structure]} if request.structure else {}

    def colours(self) -> dict[str, tuple[int, int, int]]:
        return band_colours(self.labels)


class CombinedTask(ModelTask):
    """``<model>_with_uncertainty``: mask and bands in one volume, for viewers that show one at a time.

    Args:
        model: the model.
        bands: name -> value of the bands as the uncertainty task has them.
        archive: the PACS, if the studies are one.
    """

    def __init__(
        self, model: ServedModel | ServedHeads, bands: dict[str, int], archive: Archive | None = None
    ) -> None:
        text = f"Mask and bands of {model.name} in one view: to look at, not to measure."
        labels = combined_labels(structure_labels(model.spec), bands)
        super().__init__(model, labels, f"{text} {BLIND_SPOT}", archive)

    def render(self, prediction: Prediction, request: InferRequest) -> tuple[NDArray[Any], dict[str, Any]]:  # noqa: ARG002 -- what other views need
        view = prediction.mask_with_bands(self.model.settings.band_edges)
        return view, {"shows": "mask and bands", "bands": _band_table(self, prediction)}

    def colours(self) -> dict[str, tuple[int, int, int]]:
        structures = [label.colour for label in self.model.spec.labels]
        bands = band_colours([name for name in self.labels if is_band(name)])
        return dict(zip(self.labels, [*structures, *bands.values()], strict=True))


def _band_table(task: ModelTask, prediction: Prediction) -> list[dict[str, Any]]:
    """Name, value and edges of each band, and how often it was wrong on the calibration scans, if known."""
    edges, observed = task.model.settings.band_edges, _observed(task, prediction)
    table = []
    names = [name for name in task.labels if is_band(name) and name != NOT_SEEN]
    for name, low, high in zip(names, edges, (*edges[1:], 1.0), strict=True):
        band: dict[str, Any] = {"name": name, "value": task.labels[name], "from": low, "to": high}
        rate = observed.rate(low, high) if observed else None
        if observed and rate is not None:
            band["observed"] = {"rate": rate, "scans": observed.scans}
        table.append(band)
    return table


def _observed(task: ModelTask, prediction: Prediction) -> ObservedErrors | None:
    """How often the chance of error was wrong on labelled scans, if the version that answered knows."""
    version = task.model.version()
    observed = version.calibration.get("observed") if version.digest == prediction.digest else None
    return ObservedErrors.from_json(observed) if observed else None


def _devices(first: str) -> list[str]:
    """Choices for a viewer's option table; plug-ins send the first one unless the user picks another."""
    return list(dict.fromkeys([first, "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]))


def _storing(model: ServedModel | ServedHeads, archive: Archive | None) -> dict[str, list[str]]:
    """What viewers offer to store, the setting first; nothing where there is no PACS."""
    if archive is None:
        return {}
    setting = ",".join(model.settings.store_in_pacs) or "none"
    return {"store_in_pacs": list(dict.fromkeys([setting, "none", "mask", "entropy", "mask,entropy", "all"]))}
