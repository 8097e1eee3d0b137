"""Our panel: the map, its look, the way to the slices, the label."""

import re

import numpy as np
import pydicom
import pytest

from ohif import changed_pixels
from segtrust.dicom import read_series
from segtrust.dicom.labels import read_label


@pytest.fixture(scope="module")
def panel(reading):
    """The panel with the map of the chance of error drawn."""
    reading.run("hippocampus")
    panel = reading.open_panel()
    reading.bare = reading.pictures()
    reading.show_map(panel)
    return panel


def slide(panel, name, value):
    panel.get_by_label(name).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


@pytest.mark.parametrize(
    ("title", "name"),
    [("Between-member information", "between_member"), ("Chance of a wrong label", "chance_of_error")],
)
def test_the_map_lies_on_the_right_voxels(reading, panel, headers, answer_of, title, name):
    panel.get_by_label("Measure").select_option(title)
    panel.get_by_text("The map is shown over the scan.").wait_for()
    reading.settle()
    series = headers[0].SeriesInstanceUID
    values, affine = answer_of("hippocampus_uncertainty", series, result_dtype="float32", map=name)
    drawn = reading.volume("segtrust-map").on(affine, values.shape) / 100
    assert np.abs(drawn - values).max() < 1e-6
    assert np.abs(values - values[..., ::-1]).max() > 0.1  # so upside down would be seen


def test_the_map_is_seen_in_every_plane_and_opacity_nought_hides_it(reading, panel):
    slide(panel, "Opacity", 60)
    reading.settle()
    assert min(changed_pixels(reading.bare, reading.pictures()).values()) > 500
    slide(panel, "Opacity", 0)
    reading.settle()
    assert max(changed_pixels(reading.bare, reading.pictures()).values()) == 0
    slide(panel, "Opacity", 60)


def test_a_higher_threshold_leaves_less_of_the_map(reading, panel):
    drawn = []
    for share in (5, 50, 95):
        slide(panel, "Hide below", share)
        reading.settle()
        drawn.append(sum(changed_pixels(reading.bare, reading.pictures()).values()))
    assert drawn[0] > drawn[1] > drawn[2]
    slide(panel, "Hide below", 10)


def test_each_slice_button_takes_every_plane_to_its_point(reading, panel, server, headers):
    asked = server.get(f"/segtrust/findings/hippocampus?image={headers[0].SeriesInstanceUID}").json()
    buttons = panel.locator("ol").get_by_role("button")
    assert buttons.count() == len(asked["slices"]) > 1
    for button, hint in zip(buttons.all(), asked["slices"], strict=True):
        button.click()
        assert hint["structure"] in button.inner_text()
        for plane, camera in reading.cameras().items():
            gap = np.dot(np.subtract(hint["position"], camera["focalPoint"]), camera["normal"])
            assert abs(gap) < 0.01, plane


def test_the_numbers_are_those_of_the_answer_and_what_is_not_known_is_a_dash(panel, server, headers):
    asked = server.get(f"/segtrust/findings/hippocampus?image={headers[0].SeriesInstanceUID}").json()
    rows = panel.locator("tbody tr")
    for n, structure in enumerate(asked["structures"]):
        assert structure["name"] in rows.nth(2 * n).inner_text()
        cells = rows.nth(2 * n + 1).locator("td")
        assert f"{structure['volume_ml']:.3g} ml" in cells.nth(0).inner_text()
        for cell, key in ((1, "border_mm"), (2, "predicted_dice"), (3, "verdict")):
            assert (cells.nth(cell).inner_text() == "\u2013") is (key not in structure)
            if key not in structure:
                assert cells.nth(cell).get_attribute("title") == "not available for this model"
        for cell, key in (
            (0, "volume_interval_ml"),
            (1, "border_interval_mm"),
            (2, "predicted_dice_interval"),
        ):
            if key in structure:  # the shown ends hold the interval, and are at most one step of it away
                usual = re.search(r"(?:%|widest): (\S+) to (\S+)", cells.nth(cell).inner_text())
                (low, high), shown = structure[key], [float(end) for end in usual.groups()]
                assert shown == pytest.approx([low, high], rel=0.01)
                assert shown[0] <= low <= high <= shown[1]
    said = panel.locator("[data-part=quality]").inner_text()
    assert (said == "") is ("quality" not in asked)
    assert asked.get("quality", {}).get("statement", "") in said
    assert ("p = " in said) is ("p_value" in asked.get("out_of_distribution", {}))
    assert asked.get("out_of_distribution", {}).get("sentence", "") in said
    assert asked.get("quality", {}).get("intervals_statement", "") in said


def test_both_notices_stand_under_the_legend(panel):
    notices = panel.locator(".notices").inner_text().split("\n")
    assert [line for line in notices if line] == [
        "The map cannot show a structure or disease the model was never trained on.",
        "For annotation and research, not for diagnosis.",
    ]


