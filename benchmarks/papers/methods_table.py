"""Losses x sources of samples x calibrators on the same held-out scans of *train*, with their cost.

    python benchmarks/papers/methods_table.py

Settings stand in methods_table.json, written before the first cell was computed. Members that are in <runs>
are never trained again; writes <out>/methods-table.json, of which `methods_table_page.py` makes the page.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mehrtash import BENCHMARKS, fold_members, fold_scans, other_folds, say

from segtrust.errors import SegtrustError
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.experiments.arm_comparison import ArmComparison, GroupedScan
from segtrust.experiments.arm_figures import corrected_differences, system_intervals
from segtrust.experiments.arms import Arm
from segtrust.experiments.crossfit import system_name
from segtrust.experiments.folds import Cell, Folds, read_experiments
from segtrust.training.cases import load_cases
from segtrust.training.loop import train_member

HERE = Path(__file__).parent
PLAN = HERE / "methods_table.json"
SHOWN = ("dice", "nll_band", "nll_outside", "nll_volume", "brier_band", "ece_band", "ece_volume")
COMPARED = ("nll_band", "dice")


def arms_of(
    plan: dict[str, Any], folds: Folds, runs: Path, dropout: Sequence[str], stochastic: Sequence[str]
) -> dict[str, Arm]:
    """``loss | source`` -> arm; trains members that are not there.

    Args:
        plan: content of methods_table.json.
        folds: of the protocol.
        runs: folder with members.
        dropout: losses whose MC dropout is run.
        stochastic: losses whose stochastic head is run.

    Returns:
        Arms.
    """
    main = read_experiments(BENCHMARKS / "experiments.json")[plan["experiment"]]
    extra = read_experiments(HERE / "extra_members.json")
    found: dict[str, Arm] = {}
    axes = tuple(plan["axes"])
    members = fold_members(main, folds, runs)
    for cell in main.cells:
        own = {"spec": cell.spec, "members": members[cell.name]}
        for source, changes in (
            ("single", {}),
            ("ensemble", {"sizes": (main.members,)}),
            ("TTA", {"kind": "views", "sizes": (2 ** len(axes),), "axes": axes}),
        ):
            name = f"{cell.name} | {source}"
            found[name] = Arm(name=name, **own, **changes)
    for source, kind, size, wanted in (
        ("MC dropout", "dropout", plan["passes"], dropout),
        ("stochastic", "draws", plan["draws"], stochastic),
    ):
        experiment = extra[plan["dropout" if kind == "dropout" else "stochastic"]["experiment"]]
        members = fold_members(experiment, folds, runs, cells=wanted) if wanted else {}
        for cell in experiment.cells:
            if cell.name in members:
                name, own = f"{cell.name} | {source}", members[cell.name]
                found[name] = Arm(name=name, spec=cell.spec, members=own, kind=kind, sizes=(size,))
    return found


def training_seconds(
    arm: Arm, cell_of: dict[str, Cell], data: Path, scans: Sequence[str], patches: int
) -> float:
    """Processor time of one member's training: so many patches of an epoch are timed, the rest multiplied."""
    budget = cell_of[arm.name].budget
    cases = load_cases(data, scans[:patches], arm.spec)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        train_member(arm.spec, cases, replace(budget, epochs=1, patches=patches), seed=0, folder=Path(folder))
        return (time.process_time() - began) / patches * len(scans) * budget.epochs


def prediction_seconds(arm: Arm, scans: Sequence[GroupedScan], fit: ArmComparison) -> float:
    """Processor time per scan from prepared image to mean probabilities, nothing kept from before."""
    spent = 0.0
    for scan in scans:
        _, _, prepared = fit.opened(scan)
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            arm.means(prepared, scan.group, Path(folder))
            spent += time.process_time() - began
    return spent / len(scans)


def cost(plan: dict[str, Any], arms: dict[str, Arm], fit: ArmComparison, folds: Folds) -> dict[str, Any]:
    """Seconds of training per member, and of prediction per scan for every source with the base's loss."""
    main = read_experiments(BENCHMARKS / "experiments.json")[plan["experiment"]]
    extra = read_experiments(HERE / "extra_members.json")
    cell_of = {f"{c.name} | single": c for c in main.cells}
    cell_of |= {f"{c.name} | MC dropout": c for c in extra[plan["dropout"]["experiment"]].cells}
    cell_of |= {f"{c.name} | stochastic": c for c in extra[plan["stochastic"]["experiment"]].cells}
    scans = folds.inside(0)
    training, prediction = {}, {}
    for name, arm in arms.items():
        loss, source = name.split(" | ")
        if name in cell_of:
            training[name] = training_seconds(arm, cell_of, folds.data, scans, plan["cost"]["patches"])
            say(f"{name}: {training[name]:.0f} s of training")
        if loss == plan["base"][0]:
            prediction[source] = prediction_seconds(arm, fit.scans[: plan["cost"]["scans"]], fit)
    return {"training": training, "prediction": prediction, "members": main.members}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that the file holds."""
    plan = json.loads(PLAN.read_text(encoding="utf-8"))
    protocol = Protocol.read(BENCHMARKS / "protocol.json")
    check_data(protocol, args.data)
    folds = Folds.read(args.data, protocol)
    numbers = read_experiments(BENCHMARKS / "experiments.json")[plan["experiment"]].folds
    arms = arms_of(plan, folds, args.runs, args.dropout, args.stochastic)
    fit = ArmComparison(
        list(arms.values()),
        fold_scans(folds, numbers),
        other_folds(numbers),
        tuple(plan["calibrators"]),
        args.runs,
        say,
        share=1 / 16,
    )
    records = fit.records()
    loss, source, kind = plan["base"]
    sizes = {name: arm.sizes[0] for name, arm in arms.items()}
    base = system_name(f"{loss} | {source}", sizes[f"{loss} | {source}"], kind)
    return {
        "protocol": protocol.hash,
        "plan": hashlib.sha256(PLAN.read_bytes()).hexdigest(),
        "command": " ".join(
            [
                "python benchmarks/papers/methods_table.py",
                *("--dropout", *args.dropout),
                *("--stochastic", *args.stochastic),
            ]
        ),
        "software": software_versions(),
        "scans": len(records),
        "subjects": len({r.subject for r in records}),
        "base": base,
        "sizes": sizes,
        "systems": system_intervals(records, fit.systems(), SHOWN),
        "differences": corrected_differences(records, fit.systems(), base, COMPARED),
        "cost": cost(plan, arms, fit, folds),
    }


def main() -> int:
    """Measure, then write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=BENCHMARKS / ".." / ".." / "shared" / "data" / "hippocampus"
    )
    parser.add_argument(
        "--dropout", nargs="*", default=["dice_ce", "dice", "ce"], help="losses with MC dropout"
    )
    parser.add_argument("--stochastic", nargs="*", default=["dice_ce"], help="losses with a stochastic head")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument(
        "--out", type=Path, default=BENCHMARKS / "results", help="default: benchmarks/results"
    )
    args = parser.parse_args()
    try:
        document = run(args)
    except SegtrustError as error:
        print(f"methods_table: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "methods-table.json"
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    say(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
