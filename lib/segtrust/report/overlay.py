"""Slices of a scan with the mask's outline and the chance of error, as drawings that scale without loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

from segtrust.errors import ShapeError
from segtrust.report.scale import chance_colours, png_uri

__all__ = ["Slice", "draw_slices", "worst_slice"]

# plane, axis that is cut, (axis, direction) that runs to the right and down, letters at the top and bottom.
# As 3D Slicer shows them: the patient's right on the left side, anterior up or on the left, superior up.
_PLANES = (
    ("axial", 2, (0, -1), (1, -1), "A", "P"),
    ("coronal", 1, (0, -1), (2, -1), "S", "I"),
    ("sagittal", 0, (1, -1), (2, -1), "S", "I"),
)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One plane of one scan, ready for a page.

    ``width`` and ``height`` are in millimetres, ``outlines`` maps a structure's name to an SVG path in them,
    ``reference`` likewise for the label, if there is one.
    """

    plane: str
    index: int
    of: int
    expected_errors: float
    width: float
    height: float
    image: str
    chance: str
    outlines: Mapping[str, str]
    top: str
    bottom: str
    reference: Mapping[str, str] = field(default_factory=dict)


def worst_slice(chance: NDArray[np.float32], axis: int) -> int:
    """The slice in which most labels are expected to be wrong.

    Args:
        chance: chance of a wrong label, ``(X, Y, Z)``.
        axis: axis that is cut.

    Returns:
        Index of the slice; the first of equals.

    Example:
        >>> worst_slice(np.float32([[[0.0, 0.1], [0.0, 0.4]]]), axis=2)
        1
    """
    others = tuple(a for a in range(chance.ndim) if a != axis)
    return int(np.argmax(chance.sum(axis=others, dtype=np.float64)))


def draw_slices(
    image: NDArray[np.floating[Any]],
    mask: NDArray[np.uint8],
    chance: NDArray[np.float32],
    *,
    spacing: tuple[float, float, float],
    structures: Mapping[str, int],
    reference: NDArray[np.integer[Any]] | None = None,
) -> tuple[Slice, ...]:
    """Cut a scan in three planes, each through the slice with the most expected errors.

    Args:
        image: intensities, ``(X, Y, Z)``, axes towards right, anterior and superior.
        mask: labels on the same grid.
        chance: chance of a wrong label on the same grid, in [0, 1].
        spacing: voxel size along each axis in millimetres.
        structures: name -> value in ``mask``.
        reference: what a person drew, on the same grid; its outlines come besides.

    Returns:
        The axial, coronal and sagittal slice.

    Raises:
        ShapeError: if the three volumes differ in shape.
    """
    if not image.shape == mask.shape == chance.shape or image.ndim != 3:
        raise ShapeError(
            "image, mask and chance must be volumes of one shape, "
            f"got {image.shape}, {mask.shape}, {chance.shape}. Were they read in the same orientation?"
        )
    low, high = (float(v) for v in np.percentile(image, (0.5, 99.5)))
    grey = np.clip((image - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    slices = []
    for plane, axis, right, down, top, bottom in _PLANES:
        index = worst_slice(chance, axis)
        step_x, step_y = spacing[right[0]], spacing[down[0]]
        labels = _cut(mask, axis, index, right, down)
        doubt = _cut(chance, axis, index, right, down)
        drawn = None if reference is None else _cut(reference, axis, index, right, down)
        rows, columns = labels.shape
        slices.append(
            Slice(
                plane=plane,
                index=index,
                of=image.shape[axis],
                expected_errors=float(doubt.sum(dtype=np.float64)),
                width=columns * step_x,
                height=rows * step_y,
                image=png_uri(_grey_pixels(_cut(grey, axis, index, right, down))),
                chance=png_uri(chance_colours(doubt)),
                outlines={
                    name: _outline(labels == value, step_x, step_y) for name, value in structures.items()
                },
                top=top,
                bottom=bottom,
                reference={}
                if drawn is None
                else {name: _outline(drawn == value, step_x, step_y) for name, value in structures.items()},
            )
        )
    return tuple(slices)


def _cut(
    volume: NDArray[Any], axis: int, index: int, right: tuple[int, int], down: tuple[int, int]
) -> NDArray[Any]:
    plane: NDArray[Any] = np.take(
        volume, index, axis=axis
    )  # axes stay in rising order: the later one is `down`, except sagittal's
    if right[0] < down[0]:
        plane = plane.T
    return plane[:: down[1], :: right[1]]


def _grey_pixels(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels = np.round(grey * 255).astype(np.uint8)
    return np.stack([levels, levels, levels, np.full_like(levels, 255)], axis=-1)


def _outline(inside: NDArray[np.bool_], step_x: float, step_y: float) -> str:
    if not inside.any():
        return ""
    padded = np.pad(inside, 1).astype(np.float64)  # a structure that touches the border closes there
    lines = contour_generator(z=padded, line_type=LineType.Separate).lines(0.5)
    parts = []
    for line in lines:
        points = (np.asarray(line) - 0.5) * (step_x, step_y)
        parts.append("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "Z")
    return "".join(parts)
