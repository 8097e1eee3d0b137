"""What a model says about a scan, for a viewer's panel: models and measures, numbers, and maps as volumes."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, BackgroundTasks, Depends
from fastapi.responses import FileResponse
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC
from monailabel.utils.others.generic import remove_file

from segtrust.inference import EXCESS, Prediction, SliceHint
from segtrust.label.answer import AnswerForm
from segtrust.label.host import serving_app
from segtrust.label.names import BAND_PREFIX, BLIND_SPOT, RESEARCH_ONLY, structure_labels
from segtrust.models import ModelVersion

__all__ = ["MEASURES", "Measure", "router"]

router = APIRouter(
    prefix="/segtrust",
    tags=["Uncertainty"],
    dependencies=[Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))],
)

_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A map that a panel offers: ``name`` for :meth:`Prediction.map`, the rest for its reader.

    ``scale`` is 100 where values are shown in percent; the colours run from 0 to ``top``, which is fixed, so
    that the colours of two scans can be compared.
    """

    name: str
    title: str
    unit: str
    scale: int
    top: float
    meaning: str


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="chance_of_error",
        title="Chance of a wrong label",
        unit="%",
        scale=100,
        top=0.5,
        meaning="Chance that the label of the voxel is wrong.",
    ),
    Measure(
        name=EXCESS,
        title="Excess chance of a wrong label",
        unit="%",
        scale=100,
        top=0.25,
        meaning="Chance that the label is wrong, above what is usual that far from the border: "
        "an ordinary rim is dark.",
    ),
    Measure(
        name="entropy",
        title="Entropy",
        unit="0 = sure, 1 = every label equally likely",
        scale=1,
        top=1.0,
        meaning="How evenly the probability is spread over the labels.",
    ),
    Measure(
        name="between_member",
        title="Between-member information",
        unit="0 = members agree, 1 = they contradict each other",
        scale=1,
        top=0.5,
        meaning="How far the members of the ensemble contradict each other, before calibration.",
    ),
    Measure(
        name="within_member",
        title="Within-member entropy",
        unit="0 = sure, 1 = every label equally likely",
        scale=1,
        top=1.0,
        meaning="How unsure the members are on average, each by itself, before calibration.",
    ),
)
"""Measures in the order in which a panel lists them."""

_OF_SEVERAL = ("between_member", "within_member")  # say nothing new about a single member


@router.get("/models")
def list_models() -> dict[str, Any]:
    """Models that are served, with their structures and the maps that each has."""
    host = serving_app()
    models = [
        {
            "name": name,
            "description": model.spec.description,
            "structures": structure_labels(model.spec),
            "measures": [asdict(measure) for measure in MEASURES if _is_known(measure, model.version())],
        }
        for name, model in host.answering.items()
    ]
    return {"models": models, "band_prefix": BAND_PREFIX, "notices": [BLIND_SPOT, RESEARCH_ONLY]}


def _is_known(measure: Measure, version: ModelVersion) -> bool:
    if measure.name == EXCESS:
        return "usual_error" in version.calibration.get("quality", {})
    return measure.name not in _OF_SEVERAL or len(version.members) > 1


@router.get("/findings/{model}")
def read_findings(model: str, image: str) -> dict[str, Any]:
    """Numbers, flags and slices of one scan: ``params.segtrust`` of the mask.

    Every slice also has its ``position``: the voxel in it with the highest chance of a wrong label, in the
    millimetres of the patient that DICOM uses (to the left, posterior, head), so that a viewer finds it
    whatever the order of its own slices.
    """
    host = serving_app()
    prediction = host.prediction(model, image)
    numbers = host.drift.marked(host.answering[model], prediction.params())
    for entry, hint in zip(numbers["slices"], prediction.slices, strict=True):
        entry["position"] = _position(prediction, hint)
    return numbers


@router.get("/drift")
def read_drift() -> dict[str, Any]:
    """Whether scans still come like those of the calibration: model -> version and its streams.

    Each stream, of one scanner and protocol, has the number of patients seen (``scans``), the ``evidence`` of
    now, the ``limit`` at which there is an alarm, the patient at which there was one (``alarm``), what was
    ``unusual`` then, and a ``sentence``.
    Of what was watched so far: scoring watches as it goes.
    """
    host = serving_app()
    return {name: host.drift.report(model).to_json() for name, model in host.served.items()}


@router.get("/maps/{model}", response_class=FileResponse)
def read_map(model: str, image: str, tasks: BackgroundTasks, map: str = "chance_of_error") -> FileResponse:  # noqa: A002 -- the key of a request has this name
    """One map of a scan as NRRD: gzip, float32 in [0, 1], first axis fastest, in the scan's own voxel order.

    ``space directions`` and ``space origin`` say where the voxels lie (left-posterior-superior, millimetres).
    """
    host = serving_app()
    prediction = host.prediction(model, image)
    file = AnswerForm(extension=".nrrd", dtype="float32").write(prediction.map(map), prediction.affine)
    tasks.add_task(remove_file, str(file))
    # the volume is a patient's: it stays in the page and goes into no cache on a disk
    return FileResponse(file, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


def _position(prediction: Prediction, hint: SliceHint) -> list[float]:
    plane = np.take(prediction.map("chance_of_error"), hint.index, axis=hint.axis)
    voxel = np.insert(np.unravel_index(int(np.argmax(plane)), plane.shape), hint.axis, hint.index)
    ras = prediction.affine @ np.append(voxel, 1.0)
    return [round(float(mm), 3) for mm in _LPS @ ras[:3]]
