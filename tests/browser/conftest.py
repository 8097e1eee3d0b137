"""Orthanc with real series, our server and a browser, all three in one namespace."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from ohif import Viewer, chromium
from orthanc import pacs_with_server

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.viewers)
            item.add_marker(pytest.mark.server)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def series_dirs(data_dir):
    folders = [data_dir / "dicom_hippocampus", data_dir / "dicom_ct"]
    if missing := [folder.name for folder in folders if not folder.is_dir()]:
        pytest.skip(f"no real series {', '.join(missing)}: set SEGTRUST_DATA")
    return folders


@pytest.fixture(scope="session")
def headers(series_dirs):
    """Header of one slice of each hippocampus series, by folder."""
    studies = sorted(series_dirs[0].iterdir())
    return [pydicom.dcmread(next(study.rglob("*.dcm")), stop_before_pixels=True) for study in studies]


@pytest.fixture(scope="session")
def running(tmp_path_factory, series_dirs):
    with pacs_with_server(tmp_path_factory.mktemp("ohif"), series_dirs) as both:
        yield both


@pytest.fixture(scope="session")
def pacs(running):
    return running[0]


@pytest.fixture(scope="session")
def server(running):
    return running[1]


@pytest.fixture(scope="module")
def browser(pacs):
    """One per module: while Playwright runs, this thread has an event loop that other tests may not share."""
    with chromium(pacs.network) as started:
        yield started


@pytest.fixture
def viewer(browser, server):
    """A page with nothing open yet; it is closed with the test."""
    page = Viewer(browser, server.url)
    yield page
    page.page.close()


@pytest.fixture(scope="module")
def reading(browser, server, headers):
    """A page with the first hippocampus series, its mask drawn, and our panel not yet opened."""
    page = Viewer(browser, server.url)
    page.open("monai-label", headers[0].StudyInstanceUID)
    page.confirm_notice()
    page.connect()
    yield page
    page.page.close()


@pytest.fixture(scope="session")
def answer_of(server, tmp_path_factory):
    """``answer_of(task, series, **params)``: the server's own volume and affine, asked without a viewer."""

    def ask(task, series, **params):
        file = tmp_path_factory.mktemp("answer") / "answer.nii.gz"
        file.write_bytes(server.infer(task, series, output="image", **params).content)
        image = nib.load(file)
        return np.asarray(image.dataobj), image.affine

    return ask
