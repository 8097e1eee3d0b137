"""Maps of a prediction as DICOM parametric maps, in the form that OHIF, dcmqi and 3D Slicer read rightly."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code

from segtrust.dicom.anatomy import anatomic_region
from segtrust.dicom.provenance import (
    CODING_SCHEME,
    code_item,
    equipment,
    long_string,
    origin_of_prediction,
    pixel_measures,
    references,
    save,
    stamp,
)
from segtrust.dicom.series import Series
from segtrust.errors import DicomError, SettingError
from segtrust.inference.looked_at import NOT_LOOKED_AT
from segtrust.inference.prediction import Prediction
from segtrust.models import ModelSpec

__all__ = ["map_names", "write_parametric_map"]

_PROBABILITY = "probability:"
_SERIES_NUMBER = 9101
_ROUNDING = 1e-5  # float32 sums may leave [0, 1] by this much


def _window() -> dict[str, Any]:
    """The window from 0 to 1 as the installed highdicom takes it: before 0.23 it had two arguments."""
    if "voi_lut_transformations" not in inspect.signature(hd.pm.ParametricMap.__init__).parameters:
        return {"window_center": 0.5, "window_width": 1.0}
    return {"voi_lut_transformations": [hd.VOILUTTransformation(window_center=0.5, window_width=1.0)]}


@dataclass(frozen=True)
class _Quantity:
    """What the values mean: ``label`` at most 16 characters, ``title`` begins the series description."""

    label: str
    title: str
    explanation: str
    code: Code


_MAPS = {
    "entropy": _Quantity(
        "ENTROPY",
        "Entropy",
        "Normalised entropy of the class probabilities",
        Code("PRED_ENTROPY", CODING_SCHEME, "Normalised predictive entropy"),
    ),
    "chance_of_error": _Quantity(
        "CHANCE_OF_ERROR",
        "Chance of a wrong label",
        "Chance that the label of the voxel is wrong",
        Code("CHANCE_OF_ERROR", CODING_SCHEME, "Chance of a wrong label"),
    ),
    "between_member": _Quantity(
        "BETWEEN_MEMBER",
        "Between-member information",
        "Normalised mutual information between label and member",
        Code("BETWEEN_MEMBER", CODING_SCHEME, "Normalised between-member information"),
    ),
}


def map_names(spec: ModelSpec) -> tuple[str, ...]:
    """Names that :func:`write_parametric_map` takes.

    Args:
        spec: of the model that predicted.

    Returns:
        ``entropy``, ``chance_of_error``, ``between_member``, and ``probability:<structure>`` for each
        structure.
    """
    return (*_MAPS, *(f"{_PROBABILITY}{label.name}" for label in spec.labels))


def write_parametric_map(prediction: Prediction, name: str, series: Series, path: Path) -> Path:
    """Write one map as a DICOM parametric map of 32-bit floats in [0, 1], or -1 where nobody looked.

    Frames ascend along row x column direction and every slice has one: OHIF and dcmqi ignore the positions of
    frames. OHIF shows values x100; the series description says so.

    Args:
        prediction: on the grid of ``series``.
        name: one of :func:`map_names`.
        series: what :func:`segtrust.dicom.read_series` returned.
        path: file to write; replaced if there.

    Returns:
        ``path``.

    Raises:
        SettingError: for another name.
        DicomError: if the prediction is not on the grid of the series, or has values outside [0, 1].

    Source:
        DICOM PS3.3 A.75. What viewers need beyond the standard was found by running them.
    """
    quantity = _quantity(prediction.spec, name)
    values, origin = _values(prediction, name), origin_of_prediction(prediction)
    frames = series.place(prediction.affine, values.shape).to_frames(values)
    document = hd.pm.ParametricMap(
        source_images=references(series),
        pixel_array=frames,
        series_number=_SERIES_NUMBER + map_names(prediction.spec).index(name),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(quantity)],
        **_window(),
        pixel_measures=pixel_measures(series),
        content_label=quantity.code.value
        if quantity.code.scheme_designator == CODING_SCHEME
        else "PROBABILITY",
        series_description=_description(quantity.title),
        **equipment(origin),
    )
    if prediction.looked_at is not None:
        document.FloatPixelPaddingValue = NOT_LOOKED_AT
    stamp(document, origin, series)
    _ascend(document)
    _complete(document, series)
    return save(document, path)


def _quantity(spec: ModelSpec, name: str) -> _Quantity:
    if name not in map_names(spec):
        raise SettingError(f"`name` must be one of {', '.join(map_names(spec))}, got {name!r}.")
    if name in _MAPS:
        return _MAPS[name]
    structure = name.removeprefix(_PROBABILITY)
    return _Quantity(
        f"P({structure[:13]})",
        f"P({structure})",
        long_string(f"Probability of {structure}"),
        Code("122157", "DCM", "Probability"),
    )


def _values(prediction: Prediction, name: str) -> NDArray[np.float32]:
    if prediction.looked_at is not None:
        return prediction.looked_at.spread(_values(prediction.part, name), NOT_LOOKED_AT)
    if name in _MAPS:
        values = prediction.map(name)
    else:
        channel = map_names(prediction.spec).index(name) - len(_MAPS)
        background = prediction.spec.n_classes - len(prediction.spec.labels)
        values = prediction.probs[background + channel]
    low, high = float(values.min()), float(values.max())
    if not -_ROUNDING <= low <= high <= 1 + _ROUNDING:  # false for NaN too
        raise DicomError(
            f"the map {name!r} must lie in [0, 1], got {low:g} to {high:g}. "
            "Were logits or raw scores handed over?"
        )
    shares: NDArray[np.float32] = np.clip(values, 0, 1, dtype=np.float32)
    return shares


def _mapping(quantity: _Quantity) -> hd.pm.RealWorldValueMapping:
    return hd.pm.RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=quantity.explanation,
        unit=Code("1", "UCUM", "no units"),
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity.code,
    )


def _description(title: str) -> str:
    """The title, shortened so that the warning behind it always fits.

    Example:
        >>> _description("P(" + "x" * 80 + ")")[-41:]
        '... 0-1 (OHIF shows x100), unverified'
    """
    warning = " 0-1 (OHIF shows x100), unverified"
    room = 64 - len(warning)
    return (title if len(title) <= room else title[: room - 3] + "...").replace("\\", "/") + warning


def _ascend(document: Dataset) -> None:
    """Sort the frames along row x column direction: highdicom 0.28 writes them the other way round."""
    frames = list(document.PerFrameFunctionalGroupsSequence)
    plane = document.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(plane[:3], plane[3:])
    places = [normal @ frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames]
    order = np.argsort(places, kind="stable")
    values = np.frombuffer(document.FloatPixelData, np.float32).reshape(len(frames), -1)
    document.FloatPixelData = values[order].tobytes()
    document.PerFrameFunctionalGroupsSequence = [frames[place] for place in order]


def _complete(document: Dataset, series: Series) -> None:
    """What readers need and highdicom leaves out, or counts wrongly."""
    shared = document.SharedFunctionalGroupsSequence[0]
    anatomy = Dataset()
    anatomy.AnatomicRegionSequence = [
        code_item(anatomic_region(str(series.headers[0].get("BodyPartExamined") or "")))
    ]
    anatomy.FrameLaterality = "U"
    shared.FrameAnatomySequence = [anatomy]  # without it dcmqi's paramap2itkimage crashes
    # With LINEAR, a window 1 wide is a threshold at 0 (PS3.3 C.11.2.1.2.1).
    shared.FrameVOILUTSequence[0].VOILUTFunction = "LINEAR_EXACT"
    # highdicom 0.22 finds frames by any coordinate that agrees, so all of them get number 1.
    for number, frame in enumerate(document.PerFrameFunctionalGroupsSequence, start=1):
        frame.FrameContentSequence[0].DimensionIndexValues = number
