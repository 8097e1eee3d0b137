"""What `evaluate` and `calibrate` share: their data, and the files that they leave."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segtrust._files import replace_text
from segtrust.adapters import (
    CaseFiles,
    Cohort,
    ProbabilityCase,
    find_cases,
    find_pairs,
    read_case,
    structure_names,
)
from segtrust.calibrators import Calibrator
from segtrust.cli.failures import Failures
from segtrust.errors import ProbabilityError, SettingError, install_line
from segtrust.evaluate.cases import CaseRecord
from segtrust.evaluate.methods import load_methods
from segtrust.evaluate.records import RecordSet, software_versions, write_records
from segtrust.evaluate.summary import mean_dice_of, summarise
from segtrust.evaluate.volumes import folder_protocol, view_of
from segtrust.files.subjects import SubjectTable, read_subject_table

__all__ = ["Data", "add_data_arguments", "gather_data", "leave_results", "say"]

_PICTURES = 3
_TRUSTED = (
    "Of {} scans no file says where the voxels of the probabilities lie. They were taken to be in the "
    "order of the labels (--trust-order): if that is wrong, every figure is."
)
_PAGE_NEEDS = ("contourpy", "matplotlib", "jinja2")


@dataclass(frozen=True)
class Data:
    """Scans, how one is read, names of the structures, and the model's own calibrator (folders have none)."""

    cohort: Cohort
    read: Callable[[CaseFiles], ProbabilityCase]
    structures: tuple[str, ...]
    model: Mapping[str, str]
    calibrator: Calibrator | None = None


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say what is measured and where the results go."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--pred",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of probability volumes: .npz of nnU-Net or TotalSegmentator, NIfTI or NRRD with a "
        "class axis, or one file per class",
    )
    what.add_argument("--model", metavar="NAME", help="a model of segtrust; needs --images")
    parser.add_argument(
        "--views", action="store_true", help="with --model: also judge maps of mirrored views of each scan"
    )
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR", help="one label map per scan")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the images, for pictures (default: imagesTr or images there)",
    )
    parser.add_argument(
        "--subjects", type=Path, metavar="CSV", help="columns case and subject (default: each scan its own)"
    )
    parser.add_argument(
        "--names", metavar="A,B", help="names of the structures 1, 2, ... (default: those of dataset.json)"
    )
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help="a folder with more models")
    parser.add_argument(
        "--methods",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="Python files of yours that register maps and scores; they are run",
    )
    parser.add_argument(
        "--trust-order",
        action="store_true",
        help="take an .npz without a mask beside it to be in the voxel order of its label",
    )
    parser.add_argument("--title", default="How far can these probabilities be trusted?", help="of the page")
    parser.add_argument(
        "--out", type=Path, default=Path("segtrust-evaluation"), metavar="DIR", help="folder for the results"
    )


def gather_data(args: argparse.Namespace, failures: Failures) -> Data:
    """Find the scans and load methods of the caller.

    Args:
        args: options of :func:`add_data_arguments`.
        failures: gets scans that were opened to count their classes and could not be read.

    Returns:
        What is to be measured.

    Raises:
        ScanError: if there is nothing to measure.
        SettingError: if names and classes do not fit, or views are asked for without a model.
    """
    for path in args.methods:
        load_methods(path)
    subjects = read_subject_table(args.subjects) if args.subjects else None
    if args.model:
        return _model_data(args, subjects)
    if args.views:
        raise SettingError("--views needs a network to run: give --model and --images instead of --pred.")
    cohort = find_cases(args.pred, args.labels, images=args.images, subjects=subjects)
    names, ignore = structure_names([*args.pred, args.labels]) or ((), None)
    read = partial(read_case, ignore=ignore, trust_order=args.trust_order)
    names = _structures(cohort, read, tuple(args.names.split(",")) if args.names else names, failures)
    readable = tuple(files for files in cohort.cases if files.id not in failures.reasons)
    model = {"name": ", ".join(path.name for path in args.pred)}
    if args.trust_order and (bare := sum(_is_bare(files) for files in readable)):
        cohort = replace(cohort, remarks=(*cohort.remarks, _TRUSTED.format(bare)))
    return Data(replace(cohort, cases=readable), partial(_read, read, names), names, model)


def _is_bare(files: CaseFiles) -> bool:
    return files.mask is None and files.volumes[0].suffix == ".npz"


def _structures(
    cohort: Cohort, read: Callable[[CaseFiles], ProbabilityCase], names: tuple[str, ...], failures: Failures
) -> tuple[str, ...]:
    """Names of the structures, one per class of the first scan that can be read and fits them."""
    others = []
    for files in cohort.cases:
        with failures.survive(files.id):
            count = read(files).probs.shape[0] - 1
            if not names or len(names) == count:
                return names or tuple(f"class {k + 1}" for k in range(count))
            others.append(count)
    if others:
        raise SettingError(
            f"there must be one name per structure, got {', '.join(names)} for volumes of {others[0]} "
            "structures and background. Set --names."
        )
    return names


