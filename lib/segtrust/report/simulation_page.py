"""The page of a replay of active learning: curves, areas, who beats whom, cost and calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtrust.report.figures import Point, draw_curves
from segtrust.report.pages import fill_template
from segtrust.report.palette import DASHES, LINE_COLOURS

__all__ = ["render_simulation", "strategy_name", "write_simulation_page"]

_NAMES = {
    "monai_label": "MONAI Label's epistemic",
    "foreground_random": "foreground-aware random",
    "cold_start": "cold start",
}


def strategy_name(name: str) -> str:
    """A strategy's name for people.

    Args:
        name: its key.

    Returns:
        Words.

    Example:
        >>> strategy_name("monai_label")
        "MONAI Label's epistemic"
    """
    return _NAMES.get(name, name)


def render_simulation(result: Mapping[str, Any], *, title: str, data: str) -> str:
    """The page as HTML that needs no other file and no network.

    Args:
        result: of :func:`segtrust.simulate.summarise_simulation`.
        title: of the page.
        data: what the scans are, in a few words.

    Returns:
        A complete HTML document.
    """
    return fill_template(
        "simulation.html.jinja",
        words=strategy_name,
        result=result,
        title=title,
        data=data,
        charts=_charts(result),
        looks={
            name: (LINE_COLOURS[number % len(LINE_COLOURS)], DASHES[number % len(DASHES)])
            for name, number in _numbers(result).items()
        },
    )


def write_simulation_page(result: Mapping[str, Any], path: Path, *, title: str, data: str) -> None:
    """Write the page to a file.

    Args:
        result: of :func:`segtrust.simulate.summarise_simulation`.
        path: the HTML file; replaced if it exists.
        title: of the page.
        data: what the scans are, in a few words.
    """
    path.write_text(render_simulation(result, title=title, data=data), encoding="utf-8")


def _numbers(result: Mapping[str, Any]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(result["strategies"]))}


def _charts(result: Mapping[str, Any]) -> dict[str, str]:
    strategies: Mapping[str, Any] = result["strategies"]

    def dice(cost: str, *, intervals: bool) -> dict[str, list[Point]]:
        return {
            name: [
                Point(
                    x=entry["cost"][cost],
                    y=entry["dice"]["value"],
                    low=entry["dice"]["low"] if intervals else None,
                    high=entry["dice"]["high"] if intervals else None,
                )
                for entry in strategy["rounds"]
            ]
            for name, strategy in strategies.items()
        }

    ece = {
        name: [
            Point(x=entry["cost"]["scans"], y=entry["calibration"]["band"]["ece"])
            for entry in strategy["rounds"]
            if entry["calibration"]["band"]["ece"] is not None
        ]
        for name, strategy in strategies.items()
    }
    scans, minutes, error = "scans opened", "minutes of labelling, estimated", "ECE of the band, 15 bins"
    charts = {
        "Mean Dice against scans opened": (dice("scans", intervals=True), scans, "mean Dice"),
        "Mean Dice against estimated minutes": (dice("minutes", intervals=False), minutes, "mean Dice"),
        "Calibration error of the band against scans opened": (ece, scans, error),
    }
    return {
        title: draw_curves(curves, x_name=x_name, y_name=y_name, number_of=_numbers(result))
        for title, (curves, x_name, y_name) in charts.items()
    }
