"""`segtrust train`: members from a recipe, then calibration, measurement and a published version."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from segtrust.evaluate.release import release
from segtrust.training.run import Recipe, train_ensemble

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust train`."""
    parser.add_argument("recipe", help="name of a recipe that comes with segtrust, or a JSON file")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with images, labels and splits.json"
    )
    parser.add_argument(
        "--models-dir", type=Path, required=True, metavar="DIR", help="folder of models to publish into"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="checkpoints; a run resumes there (default: runs)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="members trained at the same time (default: 1)"
    )
    parser.add_argument(
        "--loss",
        help="instead of the recipe's, such as 'dice_ce + 0.3*hard_l1_ace'; names: docs/reference/losses.md",
    )
    parser.add_argument("--device", default="cpu", help="where to train (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Train the missing members, then calibrate on val, measure on test and publish.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.
    """
    recipe = Recipe.read(args.recipe)
    if args.loss:
        recipe = replace(recipe, budget=replace(recipe.budget, loss=args.loss))
    name = recipe.spec.name
    members = train_ensemble(
        recipe, args.data, args.runs / "members", workers=args.workers, device=args.device, say=_say
    )
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
