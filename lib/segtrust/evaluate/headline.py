"""The few lines that a terminal shows of an evaluation."""

from collections.abc import Mapping
from typing import Any

from segtrust.evaluate.cases import REGIONS
from segtrust.evaluate.table import number

__all__ = ["headline", "shown"]


def headline(document: Mapping[str, Any]) -> str:
    """Dice, and per system NLL and ECE for band, outside and volume together.

    Args:
        document: of :func:`segtrust.evaluate.summary.summarise`.

    Returns:
        A sentence and a Markdown table; one sentence if no scan was measured.
    """
    card, main = document["card"], document["main"]
    if not card["scans"]:
        return "\n".join(["No scan could be measured.", *(f"\n{note}" for note in document["notes"])])
    dice = card["systems"]["dice"][main]
    structures = ", ".join(f"{name} {shown(dice[name])}" for name in document["structures"])
    rows = [
        f"| {name} | "
        + " | ".join(shown(regions[region][f], 4) for f in ("nll", "ece") for region in REGIONS)
        + " |"
        for name, regions in card["systems"]["calibration"].items()
    ]
    missed = card["missed"]
    sentence = (
        f"n = {card['scans']} scans of {card['subjects']} subjects; 95 % bootstrap over subjects. Mean Dice "
        f"{shown(dice['mean'])} ({structures}). AUROC of entropy for wrong voxels of the band: "
        f"{shown(card['error_auroc_band'])}. Reference voxels outside the band: {missed['voxels']} "
        f"({100 * missed['share']:.2f} %)."
    )
    return "\n".join(
        [
            sentence,
            "",
            "| | " + " | ".join(f"{f} {region}" for f in ("NLL", "ECE") for region in REGIONS) + " |",
            "|---|" + "---|" * 6,
            *rows,
            *(f"\n{note}" for note in document["notes"]),
        ]
    )


def shown(figure: Mapping[str, Any], digits: int = 3) -> str:
    """A figure with its interval, or that it is not defined.

    Args:
        figure: ``value``, ``low`` and ``high``.
        digits: after the point.

    Returns:
        Like ``0.812 (0.800 to 0.824)``.
    """
    if figure["value"] is None:
        return "not defined"
    if figure["low"] is None or figure["high"] is None:
        return number(figure["value"], digits)
    low, high = number(figure["low"], digits), number(figure["high"], digits)
    return f"{number(figure['value'], digits)} ({low} to {high})"
