"""Writing volumes with the geometry of the scan they belong to."""

import errno
import shutil
from pathlib import Path

import itk
import numpy as np
from numpy.typing import NDArray

from segtrust._files import check_written
from segtrust.errors import ScanError

__all__ = ["write_volume"]

_LPS = np.diag([-1.0, -1.0, 1.0])


def write_volume(
    array: NDArray[np.generic], affine: NDArray[np.float64], path: Path, *, compress: bool = True
) -> Path:
    """Write a map or mask next to nothing else but its geometry.

    Args:
        array: ``(X, Y, Z)``, uint8 or float32; the type is kept.
        affine: voxels to RAS+ millimetres, 4x4.
        path: ends in ``.nrrd``, ``.nii`` or ``.nii.gz``.
        compress: compress NRRD; for NIfTI the name decides.

    Returns:
        ``path``.

    Raises:
        OSError: ``ENOSPC`` if the disk is full.
        ScanError: if the affine has no voxel size that could be written (an axis of length 0).

    Note:
        Files are encoded by ITK, whose axes are LPS.
    """
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and (size > 0).all()):
        raise ScanError(
            "the scan's header must give every voxel axis a length above 0, got "
            f"{size.tolist()} mm. Export the scan again.",
            "scan_dimensions",
        )
    image = itk.image_from_array(np.ascontiguousarray(array.transpose()))
    image.SetSpacing(size.tolist())
    image.SetDirection(_nearest_rotation(_LPS @ (affine[:3, :3] / size)))
    image.SetOrigin((_LPS @ affine[:3, 3]).tolist())
    try:
        itk.imwrite(image, str(path), compression=compress)
    except RuntimeError as error:
        if shutil.disk_usage(path.parent).free < array.nbytes:
            raise OSError(errno.ENOSPC, "the file was written in part only", str(path)) from error
        raise
    if path.suffix != ".nrrd":  # of which ITK says so itself
        check_written(path, array.nbytes)
    return path


def _nearest_rotation(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The orthonormal matrix closest to a direction matrix that headers round or shear a little."""
    u, _, v = np.linalg.svd(direction)
    nearest: NDArray[np.float64] = u @ v
    return nearest
