"""Curves of a page: what is drawn, in which colours, and in a dark page too."""

import base64
import re

import pytest

from segtrust.report.figures import Point, draw_curves
from segtrust.report.palette import DASHES, LINE_COLOURS


def drawn(curves, **names):
    words = {"x_name": "scans", "y_name": "Dice", **names}
    address = draw_curves(curves, number_of={name: k for k, name in enumerate(curves)}, **words)
    return base64.b64decode(address.removeprefix("data:image/svg+xml;base64,")).decode()


def bands(svg):
    return re.findall(r'id="(?:PolyCollection|FillBetweenPolyCollection)_\d+"', svg)


def test_lines_differ_in_colour_and_in_dashes():
    svg = drawn({name: [Point(x=1, y=1), Point(x=2, y=1)] for name in "abcdefg"})
    assert len(LINE_COLOURS) == len(DASHES) == 7
    assert all(f"stroke: {colour}" in svg for colour in LINE_COLOURS)
    assert len(set(re.findall(r"stroke-dasharray: [\d.,]+", svg))) == len(DASHES) - 1


def test_a_band_shows_the_intervals_and_is_left_out_without_them():
    plain = [Point(x=1, y=1), Point(x=2, y=3)]
    interval = [Point(x=1, y=0.2, low=0.1, high=0.3), Point(x=2, y=0.4, low=0.3, high=0.5)]
    assert bands(drawn({"a": plain})) == []
    assert len(bands(drawn({"a": plain, "b": interval}))) == 1


def test_ink_follows_the_page_into_the_dark():
    svg = drawn({"a": [Point(x=1, y=1), Point(x=2, y=3)]})
    assert "prefers-color-scheme: dark" in svg
    assert svg.count("#58616d") == svg.count("#d9dee5") == 1  # where the variables get their values
    assert "#ffffff" not in svg  # no paper behind it
    assert {"var(--ink)", "var(--rule)"} <= set(re.findall(r"var\(--\w+\)", svg))


@pytest.mark.parametrize(
    "points", [[Point(x=5, y=0.5)], [Point(x=1, y=0.0), Point(x=2, y=0.0)], []], ids=["one", "flat", "none"]
)
def test_a_single_point_a_flat_line_and_nothing_can_be_drawn(points):
    assert drawn({"a": points}).count("<svg") == 1


def test_the_same_curves_give_the_same_picture():
    curves = {"a": [Point(x=1, y=1), Point(x=2, y=3)]}
    assert drawn(curves) == drawn(curves)
