"""A round on a site's folder from the command line: state, roles, models and settings are its server's."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

from segtrust.cli.failures import failure_table
from segtrust.label.settings import AppSettings
from segtrust.label.studies.beside import open_site
from segtrust.label.training.trainer import only_training, record_round, round_settings
from segtrust.release.cohort import describe_subjects
from segtrust.release.collect import collect_labelled
from segtrust.release.plan import Progress
from segtrust.release.round import run_round
from segtrust.store import person_here

__all__ = ["run_on_site"]

_BAR = 30


def run_on_site(args: argparse.Namespace) -> int:
    """Collect the final labels of a folder, run a round, say what came of it.

    Args:
        args: options of `segtrust train` with ``--studies``.

    Returns:
        The exit status: 1 if a labelled scan could not be used.

    Raises:
        SettingError: if the folder does not exist or an option is wrong.
        ModelNotFoundError: if there is no such model.
        BusyError: if the server, or another command, trains a model of the site.
        TrainingError: if the round cannot run.
    """
    settings = AppSettings.from_conf(_conf(args))
    site = open_site(args.studies, settings)
    model = site.model(args.name)
    asked = {name: getattr(args, name) for name in settings.training() if getattr(args, name) is not None}
    wanted, _ = round_settings(asked, settings)
    if args.seed is not None:
        wanted = replace(wanted, seed=args.seed)
    with only_training(site.state_dir):
        collected = collect_labelled(model.name, site.datastore, site.store, settings.subjects)
        print(describe_subjects(collected.subjects), flush=True)
        result = run_round(
            model.folder,
            site.state_dir / "models",
            collected.scans,
            wanted,
            cache=site.state_dir / "training" / "members",
            key=site.store.site_key(),
            report=_shown(),
        )
    record_round(site.store, site.state_dir / "models" / model.name, result, person_here())
    left_out, unusable = {**collected.left_out, **result.report["left_out"]}, result.report["unusable"]
    for scan in sorted(left_out.keys() - set(unusable)):
        print(f"left out {scan}: {left_out[scan]}")
    if unusable:
        print(f"\n{failure_table({scan: left_out[scan] for scan in unusable})}\n")
    print(f"{args.name} {result.version} {result.status}: {result.reason}")
    if result.status == "kept":
        print(
            f"serve it all the same: segtrust versions publish {args.name} {result.version} --models-dir "
            f"{site.state_dir / 'models'}"
        )
    return 1 if unusable else 0


def _conf(args: argparse.Namespace) -> dict[str, str]:
    """Settings of the server; an option of its own wins."""
    own = {"models_dir": args.models_dir, "subjects": args.subjects}
    return {**dict(args.conf), **{name: str(value) for name, value in own.items() if value}}


def _shown() -> Callable[[Progress], None]:
    """A bar on a terminal, one plain line per report elsewhere."""
    if not sys.stdout.isatty():
        return lambda progress: print(progress.line(), flush=True)

    def bar(progress: Progress) -> None:
        filled = "#" * int(_BAR * progress.done)
        end = "\n" if progress.step == "publishing" else ""
        print(f"\r\x1b[K[{filled:<{_BAR}}] {progress.done:4.0%} {progress.line()}", end=end, flush=True)

    return bar
