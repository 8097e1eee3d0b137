"""Makes docs/reference/ranking.md of what run_trust.py and run_ranking.py wrote; `--check` writes nothing."""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import interval, pooled_pairs_note, row, write_or_check
from segtrust.metrics.bootstrap import bootstrap_of

ROOT = Path(__file__).parents[1]
RELEASE = ROOT / "benchmarks" / "results" / "hippocampus-test-trust.json"
INSIDE = ROOT / "benchmarks" / "results" / "hippocampus-ranking.json"
DOUBT = ROOT / "benchmarks" / "results" / "doubt.json"
PAGE = ROOT / "docs" / "reference" / "ranking.md"
CONFIDENCES = ("pairwise_dice", "soft_dice_confidence")


def page() -> str:
    """The whole page."""
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in (INSIDE, RELEASE) if path.is_file()]
    lines = [
        "# Which scores put scans in the order of their Dice?\n",
        "Made by `python benchmarks/ranking_page.py` from `benchmarks/results`. Spearman correlation of each",
        "score with the mean Dice over structures, on clean scans and on every shift of the suite by",
        "itself; conditions are never pooled. -1 is the best a score can reach, and +1 for those marked (+),",
        f"which are high where the model is sure. In brackets: 95 % {bootstrap_of(parts)} over subjects",
        "([what such intervals cover](statistics.md)); an interval that holds 0 is no evidence of any",
        "order.\n",
        *(inside(json.loads(INSIDE.read_text(encoding="utf-8"))) if INSIDE.is_file() else not_yet()),
        *(doubt(json.loads(DOUBT.read_text(encoding="utf-8"))) if DOUBT.is_file() else []),
        *release(json.loads(RELEASE.read_text(encoding="utf-8"))),
    ]
    return "\n".join(lines)


def not_yet() -> list[str]:
    """What stands where the folds have not been measured."""
    return ["## Inside *train*\n", "Not run yet: `python benchmarks/run_ranking.py`.\n"]


def inside(found: dict[str, Any]) -> list[str]:
    """Members of other folds on held-out scans of train: what choices rest on."""
    shifts = found["shifts"]["conditions"]
    conditions = {"clean": found["clean"], **shifts}
    scores = list(found["clean"]["spearman"])
    return [
        "## Inside *train*: what choices rest on\n",
        f"{found['members']} members of the cell `{found['cell']}` of `benchmarks/experiments.json` per",
        f"fold, on one scan of each of {found['subjects']} subjects that they never saw; correlations inside",
        f"each of {len(found['folds'])} folds, mean over folds. Calibrated on the other folds.",
        f"`{found['command']}`, protocol `{found['protocol'][:16]}`.\n",
        *table(scores, {name: (c["dice"], c["spearman"]) for name, c in conditions.items()}),
        row(f"**mean over {len(shifts)} shifts**", "", *(cell(found["shifts"]["mean"][s]) for s in scores)),
        "",
    ]


def doubt(found: dict[str, Any]) -> list[str]:
    """Candidates for the doubt of a scan, also where a structure is small or missed."""
    lines = [
        "## Small and missed structures\n",
        "Candidates for the one number that says how doubtful a scan is, by the rule of",
        "[decision 0014](../decisions/0014-doubt.md), inside *train*: clean scans; shifts",
        f"({', '.join(found['shifts'])}); and every second scan of a fold with a structure that is shrunk,",
        "erased from the image, or missed by all or by most members. Excess area under the risk-coverage",
        "curve, risk 1 - Dice, inside each fold, mean over folds: 0 is the best order, 1 is chance, above 1",
        "is worse than chance. In brackets: Spearman with Dice, -1 is best.",
        f"`{found['command']}`, protocol `{found['protocol'][:16]}`.\n",
    ]
    for organ, figures in found["organs"].items():
        groups = list(figures["dice"])
        lines += [
            f"**{organ.capitalize()}**: {figures['members']} members per fold, {figures['subjects']}",
            f"subjects in folds {', '.join(map(str, figures['folds']))};",
            f"hardest structure: {figures['hardest']}.\n",
            row("candidate", *groups, "mean", "better than `entropy` by"),
            f"|---|{'---|' * (len(groups) + 2)}",
            row("mean Dice", *(f"{figures['dice'][g]:.3f}" for g in groups), "", ""),
            *(candidate(name, part, groups) for name, part in figures["candidates"].items()),
            "",
        ]
    best = min(found["mean"], key=lambda name: found["mean"][name])
    means = ", ".join(f"{name} {value:.2f}" for name, value in found["mean"].items())
    return [*lines, f"Mean excess over organs: {means}. The lowest is `{best}`.\n"]


def candidate(name: str, part: dict[str, Any], groups: list[str]) -> str:
    """One candidate under every condition."""
    less = part["less"]
    return row(
        name,
        *(f"{part['excess_aurc'][g]:.2f} ({part['spearman'][g]:.2f})" for g in groups),
        f"{part['mean']:.2f}",
        "" if name == "entropy" else f"{less['value']:.2f} ({less['low']:.2f} to {less['high']:.2f})",
    )


def release(found: dict[str, Any]) -> list[str]:
    """The shipped model on test: figures of the release, on which no choice rests."""
    clean = found["calibrators"]["card"]["systems"]["dice"]["served"]["mean"]["value"]
    ranking = {"clean": found["ranking"]["clean"], **found["ranking"]["shifts"]}
    dice = {"clean": clean} | {name: shift["dice"] for name, shift in found["shifts"].items()}
    scores = list(ranking["clean"])
    spearman = {
        name: (dice[name], {s: figures[s]["dice"]["spearman"] for s in scores})
        for name, figures in ranking.items()
    }
    ordered = {
        s: sum(is_ordered(figures[s], s) for name, (_, figures) in spearman.items() if name != "clean")
        for s in scores
    }
    subjects = ranking["clean"]["entropy"]["dice"]["spearman"]["subjects"]
    return [
        f"## The shipped model on *test*, {found['scans']} scans of {subjects} subjects\n",
        "Opened once for the release; no choice rests on it. The last row counts the shifts in which a",
        "score orders the scans, that is, whose interval lies on its right side of 0.",
        f"`{found['command']}`, protocol `{found['protocol'][:16]}`.\n",
        *pooled_pairs_note(scores),
        *table(scores, spearman),
        row(f"**ordered, of {len(ranking) - 1} shifts**", "", *(str(ordered[s]) for s in scores)),
        "",
    ]


def is_ordered(found: dict[str, Any], score: str) -> bool:
    """Whether the interval of a correlation lies on the right side of 0."""
    if found["value"] is None or found["low"] is None:
        return False
    return bool(found["low"] > 0 if score in CONFIDENCES else found["high"] < 0)


def table(scores: list[str], conditions: dict[str, tuple[float | None, dict[str, Any]]]) -> list[str]:
    """One row per condition."""
    return [
        row("condition", "Dice", *(f"{s} (+)" if s in CONFIDENCES else s for s in scores)),
        f"|---|---|{'---|' * len(scores)}",
        *(
            row(name, "" if dice is None else f"{dice:.3f}", *(cell(found[s]) for s in scores))
            for name, (dice, found) in conditions.items()
        ),
    ]


def cell(found: dict[str, Any]) -> str:
    """A correlation with its interval; a dash where it is not defined."""
    return interval(found, 2)


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check((PAGE, page()))


if __name__ == "__main__":
    sys.exit(main())
