"""What a file's header claims, read before any of its voxels: one typed answer for all formats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ScanError

__all__ = ["ENDINGS", "Encoding", "Header", "Kind", "ending_of", "unreadable"]

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Endings of the files that are read; ``.seg.nrrd`` is NRRD."""

Encoding = Literal["raw", "gzip", "zlib", "bzip2", "ascii"]
Kind = Literal["scalar", "complex", "colour"]

_OTHERS = (  # first bytes of what ITK would open by its content, whatever the ending
    (b"\x89HDF", "HDF5, MINC 2 or ITK's own HDF5"),
    (b"CDF", "MINC 1 (NetCDF)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture or LSM stack"),
    (b"MM\x00*", "a TIFF picture"),
    (b"# vtk", "VTK"),
    (b"##TITLE", "Bruker"),
    (b"# CLINICAL TRYOUT", "Philips PAR/REC"),
    (b"PK", "a ZIP archive"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"NRRD", "NRRD"),
    (b"ObjectType", "MetaImage"),
)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a header says.

    Args:
        format: ``NIfTI``, ``NRRD`` or ``MetaImage``.
        axes: sizes of all axes of the stored array, the fastest first.
        component_axis: which of them holds the values of one voxel; ``None`` for one value per voxel.
        dtype: of one stored value, with its byte order.
        kind: single numbers, complex numbers, or colours.
        encoding: how the values are stored.
        whole_file: whether the encoding holds for the whole file, header included (``.nii.gz``).
        offset: where the values begin, in bytes of the file, or of its decompressed content for
            ``whole_file``.
        scaling: slope and intercept of the values.
        affine: voxels to RAS+ millimetres, 4x4, as the format's own rule has it.
        spacing: voxel size of the three axes in millimetres; ``None`` if the header gives none.
        doubts: reasons why two readers of the format put the scan at different places; empty if they agree.
        fields: other fields by their lower-case names.
    """

    format: str
    axes: tuple[int, ...]
    component_axis: int | None
    dtype: np.dtype[np.generic]
    kind: Kind
    encoding: Encoding
    whole_file: bool
    offset: int
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float] | None
    scaling: tuple[float, float] | None = None
    doubts: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes in space and time, without the axis of components."""
        return tuple(size for axis, size in enumerate(self.axes) if axis != self.component_axis)

    @property
    def components(self) -> int:
        """Values per voxel."""
        return 1 if self.component_axis is None else self.axes[self.component_axis]

    @property
    def values(self) -> int:
        """Number of stored values."""
        product = 1
        for size in self.axes:
            product *= size
        return product

    @property
    def data_bytes(self) -> int:
        """Bytes that the values must have, uncompressed."""
        return self.values * self.dtype.itemsize


def ending_of(path: Path) -> str:
    """The ending that says which format a file must have.

    Args:
        path: the file; only its name is looked at.

    Returns:
        One of :data:`ENDINGS`.

    Raises:
        ScanError: for any other ending.

    Example:
        >>> ending_of(Path("a.b.seg.nrrd"))
        '.nrrd'
    """
    name = path.name.lower()
    ending = next((ending for ending in ENDINGS if name.endswith(ending)), None)
    if ending is None:
        detached = name.endswith((".mhd", ".nhdr", ".hdr", ".img", ".img.gz"))
        raise ScanError(
            f"{path.name!r} must end in one of {', '.join(ENDINGS)}"
            + (
                "; a header whose voxels lie in another file is not read. Save it as one file."
                if detached
                else ". Convert it first."
            ),
            "scan_unreadable",
        )
    return ending


def unreadable(name: str, reason: str, fix: str = "Export it again.") -> ScanError:
    """The error for a file that is not read: which, why, and what helps."""
    return ScanError(f"the file {name!r} cannot be read: {reason}. {fix}", "scan_unreadable")


def foreign(name: str, wanted: str, start: bytes) -> ScanError:
    """The error for content that is not what the ending promises; it says what it seems to be."""
    if not start:
        return unreadable(name, "it is empty", "Copy it again.")
    kind = next((kind for magic, kind in _OTHERS if start.startswith(magic)), None)
    if kind is None and start[128:132] == b"DICM":
        kind = "DICOM"
    looks = f"looks like {kind}" if kind else "is of another type"
    return unreadable(
        name, f"by its ending it must be {wanted}, but its content {looks}", "Convert it first."
    )
