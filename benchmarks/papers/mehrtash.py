"""What Mehrtash et al. 2020 found, measured again: losses, ensembles, MC dropout, quality and unlike scans.

    python benchmarks/papers/mehrtash.py

Settings stand in mehrtash.json, written before the first figure but for what is called added; members that
are in <runs> are never trained again, and what was measured of a scan is kept there. Parts: hippocampus
(held-out scans of *train*, by fold), dropout (passes of one member on the same scans), heart (trained on
*train*, calibrated on *val*, judged once on *test*), shifts (quality and unlike scans under the shift suite).
Each replaces its part of <out>/mehrtash.json; `mehrtash_page.py` makes the page.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import heart
import numpy as np
from mehrtash_shifts import Shifts, shift_figures

from segtrust.errors import SegtrustError
from segtrust.evaluate.cases import CaseRecord
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.evaluate.shifts import SHIFT_SUITE
from segtrust.experiments.arm_comparison import ArmComparison, GroupedScan
from segtrust.experiments.arm_figures import entropy_correlations, relative_cut, system_intervals
from segtrust.experiments.arms import Arm
from segtrust.experiments.crossfit import CALIBRATOR, system_name
from segtrust.experiments.findings import system_figures
from segtrust.experiments.folds import Cell, Experiment, Folds, read_experiments
from segtrust.inference.scan import read_labels
from segtrust.metrics.bootstrap import cluster_bootstrap
from segtrust.regions import bounding_box
from segtrust.training.cache import MemberRun, train_members
from segtrust.training.cases import LabelledFiles, cases_in

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent
PLAN = HERE / "mehrtash.json"
FITTED_BY = "decisions 0013 and 0015"
"""What says how T(d) is fitted; kept with figures, so that the page can tell older ones."""


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


def fold_members(
    experiment: Experiment, folds: Folds, runs: Path, *, count: int | None = None, cells: Sequence[str] = ()
) -> dict[str, dict[str, tuple[Path, ...]]]:
    """Members that never saw a fold; trains those that are not there.

    Args:
        experiment: names cells, folds and members.
        folds: of the protocol.
        runs: folder with members.
        count: members per fold; all of the experiment unless given.
        cells: names of the cells that are wanted; all unless given.

    Returns:
        Cell -> fold -> weights.
    """
    number = count or experiment.members
    chosen = [cell for cell in experiment.cells if not cells or cell.name in cells]
    todo = [(c, f, run) for f in experiment.folds for c in chosen for run in c.runs(folds, f, number)]
    weights = train_members([run for _, _, run in todo], runs / "members", say=say)
    found: dict[str, dict[str, tuple[Path, ...]]] = {cell.name: {} for cell in chosen}
    for (cell, fold, _), path in zip(todo, weights, strict=True):
        found[cell.name][str(fold)] = (*found[cell.name].get(str(fold), ()), path)
    return found


def folds_of(args: argparse.Namespace) -> tuple[Protocol, Folds]:
    """The protocol and its folds; data that are not those of the protocol are refused."""
    protocol = Protocol.read(BENCHMARKS / "protocol.json")
    check_data(protocol, args.data)
    return protocol, Folds.read(args.data, protocol)


def fold_scans(folds: Folds, numbers: Sequence[int]) -> list[GroupedScan]:
    """Held-out scans of some folds."""
    return [
        GroupedScan(files, str(fold))
        for fold in numbers
        for files in cases_in(folds.data, folds.held_out(fold))
    ]


def other_folds(numbers: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Each fold -> the others."""
    return {str(fold): tuple(str(f) for f in numbers if f != fold) for fold in numbers}


def box_share(scans: Sequence[LabelledFiles]) -> dict[str, Any]:
    """Share of the voxels of scans within 10 units of the reference's box, the paper's region."""
    rows = []
    for files in scans:
        labels = read_labels(files.label)[0].numpy()
        rows.append((int(bounding_box(labels > 0, None).sum()), labels.size))
    inside, whole = np.array(rows).T
    return cluster_bootstrap(
        [f.subject for f in scans],
        lambda r: float(inside[list(r)].sum() / whole[list(r)].sum()),
        kind="share",
    ).to_json()


def compared(fit: ArmComparison, groups: Sequence[str], structures: int) -> dict[str, Any]:
    """Figures of a comparison: every system, cuts by more members, correlations of raw systems."""
    records = fit.records()
    cuts: dict[str, Any] = {}
    raw = {}
    for arm in fit.arms:
        one = system_name(arm.name, arm.sizes[0])
        for size in arm.sizes:
            raw[system_name(arm.name, size)] = True
            if size != arm.sizes[0] and arm.kind == "members":
                other = system_name(arm.name, size)
                cuts[other] = {r: relative_cut(records, one, other, r) for r in ("volume", "band")}
    return {
        "scans": len(records),
        "subjects": len({r.subject for r in records}),
        "fitted_by": FITTED_BY,
        "systems": system_intervals(records, fit.systems()),
        "cuts": cuts,
        "correlations": {name: entropy_correlations(records, name, groups, structures) for name in raw},
        "dice_per_structure": {name: mean_dice_of(records, name) for name in raw},
    }


