"""Writes docs/reference/simulation.md of what run_simulation.py replayed; `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import interval, table, write_or_check
from segtrust.report import strategy_name
from segtrust.simulate import BASELINE

__all__ = ["CONTENT", "PAGE", "findings", "page", "results"]

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "reference" / "simulation.md"
CONTENT: dict[str, Any] = json.loads((HERE / "simulation.json").read_text(encoding="utf-8"))

Result = dict[str, Any]


def page(content: dict[str, Any], found: dict[str, Result]) -> str:
    """The page.

    Args:
        content: of simulation.json.
        found: arm -> result, of those that were run.

    Returns:
        Markdown.
    """
    primary = content["endpoints"]["primary"]
    missing = [f"`{arm}`" for arm in content["arms"] if arm not in found]
    return (
        "# Active learning, replayed\n\nMade by `python benchmarks/run_simulation.py`; endpoints, networks "
        "and budgets were fixed in `benchmarks/simulation.json` before the first run.\n\n"
        f"{content['about']}\n\n"
        f"Primary endpoint, in the arm `{primary['arm']}`: {primary['figure']}; {primary['difference']}; "
        f"{primary['interval']}. Success: {primary['success']}. Everything else is secondary.\n\n"
        "`MONAI Label's epistemic` is the score of MONAI Label 0.8.5 computed again (total entropy over "
        "the whole volume, network in training mode, 5 passes through one member) with its order, largest "
        "first.\n"
        + (f"\nNot run yet: {', '.join(missing)}.\n" if missing else "")
        + "".join(_arm(name, result, primary=name == primary["arm"]) for name, result in found.items())
    )


def results(out: Path) -> dict[str, Result]:
    """Arm -> result, of those that were run, in the order of simulation.json."""
    paths = {name: out / f"simulation-{name}.json" for name in CONTENT["arms"]}
    return {name: json.loads(p.read_text(encoding="utf-8")) for name, p in paths.items() if p.is_file()}


def findings(result: Result, *, primary: bool = False) -> str:
    """What the intervals of the areas say, the negative too; in the primary arm also whether it succeeded."""
    sides: dict[str, list[str]] = {"better": [], "neither": [], "worse": []}
    for key, strategy in result["strategies"].items():
        if key == BASELINE:
            continue
        low, high = (strategy["area_less_baseline"][limit] for limit in ("low", "high"))
        if low is None or high is None:  # too few subjects for an interval
            sides["neither"].append(strategy_name(key))
            continue
        sides["better" if low > 0 else "worse" if high < 0 else "neither"].append(strategy_name(key))
    words = {"better": "Better than", "neither": "Not shown to differ from", "worse": "Worse than"}
    said = [
        f"{words[side]} {BASELINE} by area: {', '.join(names)}." for side, names in sides.items() if names
    ]
    if primary:
        said.insert(0, f"Primary endpoint: {'met' if sides['better'] else 'not met'}.")
    return f"**{' '.join(said)}**"


def _arm(name: str, result: Result, *, primary: bool) -> str:
    least = result["strategies"][BASELINE]["stop"]["least_gain"]
    effort, last = result["plan"]["effort"], result["strategies"][BASELINE]["rounds"][-1]
    room = result["whole_pool"]["value"] - last["dice"]["value"]
    return (
        f"\n## {result['title']}\n\n`{result['command']}`\n\n{_setting(result)}\n\n"
        f"{findings(result, primary=primary)}\n\n"
        f"![Learning curves](../images/simulation-{name}.png)\n\n{_table(_areas(result))}\n"
        "95 % intervals over seeds and subjects. With every label of the pool and the same training: Dice "
        f"{_shown(result['whole_pool'])}, {room:+.4f} against the last round of {BASELINE}: so "
        "much room there is at that budget. Advice: stop after the first round whose gain is surely below "
        f"{least:g} Dice.\n\n{_table(_costs(result))}\nAfter the last round, mean over seeds. Minutes "
        f"are assumed, not measured: {effort['scan']:g} per scan and {effort['slice']:g} per slice with "
        "foreground. "
        "ECE (15 bins) and NLL (nats per voxel) of the uncalibrated mean, in the band.\n\n"
        f"{_table(_penalties(result))}\nShare of the budgets at which a paired t-test over seeds (two-sided, "
        "0.05, not corrected) favours the row.\n\n"
        f"Software: {', '.join(f'{k} {v}' for k, v in result['software'].items())}.\n"
    )


def _setting(result: Result) -> str:
    plan, pool, judged = result["plan"], result["pool"], result["evaluation"]
    junk = "".join(f", {count} {kind}" for kind, count in pool["junk"].items())
    seeds, planned = len(plan["seeds"]), result["planned_seeds"]
    interim = f" **Interim: {seeds} of {planned} planned seeds.**" if seeds < planned else ""
    warm = "later rounds go on from the members before; " if plan["warm"] else ""
    return (
        f"Pool: {pool['scans']} scans of {pool['subjects']} subjects{junk}. Judged on "
        f"{judged['scans']} scans of {judged['subjects']} other subjects. "
        f"{seeds} seeds, {len(plan['members'])} members; {warm}scans "
        f"opened: {', '.join(map(str, plan['counts']))}.{interim}"
    )


def _areas(result: Result) -> list[list[str]]:
    counts = result["plan"]["counts"]
    rows = [
        [
            "strategy",
            f"area, {counts[0]} to {counts[-1]} scans",
            f"less {BASELINE}",
            "final Dice",
            f"scans to reach {BASELINE}'s final Dice",
            "foreground efficiency",
            "advice",
        ]
    ]
    for key, found in result["strategies"].items():
        reached, efficiency, stop = (
            found["scans_to_reach_baseline"],
            found["efficiency"],
            found["stop"]["opened"],
        )
        rows.append(
            [
                strategy_name(key),
                _shown(found["area"]),
                "" if key == BASELINE else _shown(found["area_less_baseline"], "+"),
                _shown(found["rounds"][-1]["dice"]),
                "not reached" if reached is None else f"{reached:.1f}",
                "not defined" if efficiency is None else f"{efficiency:.2f}",
                "go on" if stop is None else f"stop after {stop}",
            ]
        )
    return rows


def _costs(result: Result) -> list[list[str]]:
    kinds = list(result["pool"]["junk"])
    head = ["strategy", "labelled", "slices", "foreground voxels", "minutes", "ECE, first to last round"]
    rows = [[*head, "NLL, first to last round", *(f"{kind} opened" for kind in kinds)]]
    for key, found in result["strategies"].items():
        last = found["rounds"][-1]
        first, band = (found["rounds"][k]["calibration"]["band"] for k in (0, -1))
        rows.append(
            [
                strategy_name(key),
                f"{last['labelled']:.1f}",
                *(f"{last['cost'][cost]:.0f}" for cost in ("slices", "foreground_voxels", "minutes")),
                *(f"{first[figure]:.4f} to {band[figure]:.4f}" for figure in ("ece", "nll")),
                *(f"{last['junk'][kind]:.1f}" for kind in kinds),
            ]
        )
    return rows


def _penalties(result: Result) -> list[list[str]]:
    names, shares = list(result["strategies"]), result["penalties"]
    return [
        ["row beats column", *map(strategy_name, names)],
        *([strategy_name(a), *(f"{shares[a][b]:.2f}" if a != b else "" for b in names)] for a in names),
    ]


def _shown(figure: dict[str, float], sign: str = "") -> str:
    return interval(figure, 4, sign=bool(sign))


def _table(rows: list[list[str]]) -> str:
    return "\n".join(table(rows[0], rows[1:]))


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check((PAGE, page(CONTENT, results(HERE / "results"))))


if __name__ == "__main__":
    sys.exit(main())
