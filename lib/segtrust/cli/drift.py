"""`segtrust drift`: whether the scans of a site still come like those that its model was calibrated on."""

import argparse

from segtrust.cli.options import add_conf, add_folder_of_scans
from segtrust.label.drift import DriftWatch
from segtrust.label.settings import AppSettings
from segtrust.label.studies.beside import open_site

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust drift`."""
    parser.add_argument("model", help="name of the model")
    add_folder_of_scans(parser)
    add_conf(parser, "a setting as the server has it, such as models_dir or state_dir")
    parser.add_argument(
        "--anew",
        action="store_true",
        help="forget what was watched under the served version, for instance after a false alarm",
    )


def run(args: argparse.Namespace) -> int:
    """Watch what was scored since the last time, and say what came of it, a line for each stream.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if the calibration is stale for a stream.
    """
    settings = AppSettings.from_conf(dict(args.conf))
    site = open_site(args.studies, settings)
    model, watch = site.model(args.model), DriftWatch(site.store, site.datastore, settings.subjects)
    watch.update(model)
    if args.anew:
        count = site.store.watch_anew(model.version().digest)
        print(
            f"{args.model} {model.version().id}: forgot {count} scans; what is scored from now on is watched"
        )
        return 0
    report = watch.report(model)
    print(f"{args.model} {report.version}: beside {report.compared} calibration scans")
    for name, stream in report.streams.items():
        print(f"{name}: {stream.sentence} Evidence {stream.evidence:.3g}, alarm from {stream.limit:g}.")
    if not report.streams:
        print("no scan was watched yet: scans are watched when they are scored (`segtrust score`)")
    return 1 if report.stale else 0
