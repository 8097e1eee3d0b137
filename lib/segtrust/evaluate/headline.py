"""The few lines that a terminal shows of an evaluation."""

from collections.abc import Mapping
from typing import Any

from segtrust.evaluate.cases import REGIONS
from segtrust.evaluate.table import shown
from segtrust.metrics.bootstrap import bootstrap_of

__all__ = ["headline"]


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
        f"n = {card['scans']} scans of {card['subjects']} subjects; 95 % {bootstrap_of(card)} over subjects. "
        f"Mean Dice {shown(dice['mean'])} ({structures}). AUROC of entropy for wrong voxels of the band: "
        f"{shown(card['error_auroc_band'])}. Reference voxels outside the band: {missed['voxels']} "
        f"({100 * missed['share']:.2f} %)."
    )
    healthy = card.get("healthy", {"scans": 0})
    if healthy["scans"]:
        sentence += (
            f" Something is predicted in {healthy['with_a_prediction']} of {healthy['scans']} healthy scans."
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
