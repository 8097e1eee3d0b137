"""Series of every shape: made-up ones, and real ones where they are present."""

import numpy as np
import pytest

from dicom_phantoms import make_series
from dicom_readers import errors_of, read_by_dcmqi, run_tool

__all__ = ["errors_of", "read_by_dcmqi", "run_tool"]

C, S = np.cos(0.4), np.sin(0.4)
MADE_UP = {
    "anisotropic": {},
    "descending": {"descending": True},
    "oblique": {"right": (C, S, 0), "down": (-S * C, C * C, S)},
    "oblique descending": {"right": (C, S, 0), "down": (-S * C, C * C, S), "descending": True},
    "coronal": {"right": (1, 0, 0), "down": (0, 0, -1)},
    "sagittal from the right": {"right": (0, -1, 0), "down": (0, 0, -1)},
    "one slice": {"shape": (9, 7, 1)},
}
REAL = {
    "MR hippocampus": "dicom_hippocampus/study1",
    "CT, JPEG 2000": "dicom_ct",
    "MR head, oblique, 6.5 mm": "dicom_head/study3",
}


@pytest.fixture(scope="session", params=[*MADE_UP, *REAL])
def series_dir(request, tmp_path_factory):
    """Folder of a series: each of the made-up and the real ones in turn."""
    if request.param in MADE_UP:
        return make_series(tmp_path_factory.mktemp("series") / "source", **MADE_UP[request.param])
    return request.getfixturevalue("data_dir") / REAL[request.param]


@pytest.fixture(scope="session")
def simple_dir(tmp_path_factory):
    """One made-up series, not to be changed."""
    return make_series(tmp_path_factory.mktemp("series") / "source")
