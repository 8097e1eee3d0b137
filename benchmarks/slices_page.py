"""Writes what run_slices.py measured into docs/explanation/next-slice.md; `--check` writes nothing."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import fill_block, interval, table, write_or_check
from segtrust.experiments.slice_correction import CHOICES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "next-slice.md"
RESULT = ROOT / "benchmarks" / "results" / "hippocampus-slices.json"
NAMES = {
    "long: base; 1": "**One member, 16 epochs** (`long`, cell `base`).",
    "facts: dice_ce, instance; 5": "**Ensemble of five small members, 4 epochs** (`facts`, cell "
    "`dice_ce, instance`, three of the five folds).",
}


def tables(system: Mapping[str, Any]) -> list[str]:
    """Dice and share of wrong voxels left per choice and number of slices; then the paired differences."""
    budgets = system["budgets"]
    head = ["choice", *budgets]

    def rows(cell: Callable[[Mapping[str, Any]], str], without: str = "") -> list[list[str]]:
        return [
            [name, *(cell(budget["choices"][name]) for budget in budgets.values())]
            for name in CHOICES
            if name != without
        ]

    return [
        *table(head, rows(lambda one: f"{one['dice']['value']:.3f}, {one['left']['value']:.0%}")),
        *table(head, rows(lambda one: interval(one["less"], 4, sign=True), without="expected error")),
    ]


def block() -> str:
    """What stands between the comments of the page."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    lines = [
        f"`{result['command']}`, protocol `{result['protocol'][:16]}`, figures in",
        f"`{RESULT.relative_to(ROOT).as_posix()}`.",
        "",
        *table(
            ["choice", "slices that were corrected"], [[n, text] for n, text in result["choices"].items()]
        ),
    ]
    for name, system in result["systems"].items():
        slices = system["slices"]
        lines += [
            NAMES[name],
            f"n = {system['scans']} scans of {system['subjects']} subjects.",
            f"{system['empty_predictions']} predictions were empty.",
            f"Dice before: {system['dice_before']['value']:.3f};",
            f"{system['wrong_voxels']['value']:.0f} wrong voxels in a scan of {slices['all']:.0f} slices,",
            f"{slices['through prediction']:.0f} of them through the prediction.",
            "",
            *tables(system),
        ]
    return "\n".join(lines)


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check((PAGE, fill_block(PAGE, "measured", block())))


if __name__ == "__main__":
    sys.exit(main())
