"""Writes docs/reference/widths.md of what run_widths.py measured; `--check` only compares."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from segtrust.experiments.pages import Json, interval, paragraph, table, write_or_check

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "widths.json"
PAGE = ROOT / "docs" / "reference" / "widths.md"
TODAY, CONSTANT, BUILT = "one score", "constant", "ridge of two scores, full conformal"
SHOWN = 15
"""Ways in a table: the narrowest, and those that are named."""
HEAD = ("way", "ratio", "median", "of the constant's", "coverage", "r", "r, copies", "coverage, copies")
AIMS = {"hippocampus": 0.75, "heart": 0.50}

MADE = """Made by `python benchmarks/widths_page.py` from `benchmarks/results/widths.json` (`{command}`,
protocol `{protocol:.16}`). The rule, with all candidates, was written before:
[decision 0017](../decisions/0017-widths.md). What intervals mean: [quality](../explanation/quality.md)."""
COLUMNS = """*Ratio*: mean width of the 90 % interval of Dice over the range that holds 90 % of the true Dice
of that structure in the pool, mean over structures; *median*: the same of the median width. *Of the
constant's*: over the width of the interval without any score, from the same calibration sets. *Coverage*:
share of scans whose interval holds their Dice; the promise is .90 on average over calibration sets, and with
{n} subjects the rank alone gives {rank:.3f}. *r*: predicted and true log odds, on scans and on worsened
copies. Calibration sets were drawn {draws} times. Only the {shown} narrowest and the named ways are listed;
the file has all."""


TITLE = "# Widths: what intervals of Dice are made of\n"
NOTHING = """Nothing was measured yet by `python benchmarks/run_widths.py`; the rule, and what intervals of
Dice rest on until then, stand in [decision 0017](../decisions/0017-widths.md)."""
UNMEASURED = """**Not measured yet**, for want of time on the machine: the rule's own parts, *choice* and
*confirmation*, with hearts. What follows is one organ, two folds, and no confirmation: it is exploratory."""
FIRST = """Hippocampus, folds 0 and 3, each judged by the five members of `facts` that never saw it; the two
ensembles share a pool after the mean of each one's scans was taken from its scores. Left out for
time: *chosen* and *scaled* ways."""

NOTHING_PAGE = f"{TITLE}\n{paragraph(NOTHING)}"


def page(result: Json) -> str:
    """The whole page."""
    choice = result["parts"].get("choice", {})
    lines = [
        TITLE,
        paragraph(MADE.format(**result)),
        paragraph(
            "Inside *train*: one scan of each subject and three worsened copies of it (shift suite,",
            "strengths 2 and 3), predicted by one ensemble that saw none of the pool. No scan of *val* or",
            "*test* takes part.",
        ),
    ]
    if not choice:
        lines.append(paragraph(UNMEASURED))
    for name, part in result["parts"].items():
        winner = part.get("winner") or choice["winner"]
        lines.append(f"## {name.capitalize()}\n")
        lines.append(paragraph(*sentences(name, part, winner)))
        for pool, found in part["pools"].items():
            lines += pool_table(pool, found, winner, result["draws"])
    return "\n".join(lines).rstrip("\n") + "\n"


def sentences(name: str, part: Json, winner: str) -> list[str]:
    """What the rule says of a part, and how far the aims are off."""
    less = (
        f"*{way}* against *{TODAY}*: the ratio is lower by {interval(figure)}."
        for way, figure in part["less"].items()
    )
    first = [FIRST] if name == "first" else []
    return [
        *first,
        f"By the rule's measure the way to take would be **{winner}**." if "winner" in part else "",
        *less,
        "95 %, judged subjects drawn 1000 times, mean over organs.",
        *(aims(pool, found["ways"][BUILT]) for pool, found in part["pools"].items()),
    ]


def aims(pool: str, figures: Json) -> str:
    """The aims, and what came of them with what versions have."""
    aim = next(limit for organ, limit in AIMS.items() if pool.startswith(organ))
    met = "met" if figures["ratio"] <= aim and figures["coverage"] >= 0.90 else "missed"
    r = "met" if figures["r_copies"] >= 0.90 else "missed"
    return (
        f"Aims, *{BUILT}*: a ratio of at most {aim:.2f} at coverage .90: {figures['ratio']:.2f} at "
        f"{figures['coverage']:.3f}, {met}; r of at least .90 on worsened copies: "
        f"{figures['r_copies']:.2f}, {r}."
    )


def pool_table(pool: str, found: Json, winner: str, draws: int) -> list[str]:
    """The narrowest ways of one pool, and those that are named."""
    ways: Mapping[str, Json] = found["ways"]
    order = sorted(ways, key=lambda way: ways[way]["ratio"])
    shown = [way for i, way in enumerate(order) if i < SHOWN or way in (TODAY, CONSTANT, BUILT, winner)]
    constant = ways[CONSTANT]["ratio"]
    rows = [
        (
            f"**{way}**" if way == BUILT else way,
            f"{f['ratio']:.2f}",
            f"{f['median']:.2f}",
            f"{f['ratio'] / constant:.2f}",
            f"{f['coverage']:.3f}",
            f"{f['r']:.2f}",
            f"{f['r_copies']:.2f}",
            f"{f['coverage_copies']:.3f}",
        )
        for way, f in ((way, ways[way]) for way in shown)
    ]
    n = found["calibration"]
    ranges = ", ".join(f"{width:.3f}" for width in found["marginal"].values())
    return [
        f"### {pool.capitalize()}, calibration sets of {n} subjects\n",
        paragraph(
            f"{found['subjects']} subjects judged; range that holds 90 % of the true Dice, by structure:",
            f"{ranges}.",
            COLUMNS.format(n=n, rank=-(-9 * (n + 1) // 10) / (n + 1), draws=draws, shown=SHOWN),
        ),
        *table(
            ("way", "ratio", "median", "of the constant's", "coverage", "r", "r, copies", "coverage, copies"),
            rows,
        ),
    ]


def main() -> int:
    """Write the page, or compare it; before anything was measured it says so."""
    text = page(json.loads(RESULT.read_text(encoding="utf-8"))) if RESULT.is_file() else NOTHING_PAGE
    return write_or_check((PAGE, text))


if __name__ == "__main__":
    sys.exit(main())
