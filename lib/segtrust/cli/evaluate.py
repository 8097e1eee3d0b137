"""`segtrust evaluate`: how far probabilities can be trusted, from a folder of volumes or from a model."""

import argparse
import json
import time
from pathlib import Path

from segtrust.calibrators import Calibrator, calibrator_from_json
from segtrust.cli.evaluation import add_data_arguments, gather_data, leave_results, say
from segtrust.cli.failures import Failures
from segtrust.errors import SettingError
from segtrust.evaluate.headline import headline
from segtrust.evaluate.volumes import RAW, measure_case

__all__ = ["add_arguments", "run"]

_CALIBRATED = "calibrated"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust evaluate`."""
    add_data_arguments(parser)
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="calibration.json of `segtrust calibrate`, fitted to other subjects: measured beside the raw "
        "probabilities (a model of segtrust brings its own)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure every scan once; write figures, records and page.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if a scan could not be measured.
    """
    started = time.perf_counter()
    failures = Failures()
    data = gather_data(args, failures)
    systems: dict[str, Calibrator | None] = {RAW: None}
    calibrator = read_calibration(args.calibration) if args.calibration else data.calibrator
    if calibrator is not None:
        systems[_CALIBRATED] = calibrator
    main, cases, records = list(systems)[-1], data.cohort.cases, []
    for index, files in enumerate(cases, start=1):
        with failures.survive(files.id):
            record, _ = measure_case(data.read(files), systems, main=main)
            records.append(record)
            say(f"{index}/{len(cases)} {files.id}")
    calibrators = dict.fromkeys((record.id for record in records), systems[main])
    document = leave_results(args, data, records, failures, main=main, calibrators=calibrators)
    print(headline(document))
    failures.tell()
    print(f"\nresults: {args.out.resolve()}  ({time.perf_counter() - started:.0f} s)")
    return failures.status


def read_calibration(path: Path) -> Calibrator:
    """The calibrator of a calibration file.

    Args:
        path: what `segtrust calibrate` wrote.

    Returns:
        The calibrator.

    Raises:
        SettingError: if the file cannot be read.
        ModelError: if it holds no calibrator.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["calibrator"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(f"{path} must be a file of `segtrust calibrate`, but {error!r}.") from error
    return calibrator_from_json(document)
