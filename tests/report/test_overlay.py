"""Slices with outlines and chances, in the orientation of 3D Slicer."""

import base64
import io
import re

import matplotlib.image as mpimg
import numpy as np
import pytest

from segtrust.errors import ShapeError
from segtrust.report.overlay import draw_slices, worst_slice


def pixels(uri):
    return mpimg.imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])), format="png")


@pytest.fixture
def scan():
    image = np.zeros((6, 8, 4), np.float32)
    image[4, 6, 3] = 1  # towards right, anterior, superior
    mask = np.zeros(image.shape, np.uint8)
    mask[4, 6, 3] = 1
    chance = np.zeros(image.shape, np.float32)
    chance[4, 6, 3] = 0.5
    return image, mask, chance


def draw(scan, spacing=(1.0, 1.0, 1.0)):
    return draw_slices(*scan, spacing=spacing, structures={"spot": 1})


def test_each_plane_is_cut_where_most_labels_are_expected_to_be_wrong(scan):
    assert [(s.plane, s.index, s.of) for s in draw(scan)] == [
        ("axial", 3, 4),
        ("coronal", 6, 8),
        ("sagittal", 4, 6),
    ]


def test_of_equal_slices_the_first_is_cut():
    assert worst_slice(np.full((2, 2, 3), 0.1, np.float32), axis=2) == 0


@pytest.mark.parametrize(
    ("plane", "row", "column"),
    [("axial", 1, 1), ("coronal", 0, 1), ("sagittal", 0, 1)],
    ids=[
        "axial: anterior up, right side on the left",
        "coronal: superior up",
        "sagittal: anterior on the left",
    ],
)
def test_planes_are_oriented_as_in_slicer(scan, plane, row, column):
    cut = {s.plane: s for s in draw(scan)}[plane]
    grey = pixels(cut.image)[..., 0]
    assert np.argwhere(grey == grey.max()).tolist() == [[row, column]]
    assert np.argwhere(pixels(cut.chance)[..., 3] > 0).tolist() == [[row, column]]


def test_outline_encloses_the_structure_in_millimetres(scan):
    axial = draw(scan, spacing=(2.0, 3.0, 5.0))[0]
    assert (axial.width, axial.height) == (12.0, 24.0)
    numbers = np.array(re.findall(r"[\d.]+", axial.outlines["spot"]), float).reshape(-1, 2)
    # the voxel in column 1, row 1 spans 2..4 mm and 3..6 mm; the outline at half height runs inside of it
    assert numbers.min(axis=0).tolist() == [2.0, 3.0]
    assert numbers.max(axis=0).tolist() == [4.0, 6.0]


def test_structure_that_is_not_in_the_slice_has_no_outline(scan):
    image, mask, chance = scan
    assert draw((image, np.zeros_like(mask), chance))[0].outlines == {"spot": ""}


def test_structure_that_touches_the_border_is_closed():
    volume = np.ones((3, 3, 3), np.float32)
    axial = draw((volume, volume.astype(np.uint8), volume * 0.1))[0]
    assert axial.outlines["spot"].startswith("M")
    assert axial.outlines["spot"].endswith("Z")


def test_expected_errors_are_the_sum_of_chances(scan):
    assert draw(scan)[0].expected_errors == pytest.approx(0.5)


def test_constant_image_is_drawn_without_warning(scan):
    _, mask, chance = scan
    assert (pixels(draw((np.ones(mask.shape, np.float32), mask, chance))[0].image)[..., 0] == 0).all()


def test_volumes_of_different_shape_are_refused(scan):
    image, mask, chance = scan
    with pytest.raises(ShapeError, match="one shape"):
        draw((image, mask[:-1], chance))
