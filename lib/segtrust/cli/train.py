"""`segtrust train`: a model from a recipe, or a round on the labels of a site."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from segtrust.cli.failures import Failures
from segtrust.errors import SettingError
from segtrust.models import ModelSpec
from segtrust.release.plan import round_options
from segtrust.release.publish import release
from segtrust.training.cape import CapeSettings
from segtrust.training.cases import cases_in, read_pair, read_splits
from segtrust.training.run import Recipe, train_ensemble, tune_ensemble

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust train`."""
    parser.add_argument(
        "name", help="with --studies a model; with --data a recipe that comes with segtrust, or a JSON file"
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, metavar="DIR", help="folder with images, labels and splits.json")
    where.add_argument(
        "--studies", type=Path, metavar="DIR", help="folder of scans that a MONAI Label server labels"
    )
    parser.add_argument(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help="with --data the folder of models to publish into; with --studies a folder with more models",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="with --data: checkpoints; a run resumes there (default: runs)",
    )
    parser.add_argument(
        "--workers", type=int, help="members trained at the same time (default: 1, or the site's setting)"
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="with --data: train the members on a Ray cluster, or 'local'; needs the extra `ray`",
    )
    parser.add_argument(
        "--loss",
        help="instead of the recipe's, such as 'dice_ce + 0.3*hard_l1_ace'; names: docs/reference/losses.md",
    )
    parser.add_argument(
        "--cape",
        choices=("bin", "kernel"),
        help="with --data: fine-tune the members by CaPE before they are calibrated (docs/how-to/cape.md)",
    )
    parser.add_argument("--device", help="where to train (default: cpu, or the site's setting)")
    _add_round_arguments(parser)


def _add_round_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a round; those that are not given are as the site's server has them."""
    group = parser.add_argument_group("with --studies")
    for name in ("epochs", "start", "ensemble", "small_gate", "seed"):
        option = round_options()[name].metadata
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=int if option["limits"] else str,
            choices=option["words"] or None,
            help=option["doc"],
        )
    group.add_argument(
        "--subjects",
        default="",
        metavar="RULE",
        help="which patient a scan belongs to: a CSV file (columns case, subject), or a regular expression "
        "with a group",
    )
    group.add_argument(
        "--conf",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="a setting as the server has it, such as state_dir, subjects, train_epochs or precision",
    )


def run(args: argparse.Namespace) -> int:
    """Run a round on a site; or train a recipe's members, calibrate on val, measure on test and publish.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if a scan could not be used.

    Raises:
        SettingError: if a recipe has no folder to publish into.
    """
    if args.studies is not None:
        # only a site's round needs the extra `label`
        from segtrust.cli.site_round import run_on_site  # noqa: PLC0415

        return run_on_site(args)
    if args.models_dir is None:
        raise SettingError("--data needs --models-dir, the folder of models to publish into.")
    recipe = Recipe.read(args.name)
    if args.loss:
        recipe = replace(recipe, budget=replace(recipe.budget, loss=args.loss))
    name, device, failures = recipe.spec.name, args.device or "cpu", Failures()
    splits = _readable(args.data, recipe.spec, failures)
    members = train_ensemble(
        recipe,
        args.data,
        (args.runs / "members").resolve(),
        splits=splits,
        workers=1 if args.workers is None else args.workers,
        ray=args.ray,
        device=device,
        say=_say,
    )
    if args.cape:
        stage = CapeSettings(target=args.cape, batch=recipe.budget.batch, flip_axes=recipe.budget.flip_axes)
        cache = args.runs / "cape"
        members = tune_ensemble(
            recipe, members, args.data, cache, stage, splits=splits, device=device, say=_say
        )
    version = release(
        recipe,
        members,
        args.data,
        args.models_dir / name,
        command=shlex.join(["segtrust", *sys.argv[1:]]),
        splits=splits,
        say=_say,
    )
    failures.tell()
    _say(f"published {name} {version.id} in {args.models_dir / name}")
    return failures.status


def _readable(data: Path, spec: ModelSpec, failures: Failures) -> dict[str, list[str]]:
    """The lists of ``splits.json`` without scans that would end a training when they are read."""
    splits = read_splits(data)
    for scans in splits.values():
        for files in cases_in(data, scans):
            with failures.survive(files.id):
                read_pair(files, spec)
    return {role: [scan for scan in scans if scan not in failures.reasons] for role, scans in splits.items()}


def _say(line: str) -> None:
    print(line, flush=True)