def test_every_control_has_a_name_and_is_reached_by_the_keyboard_with_its_focus_seen(reading, panel):
    controls = panel.locator("button:enabled, select, input")
    names = [control.evaluate("e => e.labels?.[0]?.innerText ?? e.innerText") for control in controls.all()]
    assert all(name.strip() for name in names)
    controls.first.focus()
    reading.page.keyboard.press("Shift+Tab")
    for control in controls.all():
        reading.page.keyboard.press("Tab")
        assert control.evaluate("e => e === document.activeElement")
        assert control.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_enter_hides_the_map_and_shows_it_again(reading, panel):
    slide(panel, "Opacity", 60)
    shown = reading.pictures()
    panel.get_by_role("button", name="Hide map").press("Enter")
    reading.settle()
    assert min(changed_pixels(shown, reading.pictures()).values()) > 500
    panel.get_by_role("button", name="Show uncertainty").press("Enter")
    panel.get_by_role("button", name="Hide map", disabled=False).wait_for()
    reading.settle()
    assert max(changed_pixels(shown, reading.pictures()).values()) == 0


@pytest.mark.parametrize(
    ("foreground", "background"), [("0 0% 98%", "236 62% 5%"), ("222 47% 11%", "0 0% 100%")]
)
def test_text_has_contrast_in_a_dark_and_a_light_theme(reading, panel, foreground, background):
    panel.evaluate(_THEME, [foreground, background])
    ratios = panel.evaluate(_CONTRAST)
    panel.evaluate("panel => panel.removeAttribute('style')")
    assert len(ratios) > 15
    assert {text: ratio for text, ratio in ratios if ratio < 4.5} == {}


_THEME = """(panel, [foreground, background]) => {
  panel.style.setProperty('--foreground', foreground);
  panel.style.setProperty('--background', background);
}"""
_CONTRAST = """panel => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = colour => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = colour => rgb(colour)
    .map(v => v / 255)
    .map(v => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = e => {
    const colour = getComputedStyle(e).backgroundColor;
    return colour === 'rgba(0, 0, 0, 0)' && e !== panel ? ground(e.parentElement) : colour;
  };
  return [...panel.querySelectorAll('*')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && e.checkVisibility())
    .filter(e => !e.disabled)
    .map(e => {
      const [low, high] = [luminance(getComputedStyle(e).color), luminance(ground(e))].sort((a, b) => a - b);
      return [e.textContent.trim().slice(0, 40), (high + 0.05) / (low + 0.05)];
    });
}"""


def test_save_label_stores_the_segmentation_on_the_screen(reading, panel, pacs, headers, answer_of, tmp_path):
    panel.get_by_role("button", name="Save label").click()
    panel.get_by_text("Saved as final label").wait_for()
    series = headers[0].SeriesInstanceUID
    mask, affine = answer_of("hippocampus", series)
    source = read_series(pacs.files(series, tmp_path / "source")[0].parent)
    (found,) = pacs.find("Series", Modality="SEG", StudyInstanceUID=headers[0].StudyInstanceUID)
    uid = pacs.get(f"/series/{found}").json()["MainDicomTags"]["SeriesInstanceUID"]
    (file,) = pacs.files(uid, tmp_path / "label")
    stored = read_label(pydicom.dcmread(file), source)
    frames = source.place(affine, mask.shape).to_frames(mask)
    names = {"anterior hippocampus": 1, "posterior hippocampus": 2}
    assert {*names} <= {*stored.names.values()}
    for number, name in stored.names.items():
        if name in names:
            assert ((stored.frames == number) == (frames == names[name])).all()


def test_the_uncertainty_view_is_not_saved_as_a_label(reading, panel, pacs):
    before = pacs.find("Series", Modality="SEG")
    reading.page.locator('[data-cy="monailabel-btn"]').click()
    reading.page.locator(".settingsTable button").click()
    reading.run("hippocampus_uncertainty")
    panel = reading.open_panel()
    panel.get_by_role("button", name="Save label").click()
    panel.get_by_text("Not done: only structures can be saved").wait_for()
    assert pacs.find("Series", Modality="SEG") == before


def test_nothing_is_said_about_another_scan_than_the_one_shown(reading, panel):
    assert panel.locator("table").is_visible()
    reading.page.evaluate(_OTHER_SCAN)
    panel.locator("table").wait_for(state="hidden")
    reading.settle()
    assert not any("segtrust-map" in ids for ids in reading.page.evaluate(_VOLUMES))
    assert reading.errors == []


_VOLUMES = "() => window.cornerstone.getRenderingEngines()[0].getViewports().map(v => v.getAllVolumeIds())"

# the viewer reports another series, as after a series was dragged into the active plane
_OTHER_SCAN = """() => {
  const { displaySetService, viewportGridService } = window.services;
  const stock = displaySetService.getDisplaySetByUID.bind(displaySetService);
  const other = { isReconstructable: true, SeriesInstanceUID: '1.2.3' };
  displaySetService.getDisplaySetByUID = uid => ({ ...stock(uid), ...other });
  viewportGridService.setActiveViewportId('mpr-coronal');
}"""
