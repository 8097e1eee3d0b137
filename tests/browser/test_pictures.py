"""Pictures of real scans for the documentation; ``SEGTRUST_PICTURES=docs/images`` writes them there."""

import os
from pathlib import Path

import pytest

MOST_BYTES = 400_000


@pytest.fixture
def folder(tmp_path):
    return Path(os.environ.get("SEGTRUST_PICTURES", tmp_path))


def picture(viewer, path):
    # the viewer leaves the tooltip of a button open that nobody points at
    viewer.page.add_style_tag(content="[data-radix-popper-content-wrapper] { display: none !important }")
    viewer.settle()
    viewer.page.screenshot(path=path)
    assert 20_000 < path.stat().st_size < MOST_BYTES


def test_bands_and_the_panel_beside_the_scan(viewer, headers, folder):
    viewer.open("monai-label", headers[1].StudyInstanceUID)
    viewer.confirm_notice()
    viewer.connect()
    viewer.run("hippocampus_uncertainty")
    picture(viewer, folder / "ohif-bands.png")
    viewer.run("hippocampus")
    panel = viewer.open_panel()
    viewer.show_map(panel)
    panel.locator("ol").get_by_role("button").first.click()
    panel.evaluate("panel => panel.parentElement.scrollTo(0, 0)")
    picture(viewer, folder / "ohif-panel.png")
