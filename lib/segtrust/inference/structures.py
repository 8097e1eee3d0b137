"""What a prediction says of each structure: volume, its range over the samples, border, verdict."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from segtrust.inference.border import border_mm
from segtrust.inference.prediction import StructureSummary
from segtrust.inference.scan import Scan
from segtrust.models import ModelSpec
from segtrust.quality import Assessment

__all__ = ["summarise_structures"]


def summarise_structures(
    mask: NDArray[np.uint8],
    scan: Scan,
    spec: ModelSpec,
    *,
    entropies: Mapping[int, float | None],
    sample_voxels: NDArray[np.int64],
    calibrated: NDArray[np.float32] | None,
    assessment: Assessment | None,
    sets: NDArray[np.bool_] | None = None,
) -> tuple[StructureSummary, ...]:
    """Say of every structure how large it is, how sure that is, and what is to be thought of its mask.

    Args:
        mask: predicted labels, ``(X, Y, Z)``.
        scan: as read.
        spec: the model's labels.
        entropies: label value -> mean entropy near the structure, ``None`` where it is empty.
        sample_voxels: voxels of each structure in each sample, ``(S, K)``.
        calibrated: probabilities, ``(C, X, Y, Z)``; ``None`` if they are not calibrated.
        assessment: predicted quality of the scan, if the version can predict it.
        sets: voxels of each structure, ``(N, X, Y, Z)``, where structures overlap; those of ``mask`` unless
            given.

    Returns:
        One summary for each label of the specification, in its order.
    """
    counts = (
        np.bincount(mask.reshape(-1), minlength=len(spec.labels) + 1)
        if sets is None
        else np.array([0, *(np.count_nonzero(segment) for segment in sets)])
    )
    ml = abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000 if scan.spacing is not None else None
    first = spec.head.kind == "softmax"  # whose channel 0 is the background

    def volumes(value: int) -> tuple[float, float] | None:
        each = sample_voxels[:, value - 1]
        return (int(each.min()) * ml, int(each.max()) * ml) if ml is not None and len(each) > 1 else None

    def border(value: int) -> float | None:
        if calibrated is None or scan.spacing is None:
            return None
        segment = mask == value if sets is None else sets[value - 1]
        return border_mm(segment, calibrated[value - 1 + first], scan.spacing)

    summaries = [
        StructureSummary(
            name=label.name,
            value=label.value,
            voxels=int(counts[label.value]),
            volume_ml=int(counts[label.value]) * ml if ml is not None else None,
            mean_entropy=entropies[label.value],
            empty=not counts[label.value],
            volume_range_ml=volumes(label.value),
            border_mm=border(label.value),
        )
        for label in spec.labels
    ]
    return tuple(s.judged(assessment.structures[s.value]) if assessment else s for s in summaries)
