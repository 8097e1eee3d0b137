"""A line chart as plain numbers for a page: paths, ticks and names, drawn by the template as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["COLOURS", "Chart", "Line", "Point", "draw_chart"]

# Okabe and Ito's colours, readable with every common form of colour blindness; lines differ in dashes too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 5", "1 4", "12 4")
_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 44


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure on a line; ``low`` and ``high`` are the limits of its interval, if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line ready to be drawn; ``band`` outlines its intervals, ``dots`` are the places of its points."""

    name: str
    colour: str
    dash: str
    path: str
    band: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart in a box of ``width`` by ``height``; ticks are (place, text)."""

    title: str
    x_name: str
    y_name: str
    width: int
    height: int
    left: int
    bottom: int
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def draw_chart(
    lines: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x_name: str,
    y_name: str,
    colour_of: Mapping[str, int],
) -> Chart:
    """Place lines in a chart whose axes hold all points and intervals.

    Args:
        lines: name -> points in order of x.
        title: for those who cannot see the chart.
        x_name: what the horizontal axis shows, with its unit.
        y_name: what the vertical axis shows, with its unit.
        colour_of: name -> number of its colour and dashes, the same in every chart of a page.

    Returns:
        The chart.
    """
    points = [point for line in lines.values() for point in line]
    xs = [point.x for point in points]
    ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    x_range = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)
    y_range = (min(y_ticks[0], *ys), max(y_ticks[-1], *ys))

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - x_range[0]) / (x_range[1] - x_range[0]) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - y_range[0]) / (y_range[1] - y_range[0]) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + right, 1), round(_HEIGHT - _BOTTOM - up, 1)

    def path(places: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{x} {y}" for x, y in places) if places else ""

    drawn = []
    for name, line in lines.items():
        number = colour_of[name]
        edges = [(p.x, p.low, p.high) for p in line if p.low is not None and p.high is not None]
        outline = [place(x, high) for x, _, high in edges] + [place(x, low) for x, low, _ in reversed(edges)]
        dots = tuple(place(p.x, p.y) for p in line)
        drawn.append(
            Line(
                name=name,
                colour=COLOURS[number % len(COLOURS)],
                dash=_DASHES[number % len(_DASHES)],
                path=path(dots),
                band=path(outline),
                dots=dots,
            )
        )
    return Chart(
        title=title,
        x_name=x_name,
        y_name=y_name,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        bottom=_HEIGHT - _BOTTOM,
        lines=tuple(drawn),
        x_ticks=tuple((place(x, y_range[0])[0], f"{x:g}") for x in x_ticks if x_range[0] <= x <= x_range[1]),
        y_ticks=tuple((place(x_range[0], y)[1], f"{y:g}") for y in y_ticks),
    )


def _ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from just below ``low`` to just above ``high``."""
    span = high - low or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]
