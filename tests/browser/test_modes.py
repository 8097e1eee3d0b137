"""From the study list to a mask in three planes, with MONAI Label's own panel."""

import re

import numpy as np
import pytest

from ohif import changed_pixels


def by_name(viewer, values):
    """Volume of the names of the segments on the screen, "" where there is none."""
    names = {0: "", **viewer.names()}
    table = np.array([names.get(value, "?") for value in range(max(names) + 1)])
    return table[values]


def test_a_filter_of_the_study_list_reaches_the_pacs(viewer, headers):
    page, (wanted, other) = viewer.page, [str(header.PatientID) for header in headers[:2]]
    page.goto(f"{viewer.url}/ohif/")
    page.get_by_text(other).first.wait_for()
    page.locator('[data-cy="input-mrn"]').fill(wanted)
    page.get_by_text(other).first.wait_for(state="detached")
    assert page.get_by_text(wanted).count() > 0


def test_a_study_opens_alone_in_the_mode(viewer, headers):
    viewer.open("monai-label", headers[1].StudyInstanceUID)
    dates = viewer.page.locator('[data-cy="studyBrowser-panel"]').get_by_text(
        re.compile(r"^\d\d-\w{3}-\d{4}$")
    )
    assert dates.count() == 1
    shown = "() => window.services.displaySetService.getActiveDisplaySets().map(set => set.SeriesInstanceUID)"
    assert viewer.page.evaluate(shown) == [headers[1].SeriesInstanceUID]


def test_the_panel_knows_the_address_of_its_server(reading):
    assert reading.page.input_value("#monailabelServerURL") == f"{reading.url}/"


@pytest.mark.parametrize("task", ["hippocampus", "hippocampus_uncertainty"])
def test_what_a_task_answers_lies_on_the_right_voxels_in_every_plane(reading, task, headers, answer_of):
    before = reading.pictures()
    reading.run(task)
    values, affine = answer_of(task, headers[0].SeriesInstanceUID)
    labels = reading.page.evaluate(
        "task => fetch('/info/').then(r => r.json()).then(i => i.models[task].labels)", task
    )
    names = {0: "", **{value: name for name, value in labels.items()}}
    expected = np.array([names[value] for value in range(len(names))])[values.astype(int)]
    assert {*names.values()} <= {*np.unique(expected)}
    shown = reading.labels()
    assert (by_name(reading, shown.on(affine, values.shape)) == expected).all()
    assert (expected != expected[..., ::-1]).any()  # so upside down would be seen
    assert min(changed_pixels(before, reading.pictures()).values()) > 500
    assert reading.errors == []
