"""A parametric map that we write shows in the viewer's own modes, the right way up."""

import uuid

import numpy as np
import pytest

from segtrust.dicom import read_series, write_parametric_map
from segtrust.inference import Predictor
from segtrust.models import find_models, open_version, shipped_models_dir


@pytest.fixture(scope="module")
def stored(pacs, server, headers, tmp_path_factory):
    """Chance of error of the second series, sent through our own proxy; returns the prediction."""
    folder = tmp_path_factory.mktemp("map")
    source = pacs.files(headers[1].SeriesInstanceUID, folder / "source")[0].parent
    models = find_models(shipped_models_dir())
    if "hippocampus" not in models:
        pytest.skip("no shipped model hippocampus")
    prediction = Predictor(open_version(models["hippocampus"])).predict(source)
    file = write_parametric_map(prediction, "chance_of_error", read_series(source), folder / "map.dcm")
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    body = head + file.read_bytes() + f"\r\n--{boundary}--".encode()
    answer = server.post("/proxy/dicom/stow/studies", data=body, headers={"Content-Type": kind})
    assert answer.ok, answer.text
    return prediction


@pytest.mark.parametrize("mode", ["viewer", "monai-label"])
def test_a_parametric_map_opens_with_its_values_on_the_right_voxels(viewer, stored, headers, mode):
    viewer.open(mode, headers[1].StudyInstanceUID)
    page = viewer.page
    row = page.locator('[data-cy="study-browser-thumbnail-no-image"]').filter(has_text="PMAP")
    row.wait_for()
    viewer.confirm_notice()
    row.dblclick()
    volume_id = page.wait_for_function(_MAP).json_value()
    drawn = viewer.volume(volume_id).on(stored.affine, stored.mask.shape) / 100
    assert np.abs(drawn - stored.map("chance_of_error")).max() < 1e-5
    assert viewer.errors == []


# id of the volume that holds numbers between whole ones: the map, not the scan
_MAP = """() => {
  const volumes = window.cornerstone.getRenderingEngines()[0].getViewports()
    .flatMap(viewport => viewport.getAllVolumeIds?.() ?? [])
    .map(id => window.cornerstone.cache.getVolume(id));
  const map = volumes.find(volume => volume?.voxelManager.getCompleteScalarDataArray().some(v => v % 1));
  return map?.volumeId;
}"""
