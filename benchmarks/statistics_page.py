"""Writes docs/reference/statistics.md of what run_statistics.py simulated; `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import paragraph, table, write_or_check
from segtrust.metrics.bootstrap import LEAST_SUBJECTS
from segtrust.release.gate import CLEAR_LOSS, WORSE_SHARE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "statistics.md"
RESULT = ROOT / "benchmarks" / "results" / "statistics.json"
PROMISED = 0.93
MOST = 0.072  # .05 and twice the standard error of 400 draws


def page(result: dict[str, Any]) -> str:
    """The whole page."""
    error = (0.95 * 0.05 / result["samples"]) ** 0.5
    return "\n".join(
        [
            "# What intervals and the gate promise, and keep\n",
            paragraph(
                f"Made by `{result['command']}`: simulated, {result['samples']} samples of every law",
                f"and number of subjects; a share near .95 has a standard error of {error:.3f}.",
            ),
            *interval_part(result["intervals"]),
            *gate_part(result["gate"], result["samples"]),
        ]
    )


def interval_part(laws: dict[str, Any]) -> list[str]:
    """Coverage of every law and method."""
    numbers = list(next(iter(next(iter(laws.values())).values())))
    return [
        "## Intervals over subjects\n",
        paragraph(
            "How often a 95 % interval holds the true figure, one or two scans a subject. *Percentile*: what",
            "all intervals were before; pages of results that were measured then say so.",
            "*Studentised*: what [`cluster_bootstrap`](metrics.md) gives.",
            f'**Below {LEAST_SUBJECTS} subjects no interval is given**: pages say "n too small"; the columns',
            f"show what it would have covered. Bold: below {PROMISED}.",
        ),
        *table(
            ("law", "method", *numbers),
            (
                (words if k == 0 else "", method, *(cell(found[n]) for n in numbers))
                for words, methods in laws.items()
                for k, (method, found) in enumerate(methods.items())
            ),
        ),
        *remarks(laws),
    ]


def remarks(laws: dict[str, Any]) -> list[str]:
    """What does not hold, in numbers."""
    short = [
        f"{words} ({', '.join(f'{found[n]:.3f} at {n}' for n in found if missed(n, found))})"
        for words, methods in laws.items()
        for found in (methods["studentised"],)
        if any(missed(n, found) for n in found)
    ]
    return [
        paragraph(
            f"Where {LEAST_SUBJECTS} subjects or more do not keep {PROMISED}:",
            f"{'; '.join(short) or 'nowhere here'}.",
        ),
        paragraph(
            "A failure that a sample does not hold is in no interval: of n subjects a kind of failure with a",
            "share of 1/10 is missed altogether with a chance of .9^n (.04 at 30), one with a share of 1/20",
            "with .95^n (.21 at 30, .08 at 50, .006 at 100). An interval of 30 subjects therefore says",
            "nothing of failures rarer than one in ten; without any failure among n subjects their",
            "share may still be up to 3/n (95 %).",
        ),
    ]


def gate_part(laws: dict[str, Any], samples: int) -> list[str]:
    """How often the gate lets a version pass."""
    numbers = list(next(iter(laws.values()))["passes"])
    return [
        "## The gate\n",
        paragraph(
            "Share of draws in which a version is called not inferior ([the gate](../how-to/training.md))",
            f"by number of calibration patients, {samples} draws each; only Dice changes here.",
            "*Before*: the lower limit of a percentile bootstrap of the mean, from 8 patients on.",
            "*Unproven*: neither passed nor held back. A worse version must pass in at most .05; bold: more.",
        ),
        *table(
            ("change", "", *numbers),
            (
                (words if k == 0 else "", name, *(rate(words, name, found[name][n]) for n in numbers))
                for words, found in laws.items()
                for k, name in enumerate(("before", "passes", "unproven"))
            ),
        ),
        paragraph(
            f"The gate promises that fewer than {WORSE_SHARE:.0%} of patients lose more than {CLEAR_LOSS}",
            "Dice. The exact limit of that share holds for every law. It promises nothing about losses",
            "that are rarer, however large: one patient in 50 who loses .6 lowers the mean by .012, and no",
            "test of so few patients can see that; with no loss among n patients a share of 3/n is still",
            "possible.",
        ),
    ]


def rate(words: str, name: str, share: float) -> str:
    """A share; bold if a worse version passes more often than promised, by more than chance."""
    text = f"{share:.3f}"
    return f"**{text}**" if words.startswith("worse") and name != "unproven" and share > MOST else text


def missed(number: str, found: dict[str, float]) -> bool:
    """Whether less is covered than promised where an interval is given."""
    return int(number) >= LEAST_SUBJECTS and found[number] < PROMISED


def cell(share: float) -> str:
    """A share, bold if too few."""
    text = f"{share:.3f}".lstrip("0")
    return f"**{text}**" if share < PROMISED else text


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check((PAGE, page(json.loads(RESULT.read_text(encoding="utf-8")))))


if __name__ == "__main__":
    sys.exit(main())
