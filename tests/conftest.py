"""Shared fixtures: real scans where they are present, and a tiny model that needs no training."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from phantoms import make_blob, publish_random_version, spec_of, write_scan
from segtrust.models import open_version

settings.register_profile("segtrust", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("segtrust")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir():
    """Folder of the real scans: ``SEGTRUST_DATA``, else ``../shared/data`` beside the project."""
    return _present(Path(os.environ.get("SEGTRUST_DATA", ROOT.parent / "shared" / "data")))


@pytest.fixture(scope="session")
def hippocampus_dir(data_dir):
    """Folder ``hippocampus`` of the real scans."""
    return _present(data_dir / "hippocampus")


@pytest.fixture(scope="session")
def cases_dir():
    """Folder of files that went wrong once: ``SEGTRUST_CASES``, else ``../shared/cases``."""
    return _present(
        Path(os.environ.get("SEGTRUST_CASES", ROOT.parent / "shared" / "cases")), "SEGTRUST_CASES"
    )


@pytest.fixture(scope="session")
def dicom_head_dir(data_dir):
    """Folder with the one series of ``dicom_head``."""
    return _present(data_dir / "dicom_head" / "study3")


def _present(folder, setting="SEGTRUST_DATA"):
    if not folder.is_dir():
        pytest.skip(f"no such files at {folder}: set {setting}")
    return folder


@pytest.fixture(scope="session")
def tiny_spec():
    """A two-structure 3-D softmax specification."""
    return spec_of()


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """``make_model(spec, calibrator=..., seed=...)`` publishes random weights and returns the folder."""

    def make(spec, **options):
        folder = tmp_path_factory.mktemp("models") / spec.name
        publish_random_version(folder, spec, **options)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_model_original(make_model, tiny_spec):
    """Folder of the tiny model; not to be changed."""
    return make_model(tiny_spec)


@pytest.fixture
def tiny_model(tiny_model_original, tmp_path):
    """A copy of the tiny model's folder, which the test may damage."""
    return Path(shutil.copytree(tiny_model_original, tmp_path / "models" / "tiny"))


@pytest.fixture(scope="session")
def tiny_version(tiny_model_original):
    """The opened version of the tiny model."""
    return open_version(tiny_model_original)


@pytest.fixture(scope="session")
def blob_scan():
    """A bright ball over weak noise, 20 x 18 x 16 voxels of 1 mm."""
    return make_blob()


@pytest.fixture
def tiny_scan(tmp_path, blob_scan):
    """Path of the ball as a NIfTI file."""
    return write_scan(blob_scan, tmp_path / "ball.nii.gz")