def mean_dice_of(records: Sequence[CaseRecord], name: str) -> list[float]:
    """Mean Dice of each structure."""
    return [float(v) for v in np.nanmean([r.dice[name] for r in records], axis=0)]


def hippocampus(args: argparse.Namespace, plan: dict[str, Any]) -> dict[str, Any]:
    """Cells of the experiment `facts` on held-out scans of *train*."""
    protocol, folds = folds_of(args)
    part, sizes = plan["hippocampus"], tuple(plan["hippocampus"]["sizes"])
    facts = read_experiments(BENCHMARKS / "experiments.json")[part["experiment"]]
    members = fold_members(facts, folds, args.runs)
    spec = {c.name: c.spec for c in facts.cells}
    arms = [Arm(name=n, spec=spec[n], members=m, sizes=sizes) for n, m in members.items()]
    scans = fold_scans(folds, facts.folds)
    fit = ArmComparison(arms, scans, other_folds(facts.folds), (CALIBRATOR,), args.runs, say)
    return {
        "protocol": protocol.hash,
        "box": box_share([s.files for s in scans]),
        "ensembles": compared(fit, [s.group for s in scans], 2),
    }


def dropout(args: argparse.Namespace, plan: dict[str, Any]) -> dict[str, Any]:
    """Passes with dropout beside one and five members without, on the same scans."""
    protocol, folds = folds_of(args)
    part = plan["hippocampus"]["dropout"]
    facts = read_experiments(BENCHMARKS / "experiments.json")[plan["hippocampus"]["experiment"]]
    extra = read_experiments(HERE / "extra_members.json")[part["experiment"]]
    passes = tuple(sorted({part["passes"], part["added_later"]["passes"]}))
    cells = [cell for cell in extra.cells if cell.name in args.dropout]
    plain = fold_members(facts, folds, args.runs, count=5, cells=[f"{c.name}, batch" for c in cells])
    dropped = fold_members(extra, folds, args.runs, cells=[c.name for c in cells])
    arms: list[Arm] = []
    for cell in cells:
        like = next(c for c in facts.cells if c.name == f"{cell.name}, batch")
        arms.append(Arm(name=like.name, spec=like.spec, members=plain[like.name], sizes=(1, 5)))
        own = dropped[cell.name]
        name = f"{cell.name}, dropout"
        arms.append(Arm(name=name, spec=cell.spec, members=own, kind="dropout", sizes=passes))
    scans = fold_scans(folds, facts.folds)
    fit = ArmComparison(arms, scans, other_folds(facts.folds), (CALIBRATOR,), args.runs, say)
    return {
        "protocol": protocol.hash,
        "losses_run": [cell.name for cell in cells],
        "planned": part["passes"],
        **compared(fit, [s.group for s in scans], 2),
        "differences": pass_differences(fit.records(), cells, passes),
    }


def pass_differences(
    records: Sequence[CaseRecord], cells: Sequence[Cell], passes: Sequence[int]
) -> dict[str, Any]:
    """Paired differences of raw figures between most passes and few, one member, and five.

    Args:
        records: of every system.
        cells: losses that were trained with dropout.
        passes: numbers of passes, ascending.

    Returns:
        Cell -> what is held against the most passes -> figure -> most passes less that.
    """
    subjects = [r.subject for r in records]
    found: dict[str, Any] = {}
    for cell in cells:
        most = system_figures(records, system_name(f"{cell.name}, dropout", passes[-1]))
        others = {
            **{f"{n} passes": system_name(f"{cell.name}, dropout", n) for n in passes[:-1]},
            "one member": system_name(f"{cell.name}, batch", 1),
            "five members": system_name(f"{cell.name}, batch", 5),
        }
        found[cell.name] = {
            words: {
                figure: cluster_bootstrap(
                    subjects, lambda rows, a=most[figure], b=other[figure]: a(rows) - b(rows)
                ).to_json()
                for figure in ("dice", "nll_volume", "brier_volume", "ece_volume")
            }
            for words, other in ((w, system_figures(records, name)) for w, name in others.items())
        }
    return found


