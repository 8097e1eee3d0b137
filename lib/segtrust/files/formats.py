"""The formats that are read, each a module of its own, chosen by a file's ending."""

from pathlib import Path
from typing import BinaryIO

from segtrust.files import metaimage, nifti, nrrd
from segtrust.files.header import Header, ending_of

__all__ = ["read_header"]


def read_header(file: BinaryIO, path: Path) -> Header:
    """Read the header of an open file, held to the format that the file's ending names.

    Args:
        file: the file at its start.
        path: its name.

    Returns:
        What it claims; nothing was compared with any bound yet.

    Raises:
        ScanError: if the ending is none that is read, the content is of another kind, the header is damaged,
            or its voxels would lie in another file.
    """
    ending = ending_of(path)
    if ending in {".nii", ".nii.gz"}:
        return nifti.read_header(file, path.name, compressed=ending == ".nii.gz")
    return nrrd.read_header(file, path.name) if ending == ".nrrd" else metaimage.read_header(file, path.name)
