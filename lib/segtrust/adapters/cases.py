"""One scan whose probabilities somebody else's model made, with its label, on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._checks import check_labels
from segtrust.adapters.folder import CaseFiles
from segtrust.errors import ProbabilityError, ScanError
from segtrust.files.label import read_label_file
from segtrust.files.probabilities import ProbabilityVolume, read_probability_volume

__all__ = ["ProbabilityCase", "read_case", "read_probabilities"]


@dataclass(frozen=True)
class ProbabilityCase:
    """Probabilities ``(C, X, Y, Z)`` float32, labels ``(X, Y, Z)`` int64, in the label file's voxel order.

    ``valid`` is false where the label says to ignore the voxel; labels are 0 there. ``maps``: name ->
    ``(X, Y, Z)`` in [0, 1], high means unsure: what cannot be computed from the probabilities.
    """

    id: str
    subject: str
    probs: Tensor
    labels: Tensor
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float] | None
    valid: NDArray[np.bool_]
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def read_case(files: CaseFiles, *, ignore: int | None = None, trust_order: bool = False) -> ProbabilityCase:
    """Read one scan.

    Args:
        files: where it lies, with a label.
        ignore: value of voxels that nobody labelled, 0 to 65,535.
        trust_order: take an ``.npz`` without a mask to be in the order of the label.

    Returns:
        The scan; probabilities are turned onto the label's grid if they lie on it in another order.

    Raises:
        ScanError: if a file cannot be read, the label holds no labels or lies at different places for
            different readers, or probabilities and label lie on different grids.
        ProbabilityError: if the values are no probabilities, or a label is no class.
    """
    if files.label is None:
        raise ScanError(f"the scan {files.id!r} must have a label, got none.", "scan_missing")
    reference = read_label_file(files.label)
    labels, grid = reference.values.astype(np.int64), reference.grid
    valid = np.ones_like(labels, dtype=bool) if ignore is None else labels != ignore
    probs = read_probabilities(files, trust_order=trust_order).onto(grid, f"the label {files.label.name}")
    inside = torch.from_numpy(np.where(valid, labels, 0))
    try:
        check_labels(inside, probs.shape[0])
    except ProbabilityError as error:
        raise ProbabilityError(
            f"the label of {files.id!r} does not fit its {probs.shape[0]} classes: {error}"
        ) from error
    return ProbabilityCase(files.id, files.subject, probs, inside, grid.affine, grid.spacing, valid)


def read_probabilities(files: CaseFiles, *, trust_order: bool = False) -> ProbabilityVolume:
    """Read the probabilities of one scan; see :func:`segtrust.files.probabilities.read_probability_volume`.

    Args:
        files: where they lie.
        trust_order: as there.

    Returns:
        The volume.

    Raises:
        ScanError: as there.
        ProbabilityError: as there.
    """
    return read_probability_volume(files.id, files.volumes, mask=files.mask, trust_order=trust_order)
