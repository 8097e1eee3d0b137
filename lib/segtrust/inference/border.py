"""How far a structure's border may lie off, in millimetres."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrust.regions import BAND_MM

__all__ = ["border_mm", "surface_mm2"]

_DOUBT = 0.2


def border_mm(
    mask: NDArray[np.bool_], probability: NDArray[np.float32], spacing: Sequence[float]
) -> float | None:
    r"""Half the mean thickness of a structure's uncertain shell: its border may lie so far off; low is sure.

    .. math:: \frac{V}{2A}, \qquad V = \text{volume of the voxels whose side is wrong with a chance above }
              \tfrac15

    Inside the mask that chance is 1 - p, outside p: where the mask is all that exceeds 1/2, the voxels with
    1/5 < p < 4/5. ``V`` is counted in the structure's box grown by 5 mm; ``A`` is :func:`surface_mm2`.

    Args:
        mask: voxels of the structure, ``(X, Y, Z)``.
        probability: calibrated probability of the structure, same shape.
        spacing: millimetres per voxel.

    Returns:
        Millimetres; ``None`` for an empty structure, or one that fills the volume and has no border.

    Note:
        Thickness of a shell as volume over area.
    """
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return None
    grown = tuple(
        slice(max(0, part.start - pad), part.stop + pad)
        for part, pad in zip(boxes[0], (int(np.ceil(BAND_MM / mm)) for mm in spacing), strict=True)
    )
    area = surface_mm2(mask[grown], spacing)
    if area == 0:
        return None
    p = probability[grown]
    unsure = np.count_nonzero(np.where(mask[grown], p < 1 - _DOUBT, p > _DOUBT))
    return float(unsure * np.prod(spacing) / (2 * area))


def surface_mm2(mask: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Area of a structure's surface, from the faces between voxels inside and outside.

    Args:
        mask: voxels of the structure, ``(X, Y, Z)``; no face lies on the volume's edge.
        spacing: millimetres per voxel.

    Returns:
        Square millimetres: 2/3 of the area of the faces, which is right for surfaces that look in every
        direction alike (a ball); up to a third too small for a box along the axes.

    Source:
        Cauchy's formula: the mean of abs(n_x) + abs(n_y) + abs(n_z) over the unit sphere is 3/2.

    Example:
        >>> cube = np.zeros((3, 3, 3), bool)
        >>> cube[1, 1, 1] = True
        >>> surface_mm2(cube, (1.0, 1.0, 2.0))  # faces: 2 of 1 mm2, 4 of 2 mm2
        6.666666666666666
    """
    volume = float(np.prod(spacing))
    faces = (np.count_nonzero(np.diff(mask, axis=axis)) * volume / mm for axis, mm in enumerate(spacing))
    return 2 / 3 * sum(faces)
