"""Writes docs/reference/methods-table.md from the result of methods_table.py; `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import interval, paragraph, table, write_or_check
from segtrust.metrics.bootstrap import bootstrap_of

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "methods-table.json"
PLAN = Path(__file__).parent / "methods_table.json"
PAGE = ROOT / "docs" / "reference" / "methods-table.md"
FIGURES = ("dice", "nll_band", "nll_outside", "nll_volume", "brier_band", "ece_band", "ece_volume")
Json = dict[str, Any]


def parts(system: str) -> tuple[str, str, str]:
    """Loss, source and calibrator of a system's name."""
    loss, source, _, kind = system.split(" | ")
    return loss, source, kind


def is_exploratory(system: str, base: str) -> bool:
    """Whether a cell differs from the base in more than one of loss, source and calibrator."""
    return sum(one != two for one, two in zip(parts(system), parts(base), strict=True)) > 1


def verdict(found: Json) -> str:
    """What the corrected p-value says of the NLL of the band."""
    if found["p_holm"] >= 0.05:
        return "no difference shown"
    return "better" if found["nll_band"]["value"] < 0 else "worse"


def rows_of(result: Json) -> list[list[str]]:
    """One row per cell that was run, in order of loss, source, calibrator."""
    found = []
    for system, figures in result["systems"].items():
        loss, source, kind = parts(system)
        less = result["differences"].get(system)
        mark = "°" if is_exploratory(system, result["base"]) else ""
        change = ["base", ""] if less is None else [
            f"{interval(less['nll_band'], 4, sign=True)}", f"{less['p_holm']:.3f}, {verdict(less)}{mark}"
        ]  # fmt: skip
        cells = [f"{figures[f]['value']:.{3 if f == 'dice' else 4}f}" for f in FIGURES]
        found.append([loss, source, kind, *cells, *change])
    return found


def not_run(result: Json, plan: Json) -> list[list[str]]:
    """Loss and sources of the table that were not run."""
    done = dict.fromkeys(parts(system)[:2] for system in result["systems"])
    losses = dict.fromkeys(loss for loss, _ in done)
    return [
        [loss, ", ".join(missing)]
        for loss in losses
        if (missing := [source for source in plan["sources"] if (loss, source) not in done])
    ]


def cost_rows(result: Json) -> list[list[str]]:
    """Seconds of training per loss and source, and of prediction per source."""
    training = result["cost"]["training"].items()
    return [
        [name.replace(" | single", "").replace(" | ", ", "), f"{seconds:.0f}"] for name, seconds in training
    ]


def prediction_rows(result: Json) -> list[list[str]]:
    """Seconds per scan of every source."""
    return [[source, f"{seconds:.2f}"] for source, seconds in result["cost"]["prediction"].items()]


def page(result: Json, plan: Json) -> str:
    """The whole page."""
    sources = [f"- {name}: {words}" for name, words in plan["sources"].items()]
    base = ", ".join(parts(result["base"]))
    asked = [n for n in result["differences"] if not is_exploratory(n, result["base"])]
    better = [n for n in result["differences"] if verdict(result["differences"][n]) == "better"]
    head = ["loss", "source", "calibrator", "Dice", "NLL band", "NLL outside", "NLL volume", "Brier band"]
    head += ["ECE band", "ECE volume", "NLL band less the base", "p (Holm)"]
    lines = [
        "# Losses, sources of samples and calibrators on the same scans\n",
        paragraph(
            "Made by `python benchmarks/papers/methods_table_page.py` from",
            f"`benchmarks/results/methods-table.json`, which `{result['command']}` wrote;",
            "settings fixed before in `benchmarks/papers/methods_table.json`.",
        ),
        f"- n = {result['scans']} hippocampus scans of {result['subjects']} subjects of *train*, two folds,",
        "  judged by members and calibrators that never saw them. Small networks, 8 epochs (experiment",
        "  `losses`).",
        "- Band: within 5 mm of the union of all cells' predictions of a scan. Low NLL, Brier and ECE are",
        "  good.",
        f"- Base, fixed beforehand: {base}. Difference of the band's NLL with its",
        f"  95 % {bootstrap_of(result)} over subjects; p: signs of subjects flipped, Holm's",
        f"  correction over all {len(result['differences'])} differences.",
        f"- °: exploratory, {len(result['differences']) - len(asked)} cells that differ from the",
        f"  base in more than one of loss, source and calibrator; {len(asked)} differ in one.",
        *sources,
        f"\nBetter than the base after correction: {len(better)} of {len(result['differences'])} cells"
        + (f" ({'; '.join(', '.join(parts(n)) for n in better[:12])})" if better else "")
        + ".\n",
        *table(head, rows_of(result)),
        "## Not run\n",
        *table(["loss", "sources"], not_run(result, plan)),
        "## Cost\n",
        paragraph(
            "Processor seconds on one thread, measured in the same run. Training: per member, a part of an",
            f"epoch timed and multiplied; an ensemble takes {result['cost']['members']} times as long.",
            f"Prediction: per scan, loss `{parts(result['base'])[0]}` (the network is the same for all),",
            "weights read anew; a calibrator adds hundredths of a second.",
        ),
        *table(["training", "s"], cost_rows(result)),
        *table(["source", "s per scan"], prediction_rows(result)),
    ]
    return "\n".join(lines)


def main() -> int:
    """Write the page, or say whether it is up to date."""
    text = page(json.loads(RESULT.read_text(encoding="utf-8")), json.loads(PLAN.read_text(encoding="utf-8")))
    return write_or_check((PAGE, text))


if __name__ == "__main__":
    sys.exit(main())