def heart_part(args: argparse.Namespace, plan: dict[str, Any]) -> dict[str, Any]:
    """Dice and CE on the second organ: calibrators from *val*, figures from *test*."""
    part = plan["heart"]
    folder, spec = heart.prepare(args.heart, args.runs), heart.spec_of()
    train, fitted, judged = (
        heart.cases(folder, r) for r in ("train", part["calibrated_on"], part["judged_on"])
    )
    arms = []
    for loss in args.heart_losses or part["losses"]:
        budget = replace(heart.BUDGET, loss=loss)
        runs = [MemberRun(spec, budget, seed, train, f"heart {loss}") for seed in part["seeds"]]
        weights = tuple(train_members(runs, args.runs / "members", say=say))
        groups = {part["calibrated_on"]: weights, part["judged_on"]: weights}
        arms.append(Arm(name=loss, spec=spec, members=groups, sizes=tuple(part["sizes"])))
    scans = [GroupedScan(f, part["calibrated_on"]) for f in fitted]
    scans += [GroupedScan(f, part["judged_on"]) for f in judged]
    fitted_on = {part["judged_on"]: (part["calibrated_on"],)}
    fit = ArmComparison(arms, scans, fitted_on, (CALIBRATOR,), args.runs, say)
    return {
        "patients": {
            role: len({f.subject for f in heart.cases(folder, role)}) for role in ("train", "val", "test")
        },
        "box": box_share(judged),
        "losses_run": args.heart_losses or part["losses"],
        "ensembles": compared(fit, [part["judged_on"]] * len(judged), 3),
        "budget": {"epochs": heart.BUDGET.epochs, "learning_rate": heart.BUDGET.learning_rate},
    }


def shifts(args: argparse.Namespace, plan: dict[str, Any]) -> dict[str, Any]:
    """Entropy of the segment, quality and unlike scans, clean and under each shift."""
    protocol, folds = folds_of(args)
    part = plan["shifts"]
    facts = read_experiments(BENCHMARKS / "experiments.json")[plan["hippocampus"]["experiment"]]
    cell = next(c for c in facts.cells if c.name == part["cell"])
    members = fold_members(facts, folds, args.runs, count=part["members"], cells=[cell.name])[cell.name]
    measured = Shifts(cell.spec, folds, members, protocol.shift_seed, args.runs / "mehrtash-shifts", say)
    found = {
        "protocol": protocol.hash,
        "cell": part["cell"],
        "members": part["members"],
        **shift_figures(measured, args.strengths, args.kinds),
    }
    path = args.out / "mehrtash.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found | earlier_strengths(before.get("shifts"), args.strengths)


def earlier_strengths(before: dict[str, Any] | None, strengths: Sequence[int]) -> dict[str, Any]:
    """What was measured before of strengths that are not measured now, by itself: methods may have changed.

    Args:
        before: the part of an older result.
        strengths: measured now.

    Returns:
        ``earlier`` with conditions, clean scans and command of then; empty if nothing is left of it.
    """
    if before is None:
        return {}
    older = [before, before["earlier"]] if "earlier" in before else [before]
    for part in older:
        left = {n: c for n, c in part["conditions"].items() if int(n.rpartition("-")[2]) not in strengths}
        if left:
            names = ("clean", "shifted_pooled", "command", "software")
            return {"earlier": {**{name: part[name] for name in names}, "conditions": left}}
    return {}


PARTS = {"hippocampus": hippocampus, "dropout": dropout, "heart": heart_part, "shifts": shifts}


def wanted_parts(names: Sequence[str]) -> Iterator[str]:
    """All parts, or those that were named."""
    yield from (name for name in PARTS if not names or name in names)


def main() -> int:
    """Measure, then write part by part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument(
        "--data", type=Path, default=BENCHMARKS / ".." / ".." / "shared" / "data" / "hippocampus"
    )
    parser.add_argument("--heart", type=Path, default=heart.FOLDER)
    parser.add_argument(
        "--dropout", nargs="*", default=["dice_ce", "dice", "ce"], help="losses with MC dropout"
    )
    parser.add_argument("--heart-losses", nargs="*", default=[], help="default: those of the plan")
    parser.add_argument("--strengths", type=int, nargs="+", default=(1, 2, 3), help="of shifts")
    parser.add_argument(
        "--kinds", nargs="*", choices=tuple(SHIFT_SUITE), default=(), help="of shifts (default: all)"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument(
        "--out", type=Path, default=BENCHMARKS / "results", help="default: benchmarks/results"
    )
    args = parser.parse_args()
    plan = json.loads(PLAN.read_text(encoding="utf-8"))
    args.out.mkdir(parents=True, exist_ok=True)
    options = {
        "hippocampus": "",
        "dropout": f" --dropout {' '.join(args.dropout)}",
        "heart": f" --heart-losses {' '.join(args.heart_losses)}" if args.heart_losses else "",
        "shifts": f" --strengths {' '.join(map(str, args.strengths))}"
        + (f" --kinds {' '.join(args.kinds)}" if args.kinds else ""),
    }
    for name in wanted_parts(args.parts):
        try:
            found = PARTS[name](args, plan)
        except SegtrustError as error:
            print(f"mehrtash: {error}", file=sys.stderr)
            return 1
        path = args.out / "mehrtash.json"
        document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        document[name] = {
            "plan": hashlib.sha256(PLAN.read_bytes()).hexdigest(),
            "command": f"python benchmarks/papers/mehrtash.py {name}{options[name]}",
            "software": software_versions(),
            **found,
        }
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        say(f"wrote {name} into {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
