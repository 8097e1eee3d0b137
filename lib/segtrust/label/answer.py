"""The form in which a client wants a volume: file type, number type, compression."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import SegtrustError, SettingError
from segtrust.inference import write_volume

__all__ = ["AnswerForm"]

_EXTENSIONS = (".nii.gz", ".nrrd", ".nii", ".dcm")
_TYPES = ("uint8", "int16", "uint16", "float32")
_BYTE = 255


@dataclass(frozen=True, kw_only=True)
class AnswerForm:
    """How the answer's volume is written.

    Raises:
        SettingError: for a file or number type that is not written; the allowed ones are listed.
    """

    extension: str = ".nii.gz"
    dtype: str = "uint8"
    compress: bool = True

    def __post_init__(self) -> None:
        if self.extension not in _EXTENSIONS:
            raise SettingError(
                f"`result_extension` must be one of {', '.join(_EXTENSIONS)}, got {self.extension!r}."
            )
        if self.dtype not in _TYPES:
            raise SettingError(f"`result_dtype` must be one of {', '.join(_TYPES)}, got {self.dtype!r}.")

    def write(self, volume: NDArray[Any], affine: NDArray[np.float64]) -> Path:
        """Write a volume to a temporary file, which the caller deletes.

        Args:
            volume: ``(X, Y, Z)`` on the scan's own voxels.
            affine: voxel to RAS+ millimetres.

        Returns:
            The file.
        """
        with tempfile.NamedTemporaryFile(prefix="segtrust-", suffix=self.extension, delete=False) as file:
            path = Path(file.name)
        try:
            write_volume(self._typed(volume), affine, path, compress=self.compress)
        except (SegtrustError, OSError):
            path.unlink()
            raise
        return path

    def _typed(self, volume: NDArray[Any]) -> NDArray[Any]:
        """In the type that was asked for; labels beyond 255 in one that holds them."""
        wide = (
            np.issubdtype(volume.dtype, np.integer)
            and self.dtype == "uint8"
            and volume.max(initial=0) > _BYTE
        )
        return volume.astype("uint16" if wide else self.dtype, copy=False)
