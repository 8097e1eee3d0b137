"""The page of a replay of active learning: curves, areas, who beats whom, cost and calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtrust.report.chart import COLOURS, Chart, Point, draw_chart
from segtrust.report.pages import fill_template

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
        colours={
            name: COLOURS[number % len(COLOURS)] for number, name in enumerate(sorted(result["strategies"]))
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


def _charts(result: Mapping[str, Any]) -> list[Chart]:
    strategies: Mapping[str, Any] = result["strategies"]
    number = {name: index for index, name in enumerate(sorted(strategies))}

    def chart(title: str, x: tuple[str, str], y: str, *, intervals: bool) -> Chart:
        key, x_name = x
        lines = {
            name: [
                Point(
                    x=found["cost"][key],
                    y=found["dice"]["value"],
                    low=found["dice"]["low"] if intervals else None,
                    high=found["dice"]["high"] if intervals else None,
                )
                for found in strategy["rounds"]
            ]
            for name, strategy in strategies.items()
        }
        return draw_chart(lines, title=title, x_name=x_name, y_name=y, colour_of=number)

    ece = {
        name: [
            Point(x=found["cost"]["scans"], y=found["calibration"]["band"]["ece"])
            for found in strategy["rounds"]
            if found["calibration"]["band"]["ece"] is not None
        ]
        for name, strategy in strategies.items()
    }
    return [
        chart("Mean Dice against scans opened", ("scans", "scans opened"), "mean Dice", intervals=True),
        chart(
            "Mean Dice against estimated minutes",
            ("minutes", "minutes of labelling, estimated"),
            "mean Dice",
            intervals=False,
        ),
        draw_chart(
            ece,
            title="Calibration error of the band against scans opened",
            x_name="scans opened",
            y_name="ECE of the band, 15 bins",
            colour_of=number,
        ),
    ]
