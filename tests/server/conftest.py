"""A real MONAI Label server on 127.0.0.1 with real scans, for every test in this folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from copied_studies import running_server
from segtrust.inference import Predictor
from segtrust.models import Label, find_models, open_version, shipped_models_dir

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def hippocampus_scans(hippocampus_dir) -> list[Path]:
    names = json.loads((hippocampus_dir / "splits.json").read_text())["splits"]["test"][:4]
    return [hippocampus_dir / "images" / f"{name}.nii.gz" for name in names]


@pytest.fixture(scope="session")
def model_folder(make_model, tiny_spec) -> Path:
    """The trained model that ships, or one with random weights as long as it is not trained."""
    shipped = find_models(shipped_models_dir())
    if "hippocampus" in shipped:
        return shipped["hippocampus"]
    labels = (Label("anterior", 1, 1), Label("posterior", 2, 2))
    return make_model(replace(tiny_spec, name="hippocampus", labels=labels, extent_mm=((20.0, 80.0),) * 3))


@pytest.fixture(scope="session")
def server(tmp_path_factory, hippocampus_scans, model_folder):
    """The server that most tests share; a test that labels or scores takes one of its own."""
    folder = tmp_path_factory.mktemp("shared-server")
    with running_server(folder, hippocampus_scans, conf={"models_dir": model_folder.parent}) as running:
        yield running


@pytest.fixture(scope="session")
def predictor(model_folder) -> Predictor:
    """The library called directly: what the server must agree with."""
    return Predictor(open_version(model_folder))


@pytest.fixture
def scan_id(server, hippocampus_scans) -> str:
    return hippocampus_scans[0].name.split(".")[0]
