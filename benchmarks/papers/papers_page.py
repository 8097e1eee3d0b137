"""Writes what papers found, and what was found here, into docs/papers.md; `--check` writes nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fassio_page
import mehrtash_page
import monteiro_page
import some_namboodiri_page

from segtrust.experiments.pages import fill_block, write_or_check

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "papers.md"
RESULTS = ROOT / "benchmarks" / "results"
Summary = Callable[[dict[str, Any]], list[str]]
PAPERS: dict[str, tuple[str, str, Summary]] = {
    "Mehrtash et al. 2020: deep ensembles": (
        "mehrtash.json",
        "benchmarks/papers/mehrtash.py",
        mehrtash_page.summary,
    ),
    "Fassio et al. 2024, Liu et al. 2022: CaPE": (
        "lung-nodules-cape.json",
        "benchmarks/papers/fassio.py",
        fassio_page.summary,
    ),
    "Monteiro et al. 2020: stochastic segmentation networks": (
        "lung-nodules-stochastic.json",
        "benchmarks/papers/monteiro.py",
        monteiro_page.summary,
    ),
    "Some & Namboodiri 2024: which voxels are wrong": (
        "some-namboodiri.json",
        "benchmarks/papers/some_namboodiri.py",
        some_namboodiri_page.summary,
    ),
}
"""Title -> result, command, and what is said of it."""


def block() -> str:
    """A part for each paper."""
    lines = ["Made by `python benchmarks/papers/papers_page.py` from `benchmarks/results`.", ""]
    for title, (name, program, summary) in PAPERS.items():
        path = RESULTS / name
        lines += [f"### {title}", "", f"`python {program}`", ""]
        if path.is_file():
            lines += summary(json.loads(path.read_text(encoding="utf-8")))
        else:
            lines.append("Not run yet.")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write the block, or compare it."""
    return write_or_check((PAGE, fill_block(PAGE, "results", block())))


if __name__ == "__main__":
    sys.exit(main())
