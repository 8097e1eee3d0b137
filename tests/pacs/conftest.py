"""One Orthanc with real series and our server on it, shared by the tests of this folder.

Besides real series the PACS holds an uneven one, which nothing can refer to, and three objects that must be
neither offered nor counted: a map with the modality of its image, a mask by a program, other structures.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicom_phantoms import make_series, marked_prediction
from dicom_readers import errors_of, read_by_dcmqi, run_tool
from labelled_site import give_roles
from orthanc import pacs_with_server
from phantoms import publish_random_version, spec_of
from segtrust.dicom import read_series, write_label, write_parametric_map, write_segmentation
from segtrust.inference import Predictor
from segtrust.models import Label, find_models, open_version, shipped_models_dir
from segtrust.store import StateStore

__all__ = ["errors_of", "read_by_dcmqi", "run_tool"]

HERE = Path(__file__).parent
REAL = {
    "labelled": "dicom_hippocampus/study1",
    "empty": "dicom_hippocampus/study2",
    "predicted": "dicom_hippocampus/study3",
    "CT, JPEG 2000": "dicom_ct",
    "MR head": "dicom_head/study3",
}


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.viewers)
            item.add_marker(pytest.mark.server)


@dataclass(frozen=True)
class Source:
    """A series of the PACS and its files outside of it."""

    uid: str
    folder: Path


@pytest.fixture(scope="session")
def series(data_dir, tmp_path_factory) -> dict[str, Source]:
    """Name -> series to annotate."""
    folders = {name: data_dir / folder for name, folder in REAL.items()}
    if missing := [str(folder) for folder in folders.values() if not folder.is_dir()]:
        pytest.skip(f"no real series {', '.join(missing)}: set SEGTRUST_DATA")
    folders["uneven"] = make_series(
        tmp_path_factory.mktemp("uneven") / "series",
        shape=(24, 20, 9),
        spacing=(1, 1, 1),
        change=lambda headers: headers[:4] + headers[5:],
    )
    return {
        name: Source(str(read_header(folder).SeriesInstanceUID), folder) for name, folder in folders.items()
    }


def read_header(folder):
    return dcmread(next(iter(sorted(folder.glob("*.dcm")))), stop_before_pixels=True)


@pytest.fixture(scope="session")
def bystanders(series, tmp_path_factory, version) -> dict[str, Path]:
    """Files of the same studies that are neither scans nor labels."""
    folder = tmp_path_factory.mktemp("bystanders")
    source = read_series(series["predicted"].folder)
    prediction = marked_prediction(source.affine, source.shape, spec=version.spec)
    files = {
        "mask by this program": write_segmentation(prediction, source, folder / "mask.dcm"),
        "segmentation of something else": write_label(
            prediction.mask,
            source.affine,
            [Label("liver", 1, 1), Label("spleen", 2, 2)],
            source,
            folder / "liver.dcm",
        ),
    }
    document = dcmread(write_parametric_map(prediction, "entropy", source, folder / "map.dcm"))
    document.Modality, document.SeriesInstanceUID = "MR", generate_uid()
    document.SOPInstanceUID = document.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    document.save_as(folder / "map.dcm")
    return {**files, "map with the modality of its image": folder / "map.dcm"}


@pytest.fixture(scope="session")
def version():
    """The trained model that ships."""
    shipped = find_models(shipped_models_dir())
    if "hippocampus" not in shipped:
        pytest.skip("no trained model `hippocampus` ships")
    return open_version(shipped["hippocampus"])


@pytest.fixture(scope="session")
def predictor(version) -> Predictor:
    """The library called directly: what the server must agree with."""
    return Predictor(version)


@pytest.fixture(scope="session")
def quick_model(tmp_path_factory):
    """Random weights on a coarse grid: seconds on a CT."""
    model = tmp_path_factory.mktemp("models") / "quick"
    labels = (Label("front", 1, 1), Label("back", 2, 2))
    fields = {"name": "quick", "labels": labels, "spacing": (4.0, 4.0, 4.0), "members": 1}
    publish_random_version(model, spec_of(**fields, extent_mm=None))  # no scan is unlike training
    return model


@pytest.fixture(scope="session")
def running(tmp_path_factory, series, bystanders, quick_model):
    folder = tmp_path_factory.mktemp("pacs")
    temporary = folder / "tmp"
    temporary.mkdir()
    others = folder / "bystanders"
    others.mkdir()
    for file in bystanders.values():
        shutil.copy(file, others)
    store = StateStore(folder / "server" / "state" / "state.sqlite")
    give_roles(store, {source.uid: (source.uid, "train") for source in series.values()})
    with pacs_with_server(
        folder,
        [*(source.folder for source in series.values()), others],
        conf={"models_dir": quick_model.parent},
        environment={"TMPDIR": str(temporary)},
    ) as both:
        yield (*both, temporary, set(temporary.iterdir()))


@pytest.fixture(scope="session")
def pacs(running):
    return running[0]


@pytest.fixture(scope="session")
def server(running):
    return running[1]


@pytest.fixture
def left_behind(running):
    """``left_behind()``: temporary files that were not there when the server had started."""
    _, _, temporary, before = running
    return lambda: sorted(path.name for path in set(temporary.iterdir()) - before)


@pytest.fixture
def uid(series):
    """``uid(name)``: the series that a test calls by that name."""
    return lambda name: series[name].uid


@pytest.fixture
def read_back(pacs, tmp_path):
    """``read_back(series_uid)``: file of the one object of a series, fetched from the PACS."""

    def read(series_uid):
        (file,) = pacs.files(series_uid, tmp_path / series_uid)
        return file

    return read
