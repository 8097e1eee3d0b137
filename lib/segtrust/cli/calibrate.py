"""`segtrust calibrate`: a calibrator for probability volumes that exist already, without retraining."""

import argparse
import json
import time
from pathlib import Path

import torch

from segtrust._files import replace_text
from segtrust.adapters import read_probabilities, volume_files, voxel_size, write_probabilities
from segtrust.calibrators import CANDIDATES, Calibrator
from segtrust.cli.evaluation import add_data_arguments, gather_data, leave_results, say
from segtrust.errors import SettingError
from segtrust.evaluate.headline import headline
from segtrust.evaluate.volumes import RAW, measure_case
from segtrust.regions import distance_to
from segtrust.release.folder_calibration import FolderCalibration, calibrate_folder

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust calibrate`."""
    add_data_arguments(parser)
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=list(CANDIDATES),
        metavar="KIND",
        help=f"kinds of calibrators to compare (default: {' '.join(CANDIDATES)})",
    )
    parser.add_argument(
        "--apply",
        type=Path,
        metavar="DIR",
        help="a folder of other volumes of the same model: calibrated, they are written to OUT/calibrated",
    )


def run(args: argparse.Namespace) -> int:
    """Fit, choose, measure on subjects that were left out, and write everything.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.
    """
    started = time.perf_counter()
    data = gather_data(args)
    found = calibrate_folder(data.cohort.cases, data.read, kinds=args.kinds, say=say)
    main, records = (found.choice.name if found.fits else RAW), []
    for index, files in enumerate(data.cohort.cases, start=1):
        systems: dict[str, Calibrator | None] = {RAW: None}
        if found.fits:
            systems[main] = found.of[files.id]
        records.append(measure_case(data.read(files), systems, main=main)[0])
        say(f"{index}/{len(data.cohort.cases)} {files.id} measured")
    document = leave_results(args, data, records, main=main, calibrators=found.of, notes=_notes(found))
    replace_text(args.out / "calibration.json", json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    print(headline(document))
    if args.apply:
        written = _apply(args.apply, found.choice.calibrator, args.out / "calibrated")
        print(f"\n{written} calibrated volumes: {(args.out / 'calibrated').resolve()}")
    print(f"\nresults: {args.out.resolve()}  ({time.perf_counter() - started:.0f} s)")
    return 0


def _notes(found: FolderCalibration) -> list[str]:
    if not found.fits:
        return ["No kind of calibrator gains 0.5 % of the NLL: probabilities stay as they are."]
    note = (
        f"{found.choice.name} was chosen and fitted over {found.choice.subjects} subjects; its figures are "
        "of calibrators fitted without the fold that they are measured on. calibration.json holds the one "
        "fitted to all: measure it on other subjects (segtrust evaluate --calibration)."
    )
    return [note]


def _apply(folder: Path, calibrator: Calibrator, out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    cases = volume_files(folder)
    for files in cases:
        probs, affine = read_probabilities(files)
        if affine is None:
            raise SettingError(
                f"a segmentation {files.id}.nii.gz must lie beside {files.volumes[0].name}: distances are in "
                "millimetres, and an .npz does not know them."
            )
        distance = distance_to(probs.argmax(dim=0).numpy() > 0, voxel_size(affine))
        write_probabilities(files, calibrator.apply(probs, torch.from_numpy(distance)), affine, out)
        say(f"{files.id} calibrated")
    return len(cases)
