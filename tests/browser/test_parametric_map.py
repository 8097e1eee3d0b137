"""A parametric map that we write shows in the viewer's own modes, the right way up."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def stored(server, headers, answer_of):
    """Chance of error of the last series, stored on request; returns the map and its affine."""
    series = headers[-1].SeriesInstanceUID
    answer = server.infer("hippocampus", series, output="json", store_in_pacs="chance_of_error")
    assert answer.ok, answer.text
    assert list(answer.json()["segtrust"]["pacs"]["stored"]) == ["chance_of_error"]
    return answer_of("hippocampus_uncertainty", series, result_dtype="float32", map="chance_of_error")


@pytest.mark.parametrize("mode", ["viewer", "monai-label"])
def test_a_parametric_map_opens_with_its_values_on_the_right_voxels(viewer, stored, headers, mode):
    values, affine = stored
    viewer.open(mode, headers[-1].StudyInstanceUID)
    page = viewer.page
    row = page.locator('[data-cy^="study-browser-thumbnail"]').filter(has_text="PMAP")
    row.wait_for()
    viewer.confirm_notice()
    row.dblclick()
    volume_id = page.wait_for_function(_MAP).json_value()
    drawn = viewer.volume(volume_id).on(affine, values.shape) / 100
    assert np.abs(drawn - values).max() < 1e-5
    assert np.abs(values - values[..., ::-1]).max() > 0.1  # so upside down would be seen
    if mode == "monai-label":  # the panel is about the scan under the map
        scan = viewer.open_panel().locator(".scan").inner_text()
        assert scan.startswith(f"{headers[-1].SeriesDescription}, ")
    assert viewer.errors == []


# id of the volume that holds numbers between whole ones: the map, not the scan
_MAP = """() => {
  const volumes = window.cornerstone.getRenderingEngines()[0].getViewports()
    .flatMap(viewport => viewport.getAllVolumeIds?.() ?? [])
    .map(id => window.cornerstone.cache.getVolume(id));
  const map = volumes.find(volume => volume?.voxelManager.getCompleteScalarDataArray().some(v => v % 1));
  return map?.volumeId;
}"""
