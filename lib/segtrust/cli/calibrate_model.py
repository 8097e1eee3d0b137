"""`segtrust calibrate --model` of a model in a folder of one's own: its next version."""

import argparse
import shlex
import sys
from pathlib import Path

from segtrust.adapters import find_pairs, named
from segtrust.adapters.nnunet_results import NNUNET, read_nnunet
from segtrust.cli.failures import Failures
from segtrust.cli.recorded import record_version
from segtrust.errors import SettingError
from segtrust.files.subjects import read_subject_table
from segtrust.models import ModelVersion, open_version
from segtrust.release.calibrate import calibrate_version
from segtrust.training.cases import LabelledFiles

__all__ = ["calibrate_model", "labelled_scans"]

_PARTS = {
    "observed": "how often each band was wrong",
    "quality": "predicted Dice, verdict, likeness and contours",
}


def calibrate_model(args: argparse.Namespace, model: Path) -> int:
    """Calibrate a model and publish the version.

    Args:
        args: options of `segtrust calibrate`.
        model: its folder.

    Returns:
        The exit status: 1 if a scan could not be used.

    Raises:
        SettingError: if images are missing, or too few subjects can be used.
    """
    if args.images is None:
        raise SettingError("--model must come with --images, got none.")
    failures = Failures()
    scans = labelled_scans(args.images, args.labels, args.subjects)
    fold_of = None
    if args.cross_validation:
        fold_of = _folds(args.cross_validation, open_version(model), [files.id for files in scans])
        scans = [files for files in scans if files.id in fold_of]
    version, trust = calibrate_version(
        model,
        scans,
        fold_of=fold_of,
        device=args.device,
        command=shlex.join(["segtrust", *sys.argv[1:]]),
        say=lambda line: print(line, flush=True),
        survive=failures.survive,
    )
    failures.tell()
    there, missing = (
        [words for part, words in _PARTS.items() if (part in trust.calibration) is wanted]
        for wanted in (True, False)
    )
    record_version(model, "publication", version)
    print(f"\n{model.name} {version.id}: calibrated on {trust.scans} scans of {trust.subjects} subjects")
    print(f"fitted besides: {'; '.join(there) or 'nothing'}")
    if missing:
        print(f"not there, as too few subjects or no whole ensemble were measured: {'; '.join(missing)}")
    return failures.status


def labelled_scans(images: Path, labels: Path, subjects: Path | None) -> list[LabelledFiles]:
    """Scans of two folders that belong together, with the subject of each.

    Args:
        images: folder of images, one file per scan or one per channel.
        labels: folder of label maps.
        subjects: a table of subjects; each scan is its own unless given.

    Raises:
        ScanError: if a folder is missing or no label has an image.
        SettingError: if the table does not fit.
    """
    table = read_subject_table(subjects) if subjects else None
    cohort = find_pairs(images, labels, subjects=table)
    for remark in cohort.remarks:
        print(remark)
    return [
        LabelledFiles(files.id, files.subject, Path(files.image), Path(files.label))
        for files in cohort.cases
        if files.image and files.label
    ]


def _folds(results: Path, version: ModelVersion, ids: list[str]) -> dict[str, int]:
    """Scan -> the member that left it out, by nnU-Net's folders ``fold_N/validation``."""
    source = version.card.get("source", {})
    if version.spec.network["_target_"] != NNUNET:
        raise SettingError(f"--cross-validation needs an adopted nnU-Net, {version.spec.name!r} is none.")
    trained = read_nnunet(results, configuration=str(source["configuration"]), folds=source["folds"])
    left_out = {
        path.name.partition(".nii")[0]: index
        for index, fold in enumerate(trained.folds)
        if fold.validation is not None
        for path in fold.validation.glob("*.nii*")
    }
    fold_of = {name: index for name in ids if (index := named(name, left_out)) is not None}
    if not fold_of:
        raise SettingError(
            f"{results} must hold the validation of scans among --labels, got {len(left_out)} other scans."
        )
    return fold_of
