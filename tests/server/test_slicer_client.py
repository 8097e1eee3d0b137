"""The client class of 3D Slicer's plug-in, as the MONAI Label wheel has it, against our server."""

import gc
import importlib.util
import sys
from pathlib import Path

import nrrd
import numpy as np
import pytest

from segtrust.label.queue.strategies import telling_name

pytestmark = pytest.mark.filterwarnings(
    "ignore:'cgi' is deprecated", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def plugin_module():
    file = Path(sys.prefix) / "monailabel/plugins/slicer/MONAILabel/MONAILabelLib/client.py"
    if not file.is_file():
        pytest.skip(f"no plug-in for 3D Slicer at {file}")
    spec = importlib.util.spec_from_file_location("slicer_plugin_client", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(plugin_module, server, tmp_path):
    yield plugin_module.MONAILabelClient(server.url, str(tmp_path), "user-xyz")
    gc.collect()  # it leaves its sockets to the collector: let their warnings fall into this test


@pytest.mark.parametrize("task", ["hippocampus", "hippocampus_uncertainty", "hippocampus_with_uncertainty"])
def test_it_gets_labels_and_their_names_as_the_plug_in_asks_for_them(
    client, predictor, server, scan_id, task
):
    config = client.info()["models"][task]["config"]
    params = {key: value[0] if isinstance(value, list) else value for key, value in config.items()}
    params |= {"result_extension": ".nrrd", "result_dtype": "uint8"}
    file, answer = client.infer(task, scan_id, params)
    values, _ = nrrd.read(file)
    prediction = predictor.predict(server.studies / f"{scan_id}.nii.gz")
    edges = (0.05, 0.2, 1 / 3)
    wanted = {
        "hippocampus": prediction.mask,
        "hippocampus_uncertainty": prediction.bands(edges),
        "hippocampus_with_uncertainty": prediction.mask_with_bands(edges),
    }
    assert np.array_equal(values, wanted[task])
    assert list(answer["label_names"].values()) == list(range(1, len(answer["label_names"]) + 1))
    assert answer["segtrust"]["ignored"] == []


def test_it_gets_the_float_map_unharmed(client, predictor, server, scan_id):
    params = {"result_extension": ".nrrd", "result_dtype": "float32", "map": "chance_of_error"}
    file, answer = client.infer("hippocampus_uncertainty", scan_id, params)
    values, _ = nrrd.read(file)
    prediction = predictor.predict(server.studies / f"{scan_id}.nii.gz")
    assert values.dtype == np.float32
    assert np.array_equal(values, prediction.map("chance_of_error"))
    assert answer["segtrust"]["slices"][0]["index"] == prediction.slices[0].index


def test_the_next_scan_has_the_identity_that_the_datastore_gives_it(client, server):
    sample = client.next_sample("uniform", {"seed": "3"})
    info = server.get("/datastore/image/info", params={"image": sample["id"]}).json()
    own = {"ts", "name"}  # the time of the asking; the name tells the rank once the scan has a score
    assert {key: sample[key] for key in info if key not in own} == {
        key: value for key, value in info.items() if key not in own
    }
    assert sample["name"] in (info["name"], telling_name({**sample, "name": info["name"]}))


def test_a_refused_label_says_why_in_the_clients_error(client, plugin_module, server, scan_id, tmp_path):
    file, answer = client.infer("hippocampus_with_uncertainty", scan_id, {"result_extension": ".nrrd"})
    info = [{"name": name, "idx": index} for name, index in answer["label_names"].items()]
    with pytest.raises(plugin_module.MONAILabelClientException) as refused:
        client.save_label(scan_id, file, "final", {"label_info": info})
    assert "structures without their uncertain voxels" in refused.value.msg
    assert server.get("/datastore/").json()["completed"] == 0
