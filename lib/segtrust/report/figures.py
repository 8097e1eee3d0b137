"""Diagrams of an evaluation as SVG pictures that travel inside a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segtrust.report.palette import DASHES, INK, LINE_COLOURS, MARKS, PALE_BLUE, RULE

__all__ = ["Point", "draw_coverage", "draw_curves", "draw_reliability", "draw_risk_coverage", "draw_score"]

_STYLE: Any = {
    "svg.hashsalt": "segtrust",  # the same picture gets the same names inside
    "svg.fonttype": "path",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
}


# what the page's own colours replace where a browser is dark
_DARK = (
    f"<style>svg {{ --ink: {INK[0]}; --rule: {RULE[0]}; }}"
    f"@media (prefers-color-scheme: dark) {{ svg {{ --ink: {INK[1]}; --rule: {RULE[1]}; }} }}</style>"
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure on a curve; ``low`` and ``high`` are the limits of its interval, if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def draw_curves(
    curves: Mapping[str, Sequence[Point]], *, x_name: str, y_name: str, number_of: Mapping[str, int]
) -> str:
    """Curves with their intervals, without a legend; light or dark as the page is.

    Args:
        curves: name -> points in order of x.
        x_name: what the horizontal axis shows, with its unit.
        y_name: what the vertical axis shows, with its unit.
        number_of: name -> number of its colour and dashes, the same in every figure of a page.

    Returns:
        An SVG as a ``data:`` address.
    """
    inks: Any = {"axes.labelcolor": INK[0], "xtick.labelcolor": INK[0], "ytick.labelcolor": INK[0]}
    rules: Any = {
        "axes.edgecolor": RULE[0],
        "grid.color": RULE[0],
        "xtick.color": RULE[0],
        "ytick.color": RULE[0],
    }
    paper: Any = {"axes.facecolor": "none", "grid.alpha": 1, "axes.grid.axis": "y", "font.size": 10.5}
    with mpl.rc_context({**_STYLE, **inks, **rules, **paper}):
        figure = Figure(figsize=(5.4, 3.1), layout="constrained")
        axes: Axes = figure.subplots()
        for name, points in curves.items():
            number = number_of[name]
            colour, dashes = LINE_COLOURS[number % len(LINE_COLOURS)], DASHES[number % len(DASHES)]
            bounds = [(p.x, p.low, p.high) for p in points if p.low is not None and p.high is not None]
            if bounds:
                x, low, high = zip(*bounds, strict=True)
                axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
            (line,) = axes.plot(
                [p.x for p in points],
                [p.y for p in points],
                color=colour,
                linewidth=1.5,
                marker="o",
                markersize=4,
            )
            if dashes:
                line.set_dashes([float(length) / 2 for length in dashes.split()])
        axes.set(xlabel=x_name, ylabel=y_name)
        axes.locator_params(axis="y", nbins=6)
        svg = _svg(figure, facecolor="none")
    start = svg.index(">", svg.index("<svg")) + 1
    inked = svg[start:].replace(INK[0], "var(--ink)").replace(RULE[0], "var(--rule)")
    return _address(svg[:start] + _DARK + inked)


def draw_reliability(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Observed accuracy over stated confidence, with intervals, and the number of voxels below.

    Args:
        curves: system -> points of :func:`segtrust.evaluate.curves.reliability_points`.

    Returns:
        An SVG as a ``data:`` address.

    Source:
        DeGroot & Fienberg 1983.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.1, 4.6), layout="constrained")
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
        low = min([0.5, *(p["low"] for points in curves.values() for p in points)])
        top.plot([low, 1], [low, 1], color="#666", linewidth=1, linestyle="--")
        for k, (name, points) in enumerate(curves.items()):
            colour, mark = LINE_COLOURS[k % len(LINE_COLOURS)], MARKS[k % len(MARKS)]
            x, y = [p["confidence"] for p in points], [p["accuracy"] for p in points]
            measured = [p for p in points if p["accuracy_low"] is not None]
            top.plot(x, y, color=colour, marker=mark, markersize=4, linewidth=1.4, label=name)
            top.vlines(
                [p["confidence"] for p in measured],
                [p["accuracy_low"] for p in measured],
                [p["accuracy_high"] for p in measured],
                color=colour,
                linewidth=1.2,
            )
            width = 1 / 15 / (len(curves) + 0.5)
            middles = [p["low"] + width * (k + 0.75) for p in points]
            below.bar(middles, [p["voxels"] for p in points], width=width, color=colour)
        top.set(ylabel="share that was right", ylim=(0, 1.02))
        below.set(xlabel="stated confidence", ylabel="voxels", yscale="log", xlim=(low, 1.01))
        top.legend(frameon=False, loc="upper left")
        return _uri(figure)


def draw_risk_coverage(curves: Mapping[str, Mapping[str, Any]], *, band_of: str) -> str:
    """Mean of 1 - Dice over the scans that are kept, by every score.

    Args:
        curves: score -> :func:`segtrust.evaluate.curves.risk_coverage`.
        band_of: score whose interval is drawn.

    Returns:
        An SVG as a ``data:`` address.

    Source:
        Geifman & El-Yaniv 2017.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.1, 3.6), layout="constrained")
        axes = figure.subplots()
        for k, (name, curve) in enumerate(curves.items()):
            colour = LINE_COLOURS[k % len(LINE_COLOURS)]
            x = [100 * c for c in curve["coverage"]]
            if name == band_of:
                low, high = (np.array(curve[end], np.float64) for end in ("low", "high"))
                axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(x, curve["risk"], color=colour, linewidth=1.5, label=name)
        first = next(iter(curves.values()))
        axes.plot(x, first["best"], color="#666", linestyle="--", linewidth=1, label="best possible")
        axes.axhline(first["risk"][-1], color="#999", linestyle=":", linewidth=1, label="without a score")
        axes.set(xlabel="scans kept, surest first (%)", ylabel="mean of 1 - Dice", xlim=(0, 100))
        axes.legend(frameon=False, fontsize=8)
        return _uri(figure)


