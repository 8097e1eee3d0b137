"""The OHIF viewer of our server in headless Chromium, driven as a reader would and read as a test must."""

import base64
import contextlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from orthanc import Namespace

__all__ = ["PLANES", "Grid", "Viewer", "changed_pixels", "chromium"]

PLANES = ("mpr-axial", "mpr-sagittal", "mpr-coronal")
_FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-gpu-blocklist",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
_READY = """() => {
  const engine = window.cornerstone?.getRenderingEngines()[0];
  const volumes = engine?.getViewports().flatMap(v => v.getAllVolumeIds?.() ?? []) ?? [];
  const isLoaded = id => window.cornerstone.cache.getVolume(id)?.loadStatus?.loaded;
  return volumes.length >= 3 && volumes.every(isLoaded);
}"""
_VOLUME = """id => {
  const { segmentationService } = window.services;
  const volume = id ? window.cornerstone.cache.getVolume(id) : segmentationService.getLabelmapVolume('1');
  const { dimensions, direction, spacing, origin } = volume;
  return {
    dimensions: [...dimensions], direction: [...direction], spacing: [...spacing], origin: [...origin],
    values: [...volume.voxelManager.getCompleteScalarDataArray()],
  };
}"""
_CANVASES = """() => Object.fromEntries(
  window.cornerstone.getRenderingEngines()[0].getViewports().map(v => [v.id, v.getCanvas().toDataURL()])
)"""
_DRAW = """async () => {
  const drawn = viewport => new Promise(done => {
    const { IMAGE_RENDERED } = window.cornerstone.Enums.Events;
    viewport.element.addEventListener(IMAGE_RENDERED, done, { once: true });
    viewport.render();
  });
  await Promise.all(window.cornerstone.getRenderingEngines()[0].getViewports().map(drawn));
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
_AWAIT_CHANGE = """() => {
  const { SEGMENTATION_DATA_MODIFIED } = window.cornerstoneTools.Enums.Events;
  window.segmentationChanged = new Promise(done => {
    window.cornerstone.eventTarget.addEventListener(SEGMENTATION_DATA_MODIFIED, () => done(), { once: true });
  });
}"""
_CAMERAS = """() => window.cornerstone.getRenderingEngines()[0].getViewports().map(v => {
  const { focalPoint, viewPlaneNormal } = v.getCamera();
  return { plane: v.id, focalPoint: [...focalPoint], normal: [...viewPlaneNormal] };
})"""


@contextlib.contextmanager
def chromium(network: Namespace) -> Iterator[object]:
    """Headless Chromium inside a namespace: a context whose pages share what they loaded of the viewer.

    Skips where Playwright or Debian's browser is missing.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium: apt-get install chromium")
    with network.entered():
        running = playwright.sync_playwright().start()
    try:
        browser = running.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser.new_context(viewport={"width": 1400, "height": 900})
        browser.close()
    finally:
        running.stop()


@dataclass(frozen=True)
class Grid:
    """A volume as the viewer holds it: ``(i, j, k)`` values, and where they lie (LPS, millimetres)."""

    values: np.ndarray
    to_world: np.ndarray

    def on(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The values at the voxels of a file whose affine is RAS, by where they lie in the patient."""
        voxels = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)])
        to_grid = np.linalg.inv(self.to_world) @ np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        index = np.rint(np.tensordot(to_grid, voxels, 1)[:3]).astype(int)
        return self.values[tuple(index)]


def changed_pixels(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, int]:
    """How many pixels of each plane look different."""
    return {plane: int((np.abs(after[plane] - before[plane]).max(axis=-1) > 8).sum()) for plane in PLANES}


def _pixels(url: str) -> np.ndarray:
    png = base64.b64decode(url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


class Viewer:
    """One page of the viewer.

    Args:
        browser: of :func:`chromium`.
        url: of the server.
    """

    def __init__(self, browser, url: str) -> None:
        self.page = browser.new_page()
        self.page.set_default_timeout(300_000)
        self.url = url
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, mode: str, study: str) -> None:
        """Open a study in a mode, and wait until its volume is there."""
        self.page.goto(f"{self.url}/ohif/{mode}?StudyInstanceUIDs={study}")
        if mode == "monai-label":
            self.page.wait_for_function(_READY)
            self.settle()

    def confirm_notice(self) -> None:
        """Hide the viewer's own notice, which covers the lower edge."""
        self.page.get_by_role("button", name="Confirm and Hide").click()

    def connect(self) -> None:
        """Connect MONAI Label's panel with the address that it shows."""
        self.page.locator(".settingsTable button").click()
        self.page.wait_for_function("() => window.services.segmentationService.getSegmentations().length")
        self.page.wait_for_function("() => window.services.segmentationService.getLabelmapVolume('1')")

    def run(self, model: str) -> None:
        """Run a model in MONAI Label's panel."""
        choice = self.page.locator(".modelSelector:visible select").first
        choice.select_option(model)
        self.page.evaluate(_AWAIT_CHANGE)
        self.page.locator(".modelSelector:visible button", has_text="Run").first.click()
        self.page.evaluate("() => window.segmentationChanged")
        self.settle()

    def open_panel(self):
        """Open our panel; returns its locator."""
        self.page.locator('[data-cy="uncertainty-btn"]').click()
        panel = self.page.get_by_role("region", name="Uncertainty")
        panel.locator("option").first.wait_for(state="attached")
        return panel

    def show_map(self, panel) -> None:
        """Draw the map and wait for it."""
        panel.get_by_role("button", name="Show uncertainty").click()
        panel.get_by_text("The map is shown over the scan.").wait_for()
        self.settle()

    def pictures(self) -> dict[str, np.ndarray]:
        """What is drawn in each plane: ``(rows, columns, 3)``, without the texts over it."""
        drawn = self.page.evaluate(_CANVASES)
        return {plane: _pixels(url) for plane, url in drawn.items()}

    def settle(self) -> None:
        """Wait until every plane has drawn all that it was told to."""
        for _ in range(2):  # a change of a segmentation asks for a second drawing from within the first
            self.page.evaluate(_DRAW)

    def labels(self) -> Grid:
        """The segmentation on the screen."""
        return self._grid(None)

    def names(self) -> dict[int, str]:
        """Value of each segment of the segmentation on the screen -> its name."""
        segments = self.page.evaluate(
            "() => Object.entries(window.services.segmentationService.getSegmentations()[0].segments)"
            ".map(([value, { label }]) => [Number(value), label])"
        )
        return dict(segments)

    def volume(self, volume_id: str) -> Grid:
        """A volume of the viewer's cache."""
        return self._grid(volume_id)

    def cameras(self) -> dict[str, dict]:
        """Focal point and normal of each plane, in patient coordinates."""
        return {camera.pop("plane"): camera for camera in self.page.evaluate(_CAMERAS)}

    def _grid(self, volume_id: str | None) -> Grid:
        read = self.page.evaluate(_VOLUME, volume_id)
        to_world = np.eye(4)
        to_world[:3, :3] = np.reshape(read["direction"], (3, 3)).T * read["spacing"]
        to_world[:3, 3] = read["origin"]
        values = np.reshape(read["values"], read["dimensions"], order="F")
        return Grid(values, to_world)
