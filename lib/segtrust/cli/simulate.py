"""`segtrust simulate`: would active learning have paid on scans that are labelled already?"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from segtrust._files import replace_text
from segtrust.cli.failures import Failures
from segtrust.errors import SettingError
from segtrust.models import ModelSpec
from segtrust.report import write_simulation_page
from segtrust.selection import STRATEGIES
from segtrust.simulate import (
    BASELINE,
    MONAI_LABEL,
    Effort,
    ReplayFolder,
    SimulationPlan,
    divide_folder,
    make_realistic,
    run_simulation,
    scans_in,
    summarise_simulation,
)
from segtrust.training.cases import cases_in, read_pair, read_splits
from segtrust.training.run import Recipe

__all__ = ["add_arguments", "run"]

_COUNTS = "10,17,25,32,40"
_STRATEGIES = "entropy,clasp,uniform"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust simulate`."""
    parser.add_argument("recipe", help="a recipe that comes with segtrust, or a JSON file: what is trained")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with images, labels and subjects.csv"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="keeps everything; a run goes on there"
    )
    parser.add_argument("--split", help="only scans of this list of splits.json (default: all scans)")
    strategies = ", ".join((*STRATEGIES, MONAI_LABEL))
    parser.add_argument(
        "--strategies",
        default=_STRATEGIES,
        help=f"of {strategies}; {BASELINE} is always run (default: {_STRATEGIES})",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="repeats (default: 3)")
    parser.add_argument(
        "--counts", default=_COUNTS, help=f"scans opened until each round (default: {_COUNTS})"
    )
    parser.add_argument(
        "--warm-epochs",
        type=int,
        metavar="N",
        help="later rounds go on from the members before, for so many epochs (default: each from scratch)",
    )
    parser.add_argument(
        "--evaluation", type=float, default=0.3, help="share of subjects that are judged on (default: 0.3)"
    )
    parser.add_argument(
        "--corrupted", type=float, default=0.0, help="share of the pool that is spoilt (default: 0)"
    )
    parser.add_argument(
        "--siblings",
        type=float,
        help="keep one scan per subject and this share of second scans (default: all scans)",
    )
    effort = Effort()
    parser.add_argument(
        "--minutes-per-scan", type=float, default=effort.scan, help=f"assumed (default: {effort.scan:g})"
    )
    parser.add_argument(
        "--minutes-per-slice", type=float, default=effort.slice, help=f"assumed (default: {effort.slice:g})"
    )
    parser.add_argument("--workers", type=int, default=1, help="replays at the same time (default: 1)")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster, or 'local'")


def run(args: argparse.Namespace) -> int:
    """Replay, write simulation.json and simulation.html.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if a scan could not be used.

    Raises:
        SettingError: if an option is not allowed.
    """
    failures, plan = Failures(), _plan(args)
    folder = _folder(args, plan.recipe.spec, failures)
    work = args.out / "work"
    replays = run_simulation(plan, folder, work.resolve(), workers=args.workers, ray=args.ray, say=_say)
    result = summarise_simulation(plan, folder, replays)
    replace_text(args.out / "simulation.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    page = args.out / "simulation.html"
    write_simulation_page(
        result, page, title="Would active learning have paid?", data=args.data.resolve().name
    )
    failures.tell()
    _say(f"wrote {args.out / 'simulation.json'} and {page}")
    return failures.status


def _plan(args: argparse.Namespace) -> SimulationPlan:
    recipe = Recipe.read(args.recipe)
    strategies = dict.fromkeys([*args.strategies.split(","), BASELINE])
    try:
        counts = tuple(int(count) for count in args.counts.split(","))
    except ValueError as error:
        raise SettingError(
            f"--counts must be numbers with commas between them, got {args.counts!r}."
        ) from error
    return SimulationPlan(
        recipe=recipe,
        strategies=tuple(strategies),
        seeds=tuple(range(args.seeds)),
        counts=counts,
        warm=replace(recipe.budget, epochs=args.warm_epochs) if args.warm_epochs else None,
        effort=Effort(scan=args.minutes_per_scan, slice=args.minutes_per_slice),
    )


def _folder(args: argparse.Namespace, spec: ModelSpec, failures: Failures) -> ReplayFolder:
    data = args.data.resolve()
    scans = scans_in(data)
    if args.split is not None:
        splits = read_splits(data)
        if args.split not in splits:
            raise SettingError(f"--split must be one of {', '.join(splits)}, got {args.split!r}.")
        scans = splits[args.split]
    for files in cases_in(data, scans):
        with failures.survive(files.id):
            read_pair(files, spec)
    usable = [scan for scan in scans if scan not in failures.reasons]
    clean = divide_folder(data, usable, share=args.evaluation, key="segtrust-simulate-1")
    if args.siblings is None and not args.corrupted:
        return clean
    return make_realistic(
        clean,
        (args.out / "pool").resolve(),
        corrupted=args.corrupted,
        siblings=args.siblings or 0.0,
        seed=0,
    )


def _say(line: str) -> None:
    print(line, flush=True)
