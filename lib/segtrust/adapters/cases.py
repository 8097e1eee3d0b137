"""One scan whose probabilities somebody else's model made, with its label, on one grid."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust._checks import check_labels, check_probs
from segtrust.adapters.folder import CaseFiles
from segtrust.adapters.images import Image, read_image, voxel_size
from segtrust.errors import ProbabilityError, ScanError, ShapeError

__all__ = ["ProbabilityCase", "read_case", "read_probabilities"]

_KEYS = ("probabilities", "softmax")
_FAR = 0.05  # mm or voxels by which two headers of one grid may differ from rounding


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


def read_case(files: CaseFiles, *, ignore: int | None = None) -> ProbabilityCase:
    """Read one scan.

    Args:
        files: where it lies, with a label.
        ignore: value of voxels that nobody labelled.

    Returns:
        The scan.

    Raises:
        ScanError: if a file cannot be read, or probabilities and label lie on different grids.
        ProbabilityError: if the values are no probabilities, or a label is no class.
    """
    if files.label is None:
        raise ScanError(f"the scan {files.id!r} must have a label, got none.", "scan_missing")
    reference = read_image(files.label)
    labels = torch.from_numpy(np.rint(np.asarray(reference.data, np.float64)).astype(np.int64))
    valid = torch.ones_like(labels, dtype=torch.bool) if ignore is None else labels != ignore
    probs, affine = read_probabilities(files)
    where = f"the probabilities of {files.id!r}"
    if tuple(probs.shape[1:]) != tuple(labels.shape):
        raise ScanError(
            f"{where} must lie on the grid of the label {tuple(labels.shape)}, got {tuple(probs.shape[1:])}. "
            "Resample one of them; TotalSegmentator keeps probabilities on its own resampled, cropped grid.",
            "scan_dimensions",
        )
    if affine is not None and not np.allclose(affine, reference.affine, atol=_FAR):
        raise ScanError(
            f"{where} must lie where the label lies, but their headers differ by up to "
            f"{np.abs(affine - reference.affine).max():.3g}. Was one of them turned or flipped?",
            "scan_dimensions",
        )
    labels = torch.where(valid, labels, 0)
    try:
        check_labels(labels, probs.shape[0])
    except ProbabilityError as error:
        raise ProbabilityError(
            f"the label of {files.id!r} does not fit its {probs.shape[0]} classes: {error}"
        ) from error
    return ProbabilityCase(
        files.id, files.subject, probs, labels, reference.affine, voxel_size(reference.affine), valid.numpy()
    )


def read_probabilities(files: CaseFiles) -> tuple[Tensor, NDArray[np.float64] | None]:
    """Read the probabilities of one scan.

    Args:
        files: where they lie; of an ``.npz`` no object is ever unpickled, and the ``.pkl`` beside it is not
            opened: the geometry is that of the segmentation ``files.mask``.

    Returns:
        ``(C, X, Y, Z)`` float32 summing to one, background first, and the affine to RAS+ millimetres;
        ``None`` if no file says where the voxels lie.

    Raises:
        ScanError: if a file cannot be read or files do not fit together.
        ProbabilityError: if the values are no softmax probabilities.

    Source:
        nnU-Net 2 stores ``probabilities`` as ``(C, Z, Y, X)``, the axes of SimpleITK; nnU-Net 1 ``softmax``.
    """
    first = files.volumes[0]
    affine: NDArray[np.float64] | None
    if first.suffix == ".npz":
        data = _read_npz(first).transpose(0, 3, 2, 1)
        affine = None
        if files.mask is not None:
            mask = read_image(files.mask)
            _check_same_grid(files.id, mask.data.shape[:3], data.shape[1:])
            affine = mask.affine
    else:
        data, affine = _stacked(files.id, [read_image(path) for path in files.volumes])
    probs = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
    try:
        check_probs(probs, class_axis=0)
    except (ProbabilityError, ShapeError) as error:
        raise ProbabilityError(
            f"the probabilities of {files.id!r} are none of a softmax: {error} Sigmoid outputs (region-based "
            "training) are not supported."
        ) from error
    probs = probs.clamp_(0, 1)
    return probs / probs.sum(dim=0, keepdim=True), affine


def _stacked(name: str, images: Sequence[Image]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    first = images[0]
    if len(images) == 1:
        if first.data.ndim != 4:
            raise ScanError(
                f"the volume of {name!r} must hold one value per class, got shape {first.data.shape}. Is it "
                "a mask? nnU-Net writes probabilities with --npz or --save_probabilities.",
                "scan_dimensions",
            )
        return np.moveaxis(first.data, -1, 0), first.affine
    for other in images:
        _check_same_grid(name, other.data.shape, first.data.shape[:3])
    return np.stack([image.data for image in images]), first.affine


def _check_same_grid(name: str, one: tuple[int, ...], other: tuple[int, ...]) -> None:
    if one != other:
        raise ScanError(
            f"all files of {name!r} must have the same shape, got {one} and {other}.", "scan_dimensions"
        )


def _read_npz(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            key = next((k for k in _KEYS if k in stored.files), None)
            if key is None:
                raise ScanError(
                    f"{path.name} must hold one of {', '.join(_KEYS)}, got "
                    f"{', '.join(stored.files) or 'nothing'}.",
                    "scan_unreadable",
                )
            data: NDArray[Any] = stored[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, ScanError):
            raise
        raise ScanError(f"{path} cannot be read: {str(error)[:200]}.", "scan_unreadable") from error
    if data.ndim == 3:
        data = data[:, None]
    if data.ndim != 4:
        raise ScanError(f"{path.name} must hold (C, Z, Y, X), got shape {data.shape}.", "scan_dimensions")
    return data
