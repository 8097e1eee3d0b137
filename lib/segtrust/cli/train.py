"""`segtrust train`: a model from a recipe, or a round on the labels of a site."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from segtrust.cli.site_round import add_round_arguments, run_on_site
from segtrust.errors import SettingError
from segtrust.release.publish import release
from segtrust.training.cape import CapeSettings
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
        "--workers", type=int, default=1, help="members trained at the same time (default: 1)"
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="with --data: train the members on a Ray cluster, or 'local'; needs segtrust[ray]",
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
    parser.add_argument("--device", default="cpu", help="where to train (default: cpu)")
    add_round_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run a round on a site; or train a recipe's members, calibrate on val, measure on test and publish.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.

    Raises:
        SettingError: if a recipe has no folder to publish into.
    """
    if args.studies is not None:
        return run_on_site(args)
    if args.models_dir is None:
        raise SettingError("--data needs --models-dir, the folder of models to publish into.")
    recipe = Recipe.read(args.name)
    if args.loss:
        recipe = replace(recipe, budget=replace(recipe.budget, loss=args.loss))
    name = recipe.spec.name
    members = train_ensemble(
        recipe,
        args.data,
        (args.runs / "members").resolve(),
        workers=args.workers,
        ray=args.ray,
        device=args.device,
        say=_say,
    )
    if args.cape:
        stage = CapeSettings(target=args.cape, batch=recipe.budget.batch, flip_axes=recipe.budget.flip_axes)
        cache = args.runs / "cape"
        members = tune_ensemble(recipe, members, args.data, cache, stage, device=args.device, say=_say)
    version = release(
        recipe,
        members,
        args.data,
        args.models_dir / name,
        command=shlex.join(["segtrust", *sys.argv[1:]]),
        say=_say,
    )
    _say(f"published {name} {version.id} in {args.models_dir / name}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
