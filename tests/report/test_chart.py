"""Places of points and ticks in a chart."""

import re

import pytest

from segtrust.report.chart import COLOURS, Point, draw_chart


def chart(lines, **names):
    words = {"title": "t", "x_name": "x", "y_name": "y", **names}
    return draw_chart(lines, colour_of={name: k for k, name in enumerate(lines)}, **words)


def numbers(path):
    return [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_larger_is_higher_and_further_right_and_all_is_inside():
    found = chart({"a": [Point(x=1, y=0.2, low=0.1, high=0.3), Point(x=2, y=0.4, low=0.3, high=0.5)]})
    (line,) = found.lines
    (x0, y0), (x1, y1) = line.dots
    assert x0 < x1
    assert y0 > y1
    places = [*line.dots, *numbers(line.band)]
    assert len(places) == 6
    assert all(found.left <= x <= found.width and 0 <= y <= found.bottom for x, y in places)


def test_ticks_are_round_numbers_at_their_places():
    found = chart({"a": [Point(x=10, y=0.61), Point(x=40, y=0.79)]})
    assert [text for _, text in found.x_ticks] == ["10", "15", "20", "25", "30", "35", "40"]
    assert [text for _, text in found.y_ticks] == ["0.6", "0.65", "0.7", "0.75", "0.8"]
    assert found.x_ticks[0][0] == found.lines[0].dots[0][0]


def test_lines_differ_in_colour_and_in_dashes():
    found = chart({name: [Point(x=1, y=1), Point(x=2, y=1)] for name in "abcdefg"})
    assert (
        len({line.colour for line in found.lines}) == len({line.dash for line in found.lines}) == len(COLOURS)
    )


def test_a_line_without_intervals_has_no_band():
    assert chart({"a": [Point(x=1, y=1), Point(x=2, y=3)]}).lines[0].band == ""


@pytest.mark.parametrize(
    "points", [[Point(x=5, y=0.5)], [Point(x=1, y=0.0), Point(x=2, y=0.0)]], ids=["one", "flat"]
)
def test_a_single_point_and_a_flat_line_can_be_drawn(points):
    assert len(chart({"a": points}).lines[0].dots) == len(points)
