"""A card's figures as Markdown, so that documents quote what was measured and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from segtrust.evaluate.quality_table import quality_tables
from segtrust.metrics.bootstrap import bootstrap_of

__all__ = ["card_headline", "card_tables", "number", "shown"]

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
        Three tables: Dice, calibration per region, detection and ranking, with 95 % intervals; then those of
        the quality part, if the version has one.
    """
    test = card["test"]
    dice, calibration = test["systems"]["dice"], test["systems"]["calibration"]
    structures = sorted(dice["ensemble"], key=lambda name: (name != "mean", name))
    who = (
        f"n = {test['scans']} test scans of {test['subjects']} subjects; 95 % {bootstrap_of(test)} over "
        "subjects."
    )
    lines = [
        who,
        "",
        f"| Dice | {' | '.join(structures)} |",
        f"|---|{'---|' * len(structures)}",
        *(
            f"| {_SYSTEMS[name]} | {' | '.join(shown(dice[name][s], 3) for s in structures)} |"
            for name in ("single", "ensemble")
        ),
        *_surface_rows(test, structures),
        "",
        "| region | system | NLL, nats | Brier, 0 to 2 | ECE, 15 bins |",
        "|---|---|---|---|---|",
        *(
            f"| {region} | {_SYSTEMS[name]} | "
            + " | ".join(shown(calibration[name][region][f], 4) for f in ("nll", "brier", "ece"))
            + " |"
            for region in _REGIONS
            for name in _known(calibration)
        ),
        "",
        "| what | figure |",
        "|---|---|",
        f"| AUROC of entropy for wrong voxels, band | {shown(test['error_auroc_band'], 3)} |",
        f"| reference voxels outside the band (missed) | {_missed(test['missed'])} |",
        *(
            f"| {score} against logit Dice, Pearson | {shown(correlations['pearson'], 2)} |"
            for score, correlations in test["score_vs_logit_dice"].items()
        ),
    ]
    if quality := quality_tables(card):
        lines += ["", quality]
    return "\n".join(lines)


def _surface_rows(test: Mapping[str, Any], structures: Sequence[str]) -> list[str]:
    """HD95 and surface Dice of a card; nothing without spacings, or in a card of before."""
    if "surfaces" not in test:
        return []
    systems, tolerance = test["surfaces"]["systems"], test["surfaces"]["tolerance_mm"]
    names = {"hd95": "HD95, mm", "surface_dice": f"surface Dice, within {tolerance:g} mm"}
    return [
        "",
        f"| surfaces | system | {' | '.join(structures)} | scans |",
        f"|---|---|{'---|' * len(structures)}---|",
        *(
            f"| {words} | {_SYSTEMS[name]} | "
            f"{' | '.join(shown(systems[name][figure][s], 3) for s in structures)} | "
            f"{systems[name][figure]['mean']['scans']} |"
            for figure, words in names.items()
            for name in ("single", "ensemble")
            if name in systems
        ),
    ]


def card_headline(card: Mapping[str, Any]) -> str:
    """Write the few figures that come first as Markdown: each for band, outside and volume together.

    Args:
        card: content of ``card.json`` of a version that was measured.

    Returns:
        A sentence with n, and one table.
    """
    test = card["test"]
    dice = test["systems"]["dice"]["ensemble"]
    structures = ", ".join(f"{name} {dice[name]['value']:.3f}" for name in dice if name != "mean")
    rows = [
        f"| {_SYSTEMS[name]} | "
        + " | ".join(number(regions[region][f]["value"], 4) for f in ("nll", "ece") for region in _REGIONS)
        + " |"
        for name, regions in _known(test["systems"]["calibration"]).items()
    ]
    sentence = (
        f"Mean Dice {shown(dice['mean'], 3)} ({structures}); n = {test['scans']} test scans of "
        f"{test['subjects']} subjects, 95 % {bootstrap_of(test)} over subjects. Entropy finds wrong "
        f"voxels in the band with an AUROC of {shown(test['error_auroc_band'], 3)}. Reference "
        f"voxels outside the band, where the map is blind: {_missed(test['missed'])}. "
        f"{_ranking(test['score_vs_logit_dice'])}"
    )
    return "\n".join(
        [
            sentence,
            "",
            "| | NLL band | NLL outside | NLL volume | ECE band | ECE outside | ECE volume |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _ranking(scores: Mapping[str, Any]) -> str:
    if "entropy" not in scores:
        return ""
    pearson = shown(scores["entropy"]["pearson"], 2)
    return f"Score `entropy` against logit Dice on these clean scans: Pearson {pearson}."


def _known(systems: Mapping[str, Any]) -> dict[str, Any]:
    return {name: systems[name] for name in _SYSTEMS if name in systems}


def _missed(missed: Mapping[str, Any]) -> str:
    return f"{missed['voxels']} ({100 * missed['share']:.2f} %)"


def shown(figure: Mapping[str, Any], digits: int = 3) -> str:
    """A figure with its interval, or why it has none.

    Args:
        figure: ``value``, ``low``, ``high`` and ``interval``.
        digits: after the point.

    Returns:
        Like ``0.812 (0.800 to 0.824)``.
    """
    if figure["value"] is None:
        return "not defined"
    if figure["low"] is None or figure["high"] is None:
        return f"{number(figure['value'], digits)} ({figure.get('interval', 'interval not defined')})"
    low, high = number(figure["low"], digits), number(figure["high"], digits)
    return f"{number(figure['value'], digits)} ({low} to {high})"


def number(value: float, digits: int) -> str:
    """Fixed digits, or, from three digits on, two that count where fewer would be left.

    Args:
        value: any number.
        digits: after the point; up to two is for correlations, where 0.03 is no smaller than it looks.

    Returns:
        The number.

    Example:
        >>> number(0.1234, 3), number(0.00012, 3)
        ('0.123', '1.2e-04')
    """
    plain = digits < 3 or value == 0 or abs(value) >= 10.0 ** (1 - digits)
    return f"{value:.{digits}f}" if plain else f"{value:.1e}"
