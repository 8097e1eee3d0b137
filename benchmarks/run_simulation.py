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
from simulation_page import CONTENT, PAGE, findings, page, results

from segtrust.errors import SegtrustError
from segtrust.experiments.pages import write_or_check
from segtrust.report import strategy_name, write_simulation_page
from segtrust.report.palette import LINE_COLOURS
from segtrust.selection import uniform_order
from segtrust.simulate import (
    BASELINE,
    ReplayFolder,
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
    parser.add_argument("--seeds", type=int, help="only so many of the planned seeds: an interim result")
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
    return write_or_check((PAGE, page(CONTENT, results(args.out))))


def run_arm(name: str, args: argparse.Namespace) -> None:
    """Replay an arm and write its result."""
    arm, work = settings(name), (args.work / name).resolve()
    folder = scans_of(arm, args.data.resolve(), work)
    found = plan_of(arm)
    found = replace(found, seeds=found.seeds[: args.seeds])
    replays = run_simulation(found, folder, work / "work", workers=args.workers, say=say)
    result = {
        "simulation": CONTENT["name"],
        "arm": name,
        "title": arm["title"],
        "planned_seeds": len(arm["seeds"]),
        "command": f"python benchmarks/run_simulation.py {name}",
        **summarise_simulation(found, folder, replays),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"simulation-{name}.json"
    path.write_text(json.dumps(result, allow_nan=False) + "\n", encoding="utf-8")
    write_simulation_page(result, work / f"{name}.html", title=arm["title"], data=arm["data"])
    say(f"wrote {path}: {findings(result)}")


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


def scans_of(arm: dict[str, Any], data: Path, work: Path) -> ReplayFolder:
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
    return make_realistic(clean, work / "pool", corrupted=arm["corrupted"], siblings=arm["siblings"], seed=0)


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
        for part, values in (
            ("images", scan.data[0].numpy()),
            ("labels", agreed[..., None].astype(np.uint8)),
        ):
            nib.save(nib.Nifti1Image(values, scan.affine), folder / part / f"{name}.nii.gz")
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = [(name, str(slices.patients[names[name]])) for name in chosen]
        csv.writer(file).writerows([("case", "subject"), *rows])


def draw(result: dict[str, Any], path: Path) -> None:
    """Learning curves against scans and minutes, and the difference of the areas to the baseline's."""
    mpl.use("agg")
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    others = []
    for number, (name, strategy) in enumerate(sorted(result["strategies"].items())):
        rounds, look = strategy["rounds"], {"color": LINE_COLOURS[number], "label": strategy_name(name)}
        dice = [found["dice"]["value"] for found in rounds]
        for axis, cost in zip(axes, ("scans", "minutes"), strict=False):
            axis.plot([found["cost"][cost] for found in rounds], dice, "o-", markersize=4, **look)
        if name == BASELINE:
            opened = [found["cost"]["scans"] for found in rounds]
            low, high = (
                np.array([found["dice"][limit] for found in rounds], np.float64) for limit in ("low", "high")
            )
            axes[0].fill_between(opened, low, high, color=LINE_COLOURS[number], alpha=0.12, linewidth=0)
            continue
        less = strategy["area_less_baseline"]
        reach = None
        if less["low"] is not None:
            reach = [[less["value"] - less["low"]], [less["high"] - less["value"]]]
        axes[2].errorbar([less["value"]], [-len(others)], xerr=reach, fmt="o", capsize=3, **look)
        others.append(strategy_name(name))
    axes[0].set(xlabel="scans opened", ylabel="mean Dice", title=f"shaded: 95 % interval of {BASELINE}")
    axes[1].set(xlabel="minutes of labelling, estimated", ylabel="mean Dice")
    axes[2].axvline(0, color="0.6", linewidth=1)
    axes[2].set(xlabel=f"area less {BASELINE}'s, Dice", title="95 % intervals, paired")
    axes[2].set_yticks([-place for place in range(len(others))], others)
    axes[2].margins(y=0.3)
    axes[2].locator_params(axis="x", nbins=5)
    axes[0].legend(frameon=False, loc="lower right")
    figure.suptitle(result["title"], fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
