"""Replays active learning on scans that are labelled: the three arms of benchmarks/simulation.json.

    python benchmarks/run_simulation.py hippocampus --work runs/simulate
    python benchmarks/run_simulation.py --page

All scans are of the split train; a run that was stopped goes on in --work. Writes
<out>/simulation-<arm>.json and .html in --work, the pictures docs/images/simulation-<arm>.png, and the page
docs/reference/simulation.md from all results that are there.
"""

import argparse
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
from matplotlib import pyplot as plt
from papers.lung_nodules import Slices, scan_of
from papers.lung_nodules import spec_of as nodule_spec

from segtrust.errors import SegtrustError
from segtrust.report import strategy_name, write_simulation_page
from segtrust.report.chart import COLOURS
from segtrust.selection import uniform_order
from segtrust.simulate import (
    BASELINE,
    LabelledFolder,
    SimulationPlan,
    divide_folder,
    make_realistic,
    run_simulation,
    scans_in,
    summarise_simulation,
)
from segtrust.training.cases import read_splits
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PAGE = DOCS / "reference" / "simulation.md"
CONTENT: dict[str, Any] = json.loads((HERE / "simulation.json").read_text(encoding="utf-8"))


def main() -> int:
    """Run an arm, or only write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arm", nargs="?", choices=list(CONTENT["arms"]))
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path("runs") / "simulate", help="default: runs/simulate")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    parser.add_argument("--workers", type=int, default=1, help="replays at the same time (default: 1)")
    parser.add_argument("--page", action="store_true", help="only the page and its pictures")
    args = parser.parse_args()
    if not args.page:
        if args.arm is None:
            parser.error("name an arm, or --page")
        try:
            run_arm(args.arm, args)
        except SegtrustError as error:
            print(f"run_simulation: {error}", file=sys.stderr)
            return 1
    for name, result in results(args.out).items():
        draw(result, DOCS / "images" / f"simulation-{name}.png")
    PAGE.write_text(page(results(args.out)), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


def run_arm(name: str, args: argparse.Namespace) -> None:
    """Replay an arm and write its result."""
    arm, work = settings(name), (args.work / name).resolve()
    folder = scans_of(arm, args.data.resolve(), work)
    found = plan_of(arm)
    replays = run_simulation(found, folder, work / "work", workers=args.workers, say=say)
    result = {
        "simulation": CONTENT["name"],
        "arm": name,
        "title": arm["title"],
        "command": f"python benchmarks/run_simulation.py {name}",
        **summarise_simulation(found, folder, replays),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"simulation-{name}.json"
    path.write_text(json.dumps(result, allow_nan=False) + "\n", encoding="utf-8")
    write_simulation_page(result, work / f"{name}.html", title=arm["title"], data=arm["data"])
    say(f"wrote {path}")


def settings(name: str) -> dict[str, Any]:
    """An arm with what it takes over from another."""
    arm = CONTENT["arms"][name]
    return {**CONTENT["arms"][arm["like"]], **arm} if "like" in arm else arm


def plan_of(arm: dict[str, Any]) -> SimulationPlan:
    """What an arm replays."""
    change = dict(arm["spec"])
    if arm["data"] == "lung_nodules":
        spec = nodule_spec("lung-nodules", dropout=0.1, members=change["members"])
    else:
        change |= {"patch": tuple(change["patch"]), "spacing": tuple(change["spacing"])}
        spec = replace(Recipe.read(arm["data"]).spec, **change)
    budget, warm = (
        Budget(**{**arm[key], "flip_axes": tuple(arm[key]["flip_axes"])}) for key in ("budget", "warm")
    )
    return SimulationPlan(
        recipe=Recipe(spec, budget, tuple(range(spec.members))),
        warm=warm,
        strategies=tuple(arm["strategies"]),
        seeds=tuple(arm["seeds"]),
        counts=tuple(arm["counts"]),
    )


def scans_of(arm: dict[str, Any], data: Path, work: Path) -> LabelledFolder:
    """The scans of an arm, all of the split train."""
    if arm["data"] == "lung_nodules":
        folder = work / "slices"
        write_slices(data / arm["data"], folder, arm)
        scans = scans_in(folder)
    else:
        folder = data / arm["data"]
        scans = read_splits(folder)["train"]
    clean = divide_folder(folder, scans, share=arm["evaluation"], key=arm["key"])
    if "corrupted" not in arm:
        return clean
    return make_realistic(
        clean, work / "pool", corrupted=arm["corrupted"], siblings=arm["siblings"], seed=0
    )


def write_slices(source: Path, folder: Path, arm: dict[str, Any]) -> None:
    """Write slices drawn from the role train as files of one slice, once."""
    table = folder / "subjects.csv"
    if table.is_file():
        return
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    slices = Slices.read("train", source)
    names = {f"slice-{i:04d}": i for i in range(len(slices.images))}
    chosen = sorted(uniform_order(names, arm["draw"])[: arm["slices"]])
    for name in chosen:
        scan = scan_of(slices.images[names[name]])
        agreed = slices.masks[names[name]].sum(axis=0) >= arm["raters"]
        for part, values in (("images", scan.data[0].numpy()), ("labels", agreed[..., None].astype(np.uint8))):
            nib.save(nib.Nifti1Image(values, scan.affine), folder / part / f"{name}.nii.gz")
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = [(name, str(slices.patients[names[name]])) for name in chosen]
        csv.writer(file).writerows([("case", "subject"), *rows])


def results(out: Path) -> dict[str, dict[str, Any]]:
    """Arm -> result, of those that were run, in the order of simulation.json."""
    paths = {name: out / f"simulation-{name}.json" for name in CONTENT["arms"]}
    return {name: json.loads(p.read_text(encoding="utf-8")) for name, p in paths.items() if p.is_file()}


def draw(result: dict[str, Any], path: Path) -> None:
    """Learning curves with intervals, against scans and against estimated minutes."""
    mpl.use("agg")
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for number, (name, strategy) in enumerate(sorted(result["strategies"].items())):
        colour, rounds = COLOURS[number], strategy["rounds"]
        dice = [found["dice"]["value"] for found in rounds]
        for axis, cost in zip(axes, ("scans", "minutes"), strict=True):
            x = [found["cost"][cost] for found in rounds]
            axis.plot(x, dice, "o-", color=colour, markersize=4, label=strategy_name(name))
        opened = [found["cost"]["scans"] for found in rounds]
        low, high = ([found["dice"][limit] for found in rounds] for limit in ("low", "high"))
        axes[0].fill_between(opened, low, high, color=colour, alpha=0.08, linewidth=0)
    axes[0].set(xlabel="scans opened", ylabel="mean Dice")
    axes[1].set(xlabel="minutes of labelling, estimated")
    axes[0].legend(frameon=False)
    figure.suptitle(result["title"], fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def page(found: dict[str, dict[str, Any]]) -> str:
    """The page of docs/reference, from what was measured so far."""
    primary = CONTENT["endpoints"]["primary"]
    text = (
        "# Active learning, replayed\n\nMade by `python benchmarks/run_simulation.py`; endpoints, networks and "
        "budgets were fixed in `benchmarks/simulation.json` before the first run.\n\n"
        f"{CONTENT['about']}\n\n"
        f"Primary endpoint, in the arm `{primary['arm']}`: {primary['figure']}; {primary['difference']}; "
        f"{primary['interval']}. Success: {primary['success']}. Everything else is secondary.\n\n"
        "`MONAI Label's epistemic` is the score of MONAI Label 0.8.5 computed again (total entropy over the whole "
        "volume, network in training mode, 5 passes through one member) with its order, largest first.\n"
    )
    return text + "".join(_arm_text(name, result) for name, result in found.items())


def _arm_text(name: str, result: dict[str, Any]) -> str:
    plan, pool, judged = result["plan"], result["pool"], result["evaluation"]
    junk = "".join(f", {count} of them {kind}" for kind, count in pool["junk"].items())
    first, last = plan["counts"][0], plan["counts"][-1]
    areas = [["strategy", f"area, {first} to {last} scans", f"less {BASELINE}", "final Dice",
              f"scans to reach {BASELINE}'s final Dice", "foreground efficiency", "advice"]]  # fmt: skip
    for key, strategy in result["strategies"].items():
        advice = strategy["stop"]["opened"]
        areas.append([
            strategy_name(key),
            _shown(strategy["area"]),
            "" if key == BASELINE else _shown(strategy["area_less_baseline"], "+"),
            _shown(strategy["rounds"][-1]["dice"]),
            _or_dash(strategy["scans_to_reach_baseline"], ".1f", "not reached"),
            _or_dash(strategy["efficiency"], ".2f", "not defined"),
            "go on" if advice is None else f"stop after {advice}",
        ])  # fmt: skip
    costs = [["strategy", "labelled", "slices", "foreground voxels", "minutes", "ECE band, first to last",
              "NLL band, first to last", *(f"{kind} opened" for kind in pool["junk"])]]  # fmt: skip
    for key, strategy in result["strategies"].items():
        start, end = strategy["rounds"][0], strategy["rounds"][-1]
        band = [r["calibration"]["band"] for r in (start, end)]
        costs.append([
            strategy_name(key),
            f"{end['labelled']:.1f}",
            *(f"{end['cost'][k]:.0f}" for k in ("slices", "foreground_voxels", "minutes")),
            f"{band[0]['ece']:.4f} to {band[1]['ece']:.4f}",
            f"{band[0]['nll']:.4f} to {band[1]['nll']:.4f}",
            *(f"{end['junk'][kind]:.1f}" for kind in pool["junk"]),
        ])  # fmt: skip
    penalties = [["row beats column", *map(strategy_name, result["strategies"])]]
    for row in result["strategies"]:
        shares = [f"{result['penalties'][row][c]:.2f}" if c != row else "" for c in result["strategies"]]
        penalties.append([strategy_name(row), *shares])
    return (
        f"\n## {result['title']}\n\n`{result['command']}`\n\n"
        f"Pool: {pool['scans']} scans of {pool['subjects']} subjects{junk}. Judged on {judged['scans']} scans of "
        f"{judged['subjects']} other subjects. {len(plan['seeds'])} seeds, {len(plan['members'])} members, "
        f"{'later rounds go on from the members before. ' if plan['warm'] else ''}Scans opened: "
        f"{', '.join(map(str, plan['counts']))}.\n\n{_findings(result)}\n\n"
        f"![Learning curves](../images/simulation-{name}.png)\n\n"
        f"{_table(areas)}\n95 % intervals over seeds and subjects. With every label of the pool and the same "
        f"training: Dice {_shown(result['whole_pool'])}. Advice: stop after the first round whose gain is surely "
        f"below {result['strategies'][BASELINE]['stop']['least_gain']:g} Dice.\n\n"
        f"{_table(costs)}\nAfter the last round, mean over seeds. Minutes are assumed, not measured: "
        f"{plan['effort']['scan']:g} per scan and {plan['effort']['slice']:g} per slice with foreground. ECE (15 "
        "bins) and NLL (nats) of the uncalibrated mean.\n\n"
        f"{_table(penalties)}\nShare of the budgets at which a paired t-test over seeds (two-sided, 0.05, not "
        f"corrected) favours the row.\n\nSoftware: "
        f"{', '.join(f'{k} {v}' for k, v in result['software'].items())}.\n"
    )


def _findings(result: dict[str, Any]) -> str:
    """What the intervals say, the negative too."""
    sides: dict[str, list[str]] = {"better": [], "worse": [], "neither": []}
    for key, strategy in result["strategies"].items():
        if key != BASELINE:
            low, high = (strategy["area_less_baseline"][limit] for limit in ("low", "high"))
            side = "better" if low > 0 else "worse" if high < 0 else "neither"
            sides[side].append(strategy_name(key))
    said = []
    if sides["better"]:
        said.append(f"Better than {BASELINE} by area: {', '.join(sides['better'])}.")
    if sides["neither"]:
        said.append(f"Not shown to differ from {BASELINE} by area: {', '.join(sides['neither'])}.")
    if sides["worse"]:
        said.append(f"Worse than {BASELINE} by area: {', '.join(sides['worse'])}.")
    return f"**{' '.join(said)}**"


def _shown(figure: dict[str, Any], sign: str = "") -> str:
    return "{value:{s}.4f} ({low:{s}.4f} to {high:{s}.4f})".format(s=sign, **figure)


def _or_dash(value: float | None, form: str, otherwise: str) -> str:
    return otherwise if value is None else format(value, form)


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
