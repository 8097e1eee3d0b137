"""Slices of a scan with the outline of the mask, of the label, and the chance of error."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segtrust.adapters import ProbabilityCase
from segtrust.evaluate.methods import ScanView
from segtrust.files import Grid, ras_axes, read_volume, toward_ras
from segtrust.report.overlay import Slice, draw_slices

__all__ = ["scan_slices"]


def scan_slices(
    case: ProbabilityCase, view: ScanView, image: Path | None, structures: Sequence[str]
) -> tuple[Slice, ...]:
    """Draw one scan.

    Args:
        case: the scan with its label.
        view: its calibrated probabilities and mask.
        image: file of the image, whose voxels may be in another order; black without one, or if it lies on
            another grid.
        structures: names in order of their values.

    Returns:
        An axial, a coronal and a sagittal slice, each through the most errors that are expected.

    Raises:
        ScanError: if the image cannot be read.
    """
    grey = np.zeros(view.mask.shape, np.float32)
    if image is not None:
        volume = read_volume(image)
        values = volume.scaled(np.float32)
        values = values.reshape(*values.shape[:3], -1)[..., 0]  # of several channels the first is drawn
        own = Grid(values.shape, volume.header.affine, volume.header.spacing)
        order = own.reordering_to(Grid(grey.shape, case.affine, case.spacing))
        grey = grey if order is None else order.apply(values)
    chance = np.where(view.valid, 1 - view.probs.max(axis=0), 0).astype(np.float32)
    size = case.spacing or (1.0, 1.0, 1.0)
    x, y, z = (size[axis] for axis in ras_axes(case.affine))
    return draw_slices(
        toward_ras(grey, case.affine),
        toward_ras(view.mask, case.affine),
        toward_ras(chance, case.affine),
        spacing=(x, y, z),
        structures={name: value for value, name in enumerate(structures, start=1)},
        reference=toward_ras(case.labels.numpy(), case.affine),
    )