def draw_coverage(points: Sequence[Sequence[float]]) -> str:
    """Intervals of the Dice with the true values, in order of the prediction.

    Args:
        points: ``[predicted, low, high, true]`` per scan.

    Returns:
        An SVG as a ``data:`` address.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.1, 3.4), layout="constrained")
        axes = figure.subplots()
        ordered = sorted(points, key=lambda point: point[0])
        axes.vlines(
            range(len(ordered)),
            [p[1] for p in ordered],
            [p[2] for p in ordered],
            color=PALE_BLUE,
            linewidth=3,
        )
        for inside, colour, mark, name in (
            (True, LINE_COLOURS[0], "o", "inside"),
            (False, LINE_COLOURS[1], "X", "outside"),
        ):
            chosen = [(k, p[3]) for k, p in enumerate(ordered) if (p[1] <= p[3] <= p[2]) is inside]
            axes.scatter(
                [k for k, _ in chosen],
                [d for _, d in chosen],
                s=16,
                color=colour,
                marker=mark,
                label=f"true Dice, {name}",
                zorder=3,
            )
        axes.set(xlabel="scans, lowest prediction first", ylabel="Dice")
        axes.legend(frameon=False, loc="lower right", fontsize=8)
        return _uri(figure)


def draw_score(points: Sequence[tuple[float, float]], *, name: str) -> str:
    """A score of every scan against its mean Dice.

    Args:
        points: score and Dice.
        name: of the score.

    Returns:
        An SVG as a ``data:`` address.

    Source:
        Mehrtash et al. 2020 show their segments like this.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.1, 3.4), layout="constrained")
        axes: Axes = figure.subplots()
        axes.scatter([p[0] for p in points], [p[1] for p in points], s=16, color=LINE_COLOURS[0], alpha=0.8)
        axes.set(xlabel=f"{name} (high: less sure)", ylabel="mean Dice")
        return _uri(figure)


def _uri(figure: Figure) -> str:
    return _address(_svg(figure, facecolor="white"))


def _svg(figure: Figure, *, facecolor: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor=facecolor)
    return buffer.getvalue().decode("utf-8")


def _address(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")