def _read(
    read: Callable[[CaseFiles], ProbabilityCase], names: tuple[str, ...], files: CaseFiles
) -> ProbabilityCase:
    """Read a scan of the same model as the others."""
    case = read(files)
    if case.probs.shape[0] != len(names) + 1:
        raise ProbabilityError(
            f"the probabilities of {files.id!r} must have background and {len(names)} structures as the "
            f"other scans have, got {case.probs.shape[0]} classes. Are they of another model?"
        )
    return case


def _model_data(args: argparse.Namespace, subjects: SubjectTable | None) -> Data:
    # a folder of volumes is measured without MONAI
    from segtrust.evaluate.model_cases import predict_case  # noqa: PLC0415
    from segtrust.inference.predictor import Predictor  # noqa: PLC0415
    from segtrust.models import find_models, open_version, shipped_models_dir  # noqa: PLC0415

    models = find_models(*filter(None, (args.models_dir, shipped_models_dir())))
    if args.model not in models or args.images is None:
        raise SettingError(
            f"--model must be one of {', '.join(models) or 'none'} and come with --images, got "
            f"{args.model!r} and {args.images}."
        )
    version = open_version(models[args.model])
    predictor = Predictor(version)
    return Data(
        find_pairs(args.images, args.labels, subjects=subjects),
        partial(predict_case, predictor, views=args.views),
        tuple(label.name for label in version.spec.labels),
        {"name": version.spec.name, "version": version.id, "digest": version.digest},
        predictor.calibrator,
    )


def leave_results(
    args: argparse.Namespace,
    data: Data,
    records: Sequence[CaseRecord],
    failures: Failures,
    *,
    main: str,
    calibrators: Mapping[str, Calibrator | None],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write records, figures and, where the extra `report` is there, the page.

    Args:
        args: options of the command.
        data: what was measured.
        records: every scan that could be measured; if there is none, the page says so.
        failures: the others.
        main: the system that is reported first.
        calibrators: scan -> calibrator of the main system.
        notes: what readers must know besides.

    Returns:
        The figures as they were written.
    """
    notes = [*notes, *data.cohort.remarks]
    missing = data.cohort.without
    if missing:
        notes.append(f"{len(missing)} labels have no probabilities, the first being {missing[0]}.")
    ids = {record.id for record in records}
    measured = [files for files in data.cohort.cases if files.id in ids]
    record_set = RecordSet(
        records=tuple(records),
        structures=data.structures,
        main=main,
        protocol=folder_protocol(measured, data.structures).hash,
        role="given by the folder",
        condition="as given",
        model=data.model,
        software=software_versions(),
        command=shlex.join(["segtrust", *sys.argv[1:]]),
    )
    document = summarise(record_set, title=args.title, notes=notes)
    args.out.mkdir(parents=True, exist_ok=True)
    write_records(args.out / "records.json", record_set)
    lacking = next((name for name in _PAGE_NEEDS if find_spec(name) is None), None)
    document["pictures"] = [] if lacking else _pictures(data, records, main, calibrators, failures)
    document["failed"] = dict(failures.reasons)
    replace_text(args.out / "evaluation.json", json.dumps(document, allow_nan=False, indent=1))
    if lacking:
        say(f"no page, since {lacking} is not installed: {install_line('report')}, and evaluate again")
        return document
    from segtrust.report.evaluation_page import write_evaluation_page  # noqa: PLC0415  # an extra

    write_evaluation_page(document, args.out / "report.html")
    return document


def _pictures(
    data: Data,
    records: Sequence[CaseRecord],
    main: str,
    calibrators: Mapping[str, Calibrator | None],
    failures: Failures,
) -> list[dict[str, Any]]:
    """Slices of the worst and the best scans; read again, so that only one volume is in memory at a time."""
    from segtrust.report.scan_pictures import scan_slices  # noqa: PLC0415  # an extra

    ranked = sorted((r for r in records if mean_dice_of(r, main) >= 0), key=lambda r: mean_dice_of(r, main))
    few = min(_PICTURES, len(ranked) // 2)
    chosen = [(r, "worst") for r in ranked[:few]] + [(r, "best") for r in ranked[len(ranked) - few :]]
    files = {case.id: case for case in data.cohort.cases}
    pictures = []
    for record, kind in chosen:
        with failures.survive(f"picture of {record.id}"):
            case = data.read(files[record.id])
            view = view_of(case, calibrators[record.id])
            slices = scan_slices(case, view, files[record.id].image, data.structures)
            pictures.append({"id": record.id, "kind": kind, "slices": [vars(cut) for cut in slices]})
    return pictures


def say(line: str) -> None:
    """One plain line on standard error, where it is in nobody's way."""
    print(line, file=sys.stderr, flush=True)
