"""A round on a site's folder from the command line, with the same state and the same models as its server."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from segtrust.errors import ModelNotFoundError, SettingError
from segtrust.models import find_models, shipped_models_dir
from segtrust.release.cohort import LabelledScan, describe_subjects, subjects_of
from segtrust.release.plan import Progress, RoundSettings
from segtrust.release.round import run_round
from segtrust.roles import role_used
from segtrust.store import StateStore, state_dir_for

__all__ = ["add_round_arguments", "run_on_site"]

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_BAR = 30


def add_round_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a round; those that are not given have the defaults of ``RoundSettings``."""
    group = parser.add_argument_group("with --studies")
    group.add_argument("--epochs", type=int, help="each draws a patch of every scan, and at least 20")
    group.add_argument(
        "--start", choices=("warm", "scratch"), help="from the served members, or from scratch"
    )
    group.add_argument(
        "--ensemble", choices=("seeds", "snapshots"), help="members of several seeds, or of one run"
    )
    group.add_argument(
        "--small-gate", choices=("publish", "ask"), help="what to do with a version that cannot be proven"
    )
    group.add_argument("--seed", type=int, help="of the first member")
    group.add_argument(
        "--subjects",
        default="",
        metavar="RULE",
        help="whose scan it is: a CSV file (columns case, subject), or a regular expression with a group",
    )


def run_on_site(args: argparse.Namespace) -> int:
    """Collect the final labels of a folder, run a round, say what came of it.

    Args:
        args: options of `segtrust train` with ``--studies``.

    Returns:
        The exit status.

    Raises:
        SettingError: if the folder does not exist or an option is wrong.
        ModelNotFoundError: if there is no such model.
        TrainingError: if the round cannot run.
    """
    if not args.studies.is_dir():
        raise SettingError(f"--studies must name a folder, got {args.studies}.")
    state = state_dir_for(str(args.studies))
    models = find_models(*filter(None, (state / "models", args.models_dir, shipped_models_dir())))
    if args.name not in models:
        raise ModelNotFoundError(f"no model {args.name!r}. Known: {', '.join(models) or 'none'}.")
    options = ("epochs", "loss", "start", "ensemble", "small_gate", "workers", "device", "seed")
    given = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    store = StateStore(state / "state.sqlite")
    result = run_round(
        models[args.name],
        state / "models",
        _labelled(args.studies, store, args.subjects),
        RoundSettings(**given),
        cache=state / "training" / "members",
        key=store.site_key(),
        report=_shown(),
    )
    for scan, reason in result.report["left_out"].items():
        print(f"left out {scan}: {reason}")
    print(f"{args.name} {result.version} {result.status}: {result.reason}")
    if result.status == "kept":
        print(
            f"serve it all the same: segtrust versions publish {args.name} {result.version} --models-dir "
            f"{state / 'models'}"
        )
    return 0


def _labelled(studies: Path, store: StateStore, rule: str) -> list[LabelledScan]:
    """Scans with a final label, as MONAI Label lays them out; every scan gets its role, labelled or not."""
    images, labels = _by_id(studies), _by_id(studies / "labels" / "final")
    subjects = subjects_of(images, rule=rule)
    print(describe_subjects(subjects), flush=True)
    roles = store.fix_roles(subjects)
    return [
        LabelledScan(
            id=scan,
            image=images[scan],
            label=labels[scan],
            subject=subjects[scan],
            role=role_used(roles[scan], (served.strategy for served in store.served(scan))),
        )
        for scan in sorted(images)
        if scan in labels
    ]


def _by_id(folder: Path) -> dict[str, Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.name.removesuffix(suffix): path
        for path in files
        for suffix in _SUFFIXES
        if path.is_file() and path.name.endswith(suffix) and not path.name.startswith(".")
    }


def _shown() -> Callable[[Progress], None]:
    """A bar on a terminal, one plain line per report elsewhere."""
    if not sys.stdout.isatty():
        return lambda progress: print(progress.line(), flush=True)

    def bar(progress: Progress) -> None:
        filled = "#" * int(_BAR * progress.done)
        end = "\n" if progress.step == "publishing" else ""
        print(f"\r\x1b[K[{filled:<{_BAR}}] {progress.done:4.0%} {progress.line()}", end=end, flush=True)

    return bar
