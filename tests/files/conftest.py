"""Files for the tests of the doors, written without the readers that are tested."""

import struct

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def write_nifti(tmp_path):
    """Write a NIfTI file whose fields of geometry are given one by one."""

    def write(
        name="scan.nii",
        *,
        values=None,
        sform=None,
        qform=None,
        codes=(1, 1),
        pixdim=None,
        units=2,
        patch=(),
    ):
        if values is None:
            values = np.random.default_rng(0).uniform(1, 99, (5, 6, 7)).astype(np.float32)
        sform, qform = np.eye(4) if sform is None else sform, sform if qform is None else qform
        qform = np.eye(4) if qform is None else qform
        image = nib.Nifti1Image(values, np.eye(4), dtype=values.dtype)
        image.header.set_sform(sform, 1)
        image.header.set_qform(qform, 1)
        if pixdim is not None:
            image.header["pixdim"][1:4] = pixdim
        image.header["sform_code"], image.header["qform_code"] = codes
        image.header["magic"], image.header["vox_offset"] = b"n+1", 352
        image.header["xyzt_units"] = units
        start = bytearray(image.header.binaryblock + bytes(4))
        for form, place, *numbers in patch:
            struct.pack_into(form, start, place, *numbers)
        path = tmp_path / name
        path.write_bytes(bytes(start) + values.tobytes(order="F"))
        return path

    return write
