"""`segtrust calibrate`: a calibrator for probability volumes that exist already, without retraining."""

import argparse
import json
import time
from pathlib import Path

from segtrust._files import replace_text
from segtrust.adapters import CaseFiles, read_probabilities, volume_files, write_probabilities
from segtrust.calibrators import CANDIDATES, Calibrator, calibrate_scan, has_unit
from segtrust.cli.evaluation import Data, add_data_arguments, gather_data, leave_results, say
from segtrust.cli.failures import Failures
from segtrust.errors import ScanError, SettingError
from segtrust.evaluate.headline import headline
from segtrust.evaluate.volumes import RAW, measure_case
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
    parser.add_argument(
        "--cross-validation",
        type=Path,
        metavar="DIR",
        help="with --model of an adopted nnU-Net: its results; each training scan is predicted by the fold "
        "that left it out",
    )
    parser.add_argument("--device", default="cpu", help="with --model: where networks run (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Fit, choose, measure on subjects that were left out, and write everything.

    Of a model in ``--models-dir`` the next version is published instead.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if a scan could not be used.
    """
    started = time.perf_counter()
    if model := _own_model(args):
        from segtrust.cli.calibrate_model import calibrate_model  # noqa: PLC0415  # volumes need no MONAI

        return calibrate_model(args, model)
    failures = Failures()
    data = gather_data(args, failures)
    calibration = _calibrated(args, data, failures)
    main, records = (calibration.choice.name if calibration.fits else RAW), []
    readable = [files for files in data.cohort.cases if files.id in calibration.of]
    for index, files in enumerate(readable, start=1):
        systems: dict[str, Calibrator | None] = {RAW: None}
        if calibration.fits:
            systems[main] = calibration.of[files.id]
        with failures.survive(files.id):
            records.append(measure_case(data.read(files), systems, main=main)[0])
            say(f"{index}/{len(readable)} {files.id} measured")
    document = leave_results(
        args, data, records, failures, main=main, calibrators=calibration.of, notes=_notes(calibration)
    )
    replace_text(
        args.out / "calibration.json", json.dumps(calibration.to_json(), indent=1, allow_nan=False) + "\n"
    )
    print(headline(document))
    if args.apply:
        written = _apply(args.apply, calibration.choice.calibrator, args.out / "calibrated", failures)
        print(f"\n{written} calibrated volumes: {(args.out / 'calibrated').resolve()}")
    failures.tell()
    print(f"\nresults: {args.out.resolve()}  ({time.perf_counter() - started:.0f} s)")
    return failures.status


def _own_model(args: argparse.Namespace) -> Path | None:
    """Folder of the model that is calibrated; ``None`` for volumes, and for a model that ships."""
    if not args.model or args.models_dir is None:
        return None
    from segtrust.models import find_models  # noqa: PLC0415  # volumes need no safetensors

    return find_models(args.models_dir).get(args.model)


def _calibrated(args: argparse.Namespace, data: Data, failures: Failures) -> FolderCalibration:
    try:
        return calibrate_folder(
            data.cohort.cases, data.read, kinds=args.kinds, say=say, survive=failures.survive
        )
    except SettingError:  # too few subjects are left
        failures.tell()
        raise


def _notes(calibration: FolderCalibration) -> list[str]:
    if not calibration.fits:
        note = (
            "No kind of calibrator lowers the NLL of the band or of the volume by 0.5 % without raising the "
            "other: probabilities stay as they are."
        )
        return [note]
    note = (
        f"{calibration.choice.name} was chosen and fitted over {calibration.choice.subjects} subjects; its "
        "figures are of calibrators fitted without the fold that they are measured on. calibration.json "
        "holds the one fitted to all: measure it on other subjects (segtrust evaluate --calibration)."
    )
    return [note]


def _apply(folder: Path, calibrator: Calibrator, out: Path, failures: Failures) -> int:
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    for files in volume_files(folder):
        with failures.survive(f"{folder.name}/{files.id}"):
            _apply_to(files, calibrator, out)
            written += 1
            say(f"{files.id} calibrated")
    return written


def _apply_to(files: CaseFiles, calibrator: Calibrator, out: Path) -> None:
    volume = read_probabilities(files)
    grid = volume.known_grid()
    if not has_unit(calibrator, grid.spacing):
        raise ScanError(
            f"{files.id} must say how large its voxels are, as the calibrator depends on a distance in mm; "
            "its header does not. Write the voxel size into the file.",
            "scan_geometry",
        )
    labels = volume.probs.argmax(dim=0).numpy()
    write_probabilities(
        files, calibrate_scan(calibrator, volume.probs, labels, grid.spacing), grid.affine, out
    )
