"""The quality figures of a card as Markdown."""

from collections.abc import Mapping
from typing import Any

from segtrust.quality import CONTOUR_WORDS

__all__ = ["quality_tables"]

_CONTOURS = "Margins of the contours, mm; right for {:g} % of the voxels in {:g} % of scans like those:"
_WHAT = {"dice": "Dice", "volume": "volume, ln of the ratio", "border": "border, ln mm"}


def quality_tables(card: Mapping[str, Any]) -> str:
    """Write what a card says about predicted Dice, intervals, verdicts and likeness.

    Args:
        card: content of ``card.json``.

    Returns:
        Tables with n; empty if the version has no quality part.
    """
    if "quality" not in card:
        return ""
    parts = [_calibration(card["quality"])]
    if "test_quality" in card:
        parts.append(_test(card["test_quality"]))
    return "\n\n".join(parts)


def _calibration(figures: Mapping[str, Any]) -> str:
    who = f"the {figures['subjects']} calibration subjects, each judged by what was fitted without it"
    lines = [
        f"Quality predicted for {who}; error = mean absolute:",
        "",
        "| structure | of | score | n | error | error of a constant |",
        "|---|---|---|---|---|---|",
    ]
    dice = []
    for name, targets in figures["structures"].items():
        lines += [
            f"| {name} | {_WHAT[target]} | {f['score']} | {f['subjects']} | {f['error']:.3f} | "
            f"{f['error_of_constant']:.3f} |"
            for target, f in targets.items()
        ]
        if "dice" in targets:
            d, w = targets["dice"], targets["dice"]["worsened"]
            dice.append(
                f"| {name} | {_number(d['median_width'])} | {_number(d['marginal_width'])} | "
                f"{_number(d['pearson'], 2)} | {_number(w['pearson'], 2)} ({w['copies']} copies) | "
                f"{_number(w['error'])} |"
            )
    if dice:
        lines += [
            "",
            "| Dice | interval | 90 % of the truth | r, scans as they are | r, worsened | error, worsened |",
            "|---|---|---|---|---|---|",
            *dice,
        ]
    if contours := figures.get("contours"):
        lines += [
            "",
            _CONTOURS.format(100 * contours["share"], 100 * contours["coverage"]),
            "",
            "| structure | n | outer, each | inner, each | outer, joint | inner, joint |",
            "|---|---|---|---|---|---|",
            *(_margins(name, contours) for name in figures["structures"]),
        ]
    if unlike := figures.get("unlike"):
        shares = (f"{100 * f['share']:.0f} % of {f['n']} {kind}" for kind, f in unlike.items())
        lines += ["", f"Called unlike the calibration scans (p < 0.05): {', '.join(shares)}."]
    return "\n".join(lines)


def _margins(name: str, contours: Mapping[str, Any]) -> str:
    margins = [contours[words].get(name, {}) for words in CONTOUR_WORDS]
    cells = [_number(m.get(side), 2) for m in margins for side in ("outer_mm", "inner_mm")]
    return f"| {name} | {margins[0].get('subjects', '-')} | {' | '.join(cells)} |"


def _test(figures: Mapping[str, Any]) -> str:
    wide = figures.get("somewhat_unlike", {"scans": 0})
    unlike = (
        f"{figures['unlike'] - wide['scans']} of them unlike the calibration scans and so without interval"
    )
    if wide["scans"]:
        held = [
            f"{counts['inside']} of {counts['n']} ({name}, {what})"
            for name, targets in wide["structures"].items()
            for what, counts in targets.items()
        ]
        unlike += f", {wide['scans']} somewhat unlike, whose widest intervals held in " + ", ".join(held)
    lines = [
        f"The same on the {figures['scans']} test scans, {unlike}:",
        "",
        "| structure | intervals | inside | 95 % range by chance | error | called fine | of these bad |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, f in figures["structures"].items():
        chance = "-" if f["expected_inside"] is None else " to ".join(map(str, f["expected_inside"]))
        lines.append(
            f"| {name} | {f['intervals']} | {f['inside']} | {chance} | {_number(f['error'])} | {f['fine']} | "
            f"{f['fine_and_bad']} |"
        )
    if "joint" in figures:
        lines += [
            "",
            "Contours that were right, each by itself and all of a scan at once (joint):",
            "",
            "| contour | scans | right | 95 % range by chance |",
            "|---|---|---|---|",
            *(
                _right(f"{name}, {side}", f[side])
                for name, f in figures["structures"].items()
                for side in ("outer", "inner")
                if side in f
            ),
            _right("joint", figures["joint"]),
        ]
    return "\n".join(lines)


def _right(name: str, counts: Mapping[str, Any]) -> str:
    return f"| {name} | {counts['n']} | {counts['inside']} | {' to '.join(map(str, counts['expected']))} |"


def _number(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"
