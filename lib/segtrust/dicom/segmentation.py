"""Masks of a model and labels of people as DICOM segmentations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from segtrust import __version__
from segtrust.decisions import LabelRule
from segtrust.dicom.anatomy import StructureCodes, structure_codes
from segtrust.dicom.provenance import (
    Origin,
    code_item,
    equipment,
    long_string,
    origin_of_label,
    origin_of_prediction,
    pixel_measures,
    references,
    save,
    stamp,
)
from segtrust.dicom.series import Series
from segtrust.inference.prediction import Prediction
from segtrust.models import Label

__all__ = ["cielab", "write_label", "write_segmentation"]

_MASK_NUMBER, _LABEL_NUMBER = 9100, 9000
_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip  # noqa: E501
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, as the viewers compute back


def write_segmentation(
    prediction: Prediction,
    series: Series,
    path: Path,
    *,
    structures: Mapping[str, StructureCodes] | None = None,
) -> Path:
    """Write the mask as a binary DICOM segmentation, one segment per structure of the model.

    Structures of a sigmoid head overlap: each segment then holds all voxels of its structure.

    A PACS or a MONAI Label server counts a segmentation as a label of its image. This one says in its header
    that it was made by a program and verified by nobody.

    Args:
        prediction: on the grid of ``series``.
        series: what :func:`segtrust.dicom.read_series` returned.
        path: file to write; replaced if there.
        structures: codes by structure name, before those of :func:`segtrust.dicom.structure_codes`.

    Returns:
        ``path``. Structures that were not found are described and have no frame; a mask without any
        structure keeps all frames, empty.

    Raises:
        DicomError: if the prediction is not on the grid of the series.

    Source:
        DICOM PS3.3 A.51.
    """
    algorithm = hd.AlgorithmIdentificationSequence(
        name=long_string(prediction.spec.name),
        family=Code("123110", "DCM", "Artificial Intelligence"),
        version=long_string(prediction.version_id),
        source="segtrust",
        parameters={
            "digest": prediction.digest,
            "members": str(prediction.members),
            "precision": prediction.precision,
            "calibration": prediction.calibration,
        },
    )
    described = [
        _segment(label, structures, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm)
        for label in prediction.spec.labels
    ]
    return _write(
        prediction.sets if prediction.spec.head.kind == "sigmoid" else prediction.mask,
        prediction.affine,
        described,
        series,
        path,
        number=_MASK_NUMBER,
        description=f"Mask by {prediction.spec.name} {prediction.version_id}, unverified, research only",
        origin=origin_of_prediction(prediction),
    )


def write_label(
    values: NDArray[np.unsignedinteger[Any]],
    affine: NDArray[np.float64],
    labels: Sequence[Label],
    series: Series,
    path: Path,
    *,
    rule: LabelRule = LabelRule(),  # noqa: B008  # frozen
    structures: Mapping[str, StructureCodes] | None = None,
) -> Path:
    """Write a label that a person drew or corrected as a binary DICOM segmentation.

    A label without any structure is written too: it says that somebody looked and found none.

    Args:
        values: ``(X, Y, Z)``, 0 and the values of ``labels``.
        affine: voxel to RAS+ millimetres, 4x4.
        labels: all structures that were looked for, with values 1 to N.
        series: what :func:`segtrust.dicom.read_series` returned.
        path: file to write; replaced if there.
        rule: of the model's head; of nested structures the segment of an outer one holds the inner ones.
        structures: codes by structure name, before those of :func:`segtrust.dicom.structure_codes`.

    Returns:
        ``path``. Segments have the numbers of their values. The algorithm's type is SEMIAUTOMATIC: the object
        cannot know how much of a model's proposal was left.

    Raises:
        DicomError: if the label is not on the grid of the series.

    Source:
        DICOM PS3.3 A.51.
    """
    algorithm = hd.AlgorithmIdentificationSequence(
        name="segtrust", family=Code("123110", "DCM", "Artificial Intelligence"), version=__version__
    )
    kind = hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC
    nested = rule.structures == "nested"
    sets = rule.sets_of(torch.from_numpy(values.astype(np.int32)), len(labels)).numpy() if nested else values
    return _write(
        sets,
        affine,
        [_segment(label, structures, kind, algorithm) for label in labels],
        series,
        path,
        number=_LABEL_NUMBER,
        description="Label submitted by a person, research only",
        origin=origin_of_label(),
    )


def _write(
    values: NDArray[np.integer[Any] | np.bool_],
    affine: NDArray[np.float64],
    described: Sequence[hd.seg.SegmentDescription],
    series: Series,
    path: Path,
    *,
    number: int,
    description: str,
    origin: Origin,
) -> Path:
    overlap = values.dtype == np.bool_  # (segments, X, Y, Z)
    placement = series.place(affine, values.shape[-3:])
    document = hd.seg.Segmentation(
        source_images=references(series),
        pixel_array=np.stack([placement.to_frames(one) for one in values], axis=-1)
        if overlap
        else placement.to_frames(values),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_number=number,
        pixel_measures=pixel_measures(series),
        content_label="SEGMENTATION",
        series_description=long_string(description),
        **equipment(origin),
    )
    stamp(document, origin, series)
    return save(document, path)


def _segment(
    label: Label,
    own_codes: Mapping[str, StructureCodes] | None,
    kind: hd.seg.SegmentAlgorithmTypeValues,
    algorithm: hd.AlgorithmIdentificationSequence,
) -> hd.seg.SegmentDescription:
    meaning = structure_codes(label.name, own_codes)
    item = hd.seg.SegmentDescription(
        segment_number=label.value,
        segment_label=long_string(label.name),
        segmented_property_category=meaning.category,
        segmented_property_type=meaning.type,
        algorithm_type=kind,
        algorithm_identification=algorithm,
    )
    if meaning.modifier is not None:
        modifier = [code_item(meaning.modifier)]
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifier
    item.RecommendedDisplayCIELabValue = list(cielab(label.colour))
    return item


def cielab(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """A screen colour as DICOM stores recommended colours.

    Args:
        colour: red, green, blue of sRGB, 0 to 255.

    Returns:
        L*, a*, b* as three 16-bit numbers.

    Source:
        DICOM PS3.3 C.10.7.1.1 for the encoding; CIE 15 for L*a*b*, with the white point D65 that dcmtk and
        OHIF use to compute back (the standard names D50; with that one they would show other colours).

    Example:
        >>> cielab((255, 255, 255))
        (65535, 32896, 32896)
    """
    share = np.asarray(colour, dtype=np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    ratio = _TO_XYZ @ linear / _WHITE
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    stored = np.array([lightness / 100, (a + 128) / 255, (b + 128) / 255]) * 65535
    first, second, third = np.clip(np.round(stored), 0, 65535).astype(int).tolist()
    return (first, second, third)
