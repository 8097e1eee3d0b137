"""Label volumes that hold a number, so that a test sees whose file it has."""

import nibabel as nib
import nrrd
import numpy as np

__all__ = ["number_in", "write_number"]

_SHAPE, _BITS = (20, 18, 16), 20


def write_number(path, number):
    """Write a label of structure 1 whose first voxels spell a number."""
    values = np.ones(_SHAPE, np.uint8)
    values[:, 0, 0] = [number >> bit & 1 for bit in range(_BITS)]
    if path.suffix == ".nrrd":
        nrrd.write(
            str(path), values, {"space": "RAS", "space directions": np.eye(3), "space origin": [0, 0, 0]}
        )
    else:
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


def number_in(path):
    """The number that a label spells; the whole file is read."""
    values = nrrd.read(str(path))[0] if str(path).endswith(".nrrd") else np.asanyarray(nib.load(path).dataobj)
    bits = values[:, 0, 0]
    return sum(int(value) << bit for bit, value in enumerate(bits))
