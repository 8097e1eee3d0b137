"""Writes docs/reference/whole-heads.md of what run_heads.py measured; `--check` only compares."""

import json
import sys
from pathlib import Path

from segtrust.experiments.pages import Json, paragraph, table, write_or_check

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "whole-heads.json"
PAGE = ROOT / "docs" / "reference" / "whole-heads.md"

MADE = """Made by `python benchmarks/heads_page.py` from `benchmarks/results/whole-heads.json` (`python
benchmarks/run_heads.py --mricron FOLDER`). Rule and endpoints were written before any real head was
looked at: [decision 0022](../decisions/0022-whole-heads.md). How to use the task:
[whole heads](../how-to/whole-heads.md)."""
SYNTHETIC = """{images} images from label maps that the search was not trained on, other than those its
limits were fitted to. *Whole*: the hippocampus lies in the image, at least 3 mm from its border."""
REAL = """Every real head at hand, and scans in which nothing is to be found. *Must be found*: by the
endpoints. *Likeness* is that of the crop to the calibration scans of the crop model
([quality](../explanation/quality.md)). *Atlas in box*: share of the hippocampus of AAL that lies in
the box; AAL is drawn more generously than the crop model's labels, so the Dice with it says that
the right thing was found, not how well it was drawn. Seconds are those of one thread on a machine
that did other things as well."""
PASTED = """Crops of {subjects} people of *train*, both sides of each, pasted into made-up heads (brightness
of T1, from the held-out label maps) at places and in storage orders drawn by lot, against the same
crops alone. Five small members predict that never saw the person (folds 0 and 3 of
`benchmarks/protocol.json`). The endpoint: a difference within .005."""
SEEN = """The ensemble that ships has been trained on these very crops and knows them by heart, their size
included: over {found} crops of {subjects} people its Dice in the head is {anterior:+.4f} (anterior) and
{posterior:+.4f} (posterior) against the crops alone."""
BEFORE = """Before, crops had one size (35 x 50 x 36 mm). With them the Dice of the shipped ensemble on
{found} crops of {subjects} other people was {anterior:+.4f} and {posterior:+.4f} against the crops alone;
then the way to place a crop was changed, and before it was known what the ensemble knows by heart."""


def before(found: Json) -> Json:
    """Differences of a part that has no table."""
    alone, inside = found["dice"]["alone"], found["dice"]["pasted"]
    return {**found, "anterior": inside[0] - alone[0], "posterior": inside[1] - alone[1]}


def page(result: Json) -> str:
    """The whole page."""
    lines = [
        "# Whole heads: what the search finds\n",
        paragraph(MADE),
        "## Images from held-out label maps\n",
        paragraph(SYNTHETIC.format(**result["synthetic"])),
        *synthetic(result["synthetic"]),
        "## Real heads, and what is none\n",
        paragraph(REAL),
        *real(result["real"]),
        "## Crops pasted into heads\n",
        paragraph(PASTED.format(**result["pasted"])),
        *pasted(result["pasted"]),
        paragraph(SEEN.format(**before(result["seen"]))),
        paragraph(BEFORE.format(**before(result["pasted_fixed_box"]))),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def synthetic(found: Json) -> list[str]:
    """Shares found, by what is there."""
    whole, error = found["whole"], found["whole"]["error_mm"]
    cut, absent, turned = (found[name] for name in ("cut_or_absent", "no_head", "turned_head"))
    rows = [
        ("whole hippocampi", whole["n"], f"{100 * whole['found']:.1f} %"),
        ("hippocampi that are cut or outside", cut["n"], f"{100 * cut['found']:.1f} %"),
        ("sides of images without a head", absent["n"], str(absent["found"])),
        ("sides of heads turned against their header", turned["n"], str(turned["found"])),
    ]
    return [
        *table(("what", "n", "found"), ((name, str(n), share) for name, n, share in rows)),
        paragraph(
            f"Centres of whole hippocampi that were found lie {error['median']:.1f} mm from the truth "
            f"(median; 95 % within {error['p95']:.1f} mm); {whole['found_beyond_10_mm']} lie more than 10 mm "
            "off."
        ),
    ]


def real(rows: list[Json]) -> list[str]:
    """One line a scan, then one a side, then what was said."""
    scans = table(
        ("scan", "voxels", "must be found", "found", "seconds"),
        (
            (
                row["name"],
                " x ".join(map(str, row["voxels"])),
                row["expected"],
                row["found"],
                f"{row['seconds']:.1f}",
            )
            for row in rows
        ),
    )
    head = ("scan", "side", "centre, mm (RAS)", "ml", "likeness (p)", "predicted Dice", "atlas in box")
    sides = table((*head, "Dice with atlas"), (cells(row, side) for row in rows for side in row["sides"]))
    said = [f"- {row['name']}: {'; '.join(row['flags'])}" for row in rows if row["flags"]]
    return [*scans, *sides, "What was flagged:\n", *said, ""]


def cells(row: Json, side: Json) -> tuple[str, ...]:
    """One side of one scan."""
    return (
        row["name"],
        side["side"],
        ", ".join(f"{mm:.0f}" for mm in side["centre_ras_mm"]),
        f"{side['ml']:.2f}",
        f"{side['likeness']} ({side['p_value']:.2f})",
        " / ".join(f"{dice:.2f}" for dice in side["predicted_dice"]) or "-",
        f"{100 * side['atlas_in_box']:.1f} %" if "atlas_in_box" in side else "-",
        f"{side['atlas_dice']:.2f}" if "atlas_dice" in side else "-",
    )


def pasted(found: Json) -> list[str]:
    """Mean Dice of both structures, alone and pasted."""
    alone, inside = found["dice"]["alone"], found["dice"]["pasted"]
    rows = [
        (name, f"{alone[k]:.4f}", f"{inside[k]:.4f}", f"{inside[k] - alone[k]:+.4f}")
        for k, name in enumerate(("anterior", "posterior"))
    ]
    return [
        *table(("hippocampus", "alone", "in the head", "difference"), rows),
        paragraph(f"{found['found']} of {found['crops']} were found; the others were said to be missing."),
    ]


if __name__ == "__main__":
    sys.exit(write_or_check((PAGE, page(json.loads(RESULT.read_text("utf-8"))))))
