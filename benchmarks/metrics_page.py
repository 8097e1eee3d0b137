"""Writes time and memory of bench_metrics.py into docs/reference/metrics.md; `--check` writes nothing."""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import fill_block, write_or_check

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "metrics.json"
PAGE = ROOT / "docs" / "reference" / "metrics.md"
OWN = "segtrust"


def block(result: dict[str, Any]) -> str:
    """One table of all tasks."""
    classes, *shape = result["shape"]
    versions = result["versions"] | (result["versions_other"] or {})
    others = {"monai", "torchmetrics", "scikit-learn", "netcal", "torch-uncertainty", "torch"}
    named = ", ".join(f"{name} {versions[name]}" for name in sorted(others & set(versions)))
    limit = result["limit_bytes"] / 1e9
    lines = [
        f"One made-up scan of {' x '.join(map(str, shape))} voxels, {classes} classes, float32, one thread",
        "of a CPU; every contender once, in a process of its own, in one run. Time is processor time,",
        f"memory the peak above the arrays, at most {limit:g} GB of address space. Above a ratio",
        f"of 1 the other takes more ({named}).",
        f"Made by `python benchmarks/metrics_page.py` from `{result['command']}`.",
        "",
        "| task | who | seconds | of ours | MB | of ours |",
        "|---|---|---|---|---|---|",
    ]
    for task, rows in result["tasks"].items():
        lines += [row(task, name, found, rows[OWN]) for name, found in rows.items()]
    return "\n".join([*lines, ""])


def row(task: str, name: str, found: dict[str, Any], own: dict[str, Any]) -> str:
    """One contender; a ratio of memory is taken to 1 MB where ours needs less."""
    if "failed" in found:
        reason = "needs more memory" if "alloc" in found["failed"].lower() else "ended with an error"
        return f"| {task} | {name} | {reason} | | | |"
    if name == OWN:
        return f"| {task} | **{name}** | {found['seconds']:.2f} | | {found['peak_mb']} | |"
    time, memory = found["seconds"] / own["seconds"], found["peak_mb"] / max(own["peak_mb"], 1)
    cells = f"{found['seconds']:.2f} | {time:.1f} | {found['peak_mb']} | {memory:.0f}"
    return f"| {task} | {name} | {cells} |"


def main() -> int:
    """Write the block, or compare it."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    return write_or_check((PAGE, fill_block(PAGE, "speed", block(result))))


if __name__ == "__main__":
    sys.exit(main())
