"""One Orthanc with real series and our server on it, shared by the tests of this folder."""

from pathlib import Path

import pytest

from orthanc import pacs_with_server

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.viewers)
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def series_dirs(data_dir):
    folders = [data_dir / "dicom_hippocampus", data_dir / "dicom_ct", data_dir / "dicom_head"]
    if missing := [folder.name for folder in folders if not folder.is_dir()]:
        pytest.skip(f"no real series {', '.join(missing)}: set SEGTRUST_DATA")
    return folders


@pytest.fixture(scope="session")
def running(tmp_path_factory, series_dirs):
    with pacs_with_server(tmp_path_factory.mktemp("pacs"), series_dirs) as both:
        yield both


@pytest.fixture(scope="session")
def pacs(running):
    return running[0]


@pytest.fixture(scope="session")
def server(running):
    return running[1]
