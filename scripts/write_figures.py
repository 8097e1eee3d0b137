"""Writes what was measured on the shipped model into README.md and two pages of docs/reference.

`--check` writes nothing and fails if one of them is out of date.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from segtrust.evaluate.cases import REGIONS
from segtrust.evaluate.table import card_headline, card_tables
from segtrust.label.names import band_texts
from segtrust.metrics import ObservedErrors
from segtrust.models import open_version
from segtrust.settings import AppSettings

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "lib" / "segtrust" / "shipped" / "hippocampus"
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "reference" / "hippocampus.md"
RESULT = ROOT / "benchmarks" / "results" / "hippocampus-test-trust.json"
TRUST_PAGE = ROOT / "docs" / "reference" / "hippocampus-trust.md"
BLOCK = re.compile(r"(<!-- measured: begin -->\n).*?(<!-- measured: end -->)", re.DOTALL)


def readme(card: dict[str, Any]) -> str:
    """README.md with the block between its markers made anew."""
    text = (
        f"{card_headline(card)}\n\nMedical Segmentation Decathlon Task04, split by subject; band = within "
        "5 mm of the prediction; ECE = top label, 15 bins. All figures with intervals:\n"
        "[the model's card](docs/reference/hippocampus.md);\n"
        "[calibrators and ranking](docs/reference/hippocampus-trust.md).\n"
        "Again with `scripts/train-hippocampus`.\n"
    )
    return BLOCK.sub(lambda found: found[1] + text + found[2], README.read_text(encoding="utf-8"))


def page(card: dict[str, Any]) -> str:
    """The model's card as a page."""
    calibration = dict(open_version(MODEL).calibration)
    numbers = ", ".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in calibration["calibrator"].items()
    )
    software = ", ".join(f"{name} {version}" for name, version in card["software"].items())
    return f"""# Card of the hippocampus model, version {open_version(MODEL).id}

Made by `python scripts/write_figures.py` from the version's `card.json`, which also holds the SHA-256 of
every file.

- Recipe: {card["recipe"]}
- Data: Medical Segmentation Decathlon Task04 (CC BY-SA 4.0)
- Scans: {card["data"]}; subjects: {card["data_subjects"]}.
  *train* fitted the weights, *val* the calibration, *test* was read once.
- Calibration, fitted on {calibration["fitted_on"]}: {numbers}
- Command: `{card["command"]}`
- Software: {software}

{card["test_note"]}

{card_tables(card)}
{bands(calibration)}
Known limit: a structure that the prediction misses by more than 5 mm lies outside the band, and there the
model is sure of the background. The row "missed" counts such voxels.
"""


def bands(calibration: dict[str, Any]) -> str:
    """How often the voxels of each band were wrong; empty if the version does not know."""
    if "observed" not in calibration:
        return ""
    observed = ObservedErrors.from_json(calibration["observed"])
    edges = AppSettings().band_edges
    rows = [
        row(text, "none" if rate is None else f"{100 * rate:.1f} %")
        for text, low, high in zip(band_texts(edges), edges, (*edges[1:], 1.0), strict=True)
        for rate in (observed.rate(low, high),)
    ]
    return "\n".join(
        [
            "\n## Bands\n",
            f"n = {observed.scans} *val* scans, each judged by a calibrator fitted without its subject.\n",
            "| chance of a wrong label | voxels that were wrong |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def trust_page(result: dict[str, Any]) -> str:
    """The calibrator comparison and the ranking of clean scans as a page."""
    choice = result["calibrators"]["cross_fitted_on_val"]
    calibrators = [
        row(name, *(f"{found[f][r]:.4f}" for f in ("nll", "ece") for r in REGIONS))
        for name, found in choice["figures"].items()
    ]
    ranking = [
        row(name, *(interval(found["logit_dice"][kind]) for kind in ("pearson", "spearman")))
        for name, found in result["ranking"]["clean"].items()
    ]
    return "\n".join(
        [
            f"# Calibrators and ranking, hippocampus version {result['model']['version']}\n",
            f"Made by `python scripts/write_figures.py` from `benchmarks/results/{RESULT.name}`.\n",
            f"- Command: `{result['command']}`",
            f"- Protocol `benchmarks/protocol.json`, hash `{result['protocol'][:16]}`\n",
            f"## Calibrators on *val*, one of {choice['subjects']} subjects left out at a time\n",
            "| calibrator | NLL band | NLL outside | NLL volume | ECE band | ECE outside | ECE volume |",
            "|---|---|---|---|---|---|---|",
            *calibrators,
            f"\nChosen by NLL over the volume: `{choice['name']}`.\n",
            f"## Scores against logit Dice on {result['scans']} clean *test* scans\n",
            "`pairwise_dice` and `soft_dice_confidence` are high where the model is sure: there positive is",
            "good, for all others negative is. Scans of this model differ little in Dice, and no score",
            "orders them well; 95 % bootstrap over subjects.\n",
            "| score | Pearson | Spearman |",
            "|---|---|---|",
            *ranking,
            "",
        ]
    )


def row(*cells: str) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def interval(found: dict[str, Any]) -> str:
    """A correlation with its interval."""
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def main() -> int:
    """Write all files, or compare them."""
    card = dict(open_version(MODEL).card)
    stale = []
    trust = trust_page(json.loads(RESULT.read_text(encoding="utf-8")))
    for path, text in ((README, readme(card)), (PAGE, page(card)), (TRUST_PAGE, trust)):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT).as_posix())
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}: python scripts/write_figures.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
