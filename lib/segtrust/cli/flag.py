"""`segtrust flag`: which voxels of anybody's probability volumes may be wrong, and how many of them are."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust._files import replace_text
from segtrust.adapters import (
    CaseFiles,
    ProbabilityCase,
    find_cases,
    read_case,
    read_probabilities,
    structure_names,
    volume_files,
    write_mask,
)
from segtrust.cli.evaluation import say
from segtrust.cli.failures import Failures
from segtrust.error_flags import PROBABILITY_SCORES, RULES, FlagRule, probability_scores
from segtrust.errors import ScanError, SettingError
from segtrust.evaluate.error_detection import ScanErrors, count_errors, detection_figures, flag_figures
from segtrust.evaluate.error_table import error_tables
from segtrust.files.subjects import read_subject_table
from segtrust.regions import distance_to, in_band

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust flag`."""
    parser.add_argument(
        "--pred", type=Path, nargs="+", required=True, metavar="DIR", help="folders of probability volumes"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="labels of some of the scans: what the flags find is measured on these, and `calibrated` learns "
        "from them",
    )
    parser.add_argument("--subjects", type=Path, metavar="CSV", help="columns case and subject")
    parser.add_argument(
        "--score", choices=PROBABILITY_SCORES, default="entropy", help="what is flagged (default: entropy)"
    )
    parser.add_argument(
        "--rule",
        default="otsu",
        help=f"what sets the threshold: {', '.join(RULES)}, with a number like budget:0.05 (default: otsu)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("segtrust-flags"), metavar="DIR", help="folder for the flags"
    )


def run(args: argparse.Namespace) -> int:
    """Write one mask of flags per volume; measure them where there are labels.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if a volume could not be used.
    """
    rule = FlagRule.parse(args.rule)
    failures, volumes = Failures(), _volumes(args.pred)
    if rule.name == "calibrated" and not args.labels:
        raise SettingError("the rule 'calibrated' learns from labelled scans: give --labels, or use otsu.")
    scans = _measure(args, failures) if args.labels else []
    learnt = np.sum([s.histograms[args.score]["band"].wrong for s in scans], axis=0) if scans else None
    args.out.mkdir(parents=True, exist_ok=True)
    written = 0
    for files in volumes:
        with failures.survive(files.id):
            flags, affine = _flags(files, args.score, rule, learnt)
            write_mask(flags, affine, args.out / f"{files.id}.nii.gz")
            written += 1
            say(f"{files.id}: {int(flags.sum())} voxels flagged")
    if scans:
        figures = _figures(scans, args.score, rule)
        replace_text(args.out / "flags.json", json.dumps(figures, allow_nan=False, indent=1) + "\n")
        print(error_tables(figures, score=args.score))
    failures.tell()
    print(f"\n{written} masks of flags: {args.out.resolve()}")
    return failures.status


def _volumes(folders: Sequence[Path]) -> list[CaseFiles]:
    volumes: dict[str, CaseFiles] = {}
    for folder in folders:
        for files in volume_files(folder):
            if files.id in volumes:
                raise SettingError(f"a scan must lie in one folder only, got {files.id!r} in two of them.")
            volumes[files.id] = files
    if not volumes:
        raise ScanError(
            f"there must be probability volumes in {', '.join(map(str, folders))}, got none.", "scan_missing"
        )
    return list(volumes.values())


def _measure(args: argparse.Namespace, failures: Failures) -> list[ScanErrors]:
    subjects = read_subject_table(args.subjects) if args.subjects else None
    cohort = find_cases(args.pred, args.labels, subjects=subjects)
    for sentence in cohort.remarks:
        say(sentence)
    cases = cohort.cases
    _, ignore = structure_names([*args.pred, args.labels]) or ((), None)
    folds = {subject: fold for fold, subject in enumerate(sorted({files.subject for files in cases}))}
    scans = []
    for files in cases:
        with failures.survive(files.id):
            scans.append(_count(read_case(files, ignore=ignore), folds[files.subject]))
    return scans


def _count(case: ProbabilityCase, fold: int) -> ScanErrors:
    return count_errors(
        case.id,
        case.subject,
        probability_scores(case.probs),
        case.probs.argmax(dim=0).numpy(),
        case.labels.numpy(),
        case.spacing,
        valid=case.valid,
        fold=fold,
    )


def _figures(scans: Sequence[ScanErrors], score: str, rule: FlagRule) -> Mapping[str, Any]:
    """Of ``calibrated`` each scan is judged by a threshold that its own subject took no part in."""
    return {
        "scans": len(scans),
        "subjects": len({scan.subject for scan in scans}),
        "detection": detection_figures(scans),
        "flags": {score: {str(rule): flag_figures(scans, score, rule)}},
    }


def _flags(
    files: CaseFiles, score: str, rule: FlagRule, learnt: NDArray[np.int64] | None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    volume = read_probabilities(files)
    grid = volume.known_grid()
    values = probability_scores(volume.probs)[score]
    near = in_band(distance_to(volume.probs.argmax(dim=0).numpy() > 0, grid.spacing))
    threshold = rule.threshold(values[near], wrong=learnt)
    return (values > threshold).astype(np.uint8), grid.affine
