"""A card's figures as Markdown tables, so that documents quote what was measured and nothing else."""

from collections.abc import Mapping
from typing import Any

__all__ = ["card_tables"]

_SYSTEMS = {
    "single": "one member",
    "single_temperature": "one member, temperature",
    "ensemble": "ensemble",
    "calibrated": "ensemble, calibrated (served)",
}
_REGIONS = ("band", "outside", "volume")


def card_tables(card: Mapping[str, Any]) -> str:
    """Write the figures of a card as Markdown.

    Args:
        card: content of ``card.json`` of a version that was measured.

    Returns:
        Three tables: Dice, calibration per region, detection and ranking, with 95 % intervals.

    Source:
        ours.
    """
    test = card["test"]
    dice, calibration = test["systems"]["dice"], test["systems"]["calibration"]
    structures = list(dice["ensemble"])
    who = f"n = {test['scans']} test scans of {test['subjects']} subjects; 95 % bootstrap over subjects."
    lines = [
        who,
        "",
        f"| Dice | {' | '.join(structures)} |",
        f"|---|{'---|' * len(structures)}",
        *(
            f"| {_SYSTEMS[name]} | {' | '.join(_figure(dice[name][s], 3) for s in structures)} |"
            for name in ("single", "ensemble")
        ),
        "",
        "| region | system | NLL, nats | Brier, 0 to 2 | ECE, 15 bins |",
        "|---|---|---|---|---|",
        *(
            f"| {region} | {_SYSTEMS[name]} | "
            + " | ".join(_figure(calibration[name][region][f], 4) for f in ("nll", "brier", "ece"))
            + " |"
            for region in _REGIONS
            for name in calibration
        ),
        "",
        "| what | figure |",
        "|---|---|",
        f"| AUROC of entropy for wrong voxels, band | {_figure(test['error_auroc_band'], 3)} |",
        f"| reference voxels outside the band (missed) | {_missed(test['missed'])} |",
        *(
            f"| {score} against logit Dice, Pearson | {_figure(found['pearson'], 2)} |"
            for score, found in test["score_vs_logit_dice"].items()
        ),
    ]
    return "\n".join(lines)


def _missed(found: Mapping[str, Any]) -> str:
    return f"{found['voxels']} ({100 * found['share']:.2f} %)"


def _figure(found: Mapping[str, Any], digits: int) -> str:
    if found["value"] is None:
        return "not defined"
    value, low, high = (f"{found[k]:.{digits}f}" for k in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
