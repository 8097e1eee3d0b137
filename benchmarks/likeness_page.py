"""Writes docs/reference/likeness.md of what run_likeness.py measured; `--check` only compares."""

import json
import sys
from pathlib import Path

from segtrust.experiments.pages import Json, paragraph, table, write_or_check

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "hippocampus-likeness.json"
PAGE = ROOT / "docs" / "reference" / "likeness.md"
LEAST_SUBJECTS = 5


MADE = """Made by `python benchmarks/likeness_page.py` from `benchmarks/results/{name}`
(`{command}`, protocol `{protocol:.16}`, cell `{system}`). The rule was written before:
[decision 0012](../decisions/0012-likeness.md). What the grades mean: [quality](../explanation/quality.md)."""
DATA = """Inside *train*: {scans} scans of {subjects} subjects, {smooth} of the scans stored with 8 bits and
smoother than the rest, each predicted by small members that never saw its subject (mean Dice
{mean_dice:.3f}). {draws} times {calibration_subjects} subjects were drawn as calibration set, as *val* has
them (6 with 8-bit scans), and as often without any 8-bit scan; all other subjects were judged. The shipped
model has seen these scans and judges none of them here. No scan of *val* or *test* takes part."""
WAYS = """Mean and least share of scans in which an interval (Dice, volume and border of two structures) and a
contour (outer and inner of two structures, and all at once) holds; nominal 0.90. A way may be served if the
mean is at least .90 and the least at least .85 in every condition with at least five subjects. *All* serves
every such scan, *somewhat* those that are somewhat unlike. *Usual*: the interval of other scans. *Widest*:
with the largest error of any calibration subject. *Nearest*: with the largest error of the nine whose image
is most like the scan's. Group-wise intervals need nine subjects of a group; there are eight with 8-bit scans
in all of *train* and six in *val*: none can be given."""


def page(result: Json) -> str:
    """The whole page."""
    ((system, found),) = result["systems"].items()
    conditions = found["conditions"]
    ways = dict.fromkeys(way for part in conditions.values() for way in part["ways"])
    others = [way for way in ways if way.startswith(("like", "unlike"))]
    made = MADE.format(name=RESULT.name, system=system, **result)
    lines = [
        "# Likeness: which intervals hold for scans unlike the calibration scans\n",
        paragraph(made),
        paragraph(DATA.format(**found)),
        "## Grades\n",
        *grades(conditions),
        "## Scans with p < 0.05: which way holds\n",
        paragraph(WAYS),
        *(line for way in ways if way not in others for line in way_table(way, conditions)),
        "## What the usual interval does for the other grades\n",
        *(line for way in others for line in way_table(way, conditions, judged=False)),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def grades(conditions: Json) -> list[str]:
    """Share and Dice of each grade, and what keeps its intervals, before and after."""
    rows = []
    for name, found in conditions.items():
        g = found["grades"]
        share = {grade: 100 * part["share"] for grade, part in g.items()}
        dice = ("-" if part["dice"] is None else f"{part['dice']:.3f}" for part in g.values())
        kept = share["like"] + share["somewhat unlike"]
        shares = (f"{s:.1f}" for s in share.values())
        rows.append((name, f"{found['subjects']}", *shares, *dice, f"{share['like']:.1f}", f"{kept:.1f}"))
    head = (
        "scans", "subjects", "like, %", "somewhat, %", "unlike, %", "Dice, like", "Dice, somewhat",
        "Dice, unlike", "keep intervals, before, %", "now, %",
    )  # fmt: skip
    return table(head, rows)


def way_table(way: str, conditions: Json, *, judged: bool = True) -> list[str]:
    """One way in all conditions, and whether it passes."""
    rows, passed = [], {"intervals": True, "contours": True}
    for name, found in conditions.items():
        part = found["ways"].get(way)
        if part is None:
            continue
        cells = []
        for kind in passed:
            enough = part["subjects"] >= LEAST_SUBJECTS
            if enough and not part[kind]["holds"]:
                passed[kind] = False
            words = ("yes" if part[kind]["holds"] else "**no**") if enough else "too few"
            cells += [f"{part[kind]['mean']:.3f}", f"{part[kind]['least']:.3f}", words]
        rows.append((name, str(part["subjects"]), *cells))
    verdict = ", ".join(f"{kind}: {'passes' if ok else 'fails'}" for kind, ok in passed.items())
    head = ("scans", "subjects", "intervals, mean", "least", "holds", "contours, mean", "least", "holds")
    title = f"### {way.capitalize()}" + (f" ({verdict})" if judged else "")
    return [f"{title}\n", *table(head, rows)]


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check((PAGE, page(json.loads(RESULT.read_text(encoding="utf-8")))))


if __name__ == "__main__":
    sys.exit(main())
