"""The colour scale of the chance of a wrong label."""

import base64

import matplotlib as mpl
import numpy as np
import pytest

from segtrust.report.scale import chance_colours, colour_bar


def lightness(rgb):
    """CIE L* of sRGB colours."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16


def simulate_deuteranopia(rgb):
    """Machado et al. 2009, severity 1."""
    return np.clip(
        rgb @ np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]).T, 0, 1
    )


def test_equal_steps_of_chance_are_similar_steps_of_lightness():
    # inferno is even in CAM02-UCS, not quite in L*; a rainbow scale has steps of both signs
    steps = np.diff(lightness(chance_colours(np.linspace(0, 0.5, 11, dtype=np.float32))[:, :3] / 255))
    assert steps.min() > 0
    assert steps.max() / steps.min() < 1.4


def test_order_of_colours_survives_colour_blindness():
    colours = chance_colours(np.linspace(0, 0.5, 11, dtype=np.float32))[:, :3] / 255
    assert (np.diff(lightness(simulate_deuteranopia(colours))) > 0).all()


@pytest.mark.parametrize(("chance", "opacity"), [(0.0, 0), (0.02, 0), (0.05, 115), (0.08, 229), (0.5, 229)])
def test_certain_voxels_are_transparent_and_doubtful_ones_are_not(chance, opacity):
    assert abs(int(chance_colours(np.float32([chance]))[0, 3]) - opacity) <= 1


def test_chances_above_one_in_two_have_the_last_colour():
    assert (chance_colours(np.float32([0.5])) == chance_colours(np.float32([0.66]))).all()
    assert chance_colours(np.float32([0.5]))[0, :3].tolist() == [
        round(255 * c) for c in mpl.colormaps["inferno"](1.0)[:3]
    ]


def test_what_is_not_a_number_is_not_drawn():
    assert chance_colours(np.float32([np.nan]))[0, 3] == 0


def test_colour_bar_is_a_picture_inside_the_page():
    head, _, body = colour_bar().partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body).startswith(b"\x89PNG")
