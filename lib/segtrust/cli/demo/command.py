"""`segtrust demo`: a real MONAI Label server segments a cohort, ranks it, and the result becomes one page."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from segtrust.cli.demo.cohort import DemoCohort, gather_cohort
from segtrust.cli.demo.console import print_table, progress
from segtrust.cli.demo.label_client import LabelClient, ModelAnswer, RefusedError
from segtrust.cli.demo.label_server import LabelServer, ServerError
from segtrust.cli.demo.scan_card import scan_card, structure_values
from segtrust.cli.options import add_conf
from segtrust.report import CohortPage, ScanCard, write_cohort_page
from segtrust.selection import rank_scans

__all__ = ["add_arguments", "run"]

_MODEL = "hippocampus"
_STRATEGY = "entropy"
_CONF = (("lease_minutes", "0.01"),)  # one person works with it: who asks again gets the same scan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust demo`."""
    parser.add_argument("--studies", type=Path, metavar="DIR", help="your own scans (.nii.gz, .nii or .nrrd)")
    parser.add_argument(
        "--cohort",
        choices=("auto", "task", "template"),
        default="auto",
        help="without --studies: test scans of the hippocampus task if ../shared/data/hippocampus is there, "
        "or crops of the MNI152 template (default: auto, the first at hand)",
    )
    parser.add_argument("--scans", type=int, default=0, metavar="N", help="at most N scans (default: 0, all)")
    parser.add_argument(
        "--out", type=Path, default=Path("segtrust-demo"), metavar="DIR", help="folder for page and log"
    )
    parser.add_argument("--port", type=int, default=0, help="port of the server (default: a free one)")
    add_conf(parser, "a setting of the app")
    parser.add_argument("--serve", action="store_true", help="leave the server running until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.
    """
    console, started = Console(), time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    with _ended_by_signals(), _work_folder(args.out, keep=args.serve) as work:
        cohort = gather_cohort(args.studies, args.cohort, args.scans, work / "studies")
        console.print(f"cohort: {cohort.description}")
        console.print("starting MONAI Label ...")
        log = args.out / "server.log"
        conf = (*_CONF, *args.conf)
        with LabelServer(_MODEL, work / "studies", work, log=log, port=args.port, conf=conf) as server:
            console.print(f"server: {server.url} (log: {server.log})", highlight=False)
            page = _main_job(console, LabelClient(server.url), cohort, work)
            path = args.out / "report.html"
            write_cohort_page(page, path)
            print_table(console, page.cards, page.structures)
            console.print(f"next scan to label, says the server: {page.next_scan or 'none'}", highlight=False)
            console.print(f"page: {path.resolve()}", soft_wrap=True, highlight=False)
            console.print(f"done in {time.perf_counter() - started:.0f} s", highlight=False)
            if args.serve:
                _say_how_to_connect(console, server)
                with suppress(KeyboardInterrupt):
                    server.wait()
    return 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A closed terminal or a polite kill unwinds the stack, so that the server ends with the demo."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signs = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {sign: signal.signal(sign, leave) for sign in signs}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def _work_folder(out: Path, *, keep: bool) -> Iterator[Path]:
    """Where the server works; kept beside the page if a person will label there."""
    if keep:
        names = ("server", *(f"server-{number}" for number in range(2, 1000)))
        work = next(
            out / name for name in names if not (out / name).exists()
        )  # labels of before stay as they are
        work.mkdir()
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="segtrust-demo-") as work_name:
        yield Path(work_name)


def _main_job(console: Console, client: LabelClient, cohort: DemoCohort, work: Path) -> CohortPage:
    cards: list[ScanCard] = []
    first: ModelAnswer | None = None
    refused: RefusedError | None = None
    with progress(console, "segmenting", len(cohort.scans)) as step:
        for scan in cohort.scans:
            began = time.perf_counter()
            try:
                card, answer = _one_scan(client, scan, work / "studies" / f"{scan}{cohort.suffix[scan]}")
            except RefusedError as error:  # one bad scan must not hide the others
                refused = error
                cards.append(_refused_card(scan, error))
                step(f"{scan} was refused: {error.reason}")
                continue
            cards.append(card)
            first = first or answer
            step(f"{scan}, {time.perf_counter() - began:.1f} s")
    if first is None:
        raise refused or ServerError("no scan was segmented.")
    console.print("ranking ...")
    client.score(_STRATEGY)
    served = client.next_scan(_STRATEGY)
    return CohortPage(
        title="Where can these masks be trusted?",
        cohort=cohort.description,
        model=f"{_MODEL}, version {first.trust['version']}",
        model_facts=_facts(first.trust),
        limits=first.trust["limits"],
        structures=list(structure_values(first)),
        next_scan=served.get("id"),
        cards=_ranked(cards),
    )


def _refused_card(scan: str, error: RefusedError) -> ScanCard:
    return ScanCard(
        scan=scan, rank=None, score=None, volumes_ml={}, flags={error.word: error.reason}, slices=()
    )


def _one_scan(client: LabelClient, scan: str, image: Path) -> tuple[ScanCard, ModelAnswer]:
    mask = client.infer(_MODEL, scan)
    chance = client.infer(f"{_MODEL}_uncertainty", scan, result_dtype="float32", map="chance_of_error")
    with tempfile.TemporaryDirectory(prefix="segtrust-scan-") as name:
        folder = Path(name)
        mask_file = mask.save(folder / "mask.nii.gz")
        chance_file = chance.save(folder / "chance.nii.gz")
        return scan_card(scan, image, mask_file, chance_file, mask), mask


def _ranked(cards: Sequence[ScanCard]) -> list[ScanCard]:
    by_scan = {card.scan: card for card in cards}
    order = rank_scans({card.scan: card.score for card in cards})
    return [replace(by_scan[e.scan_id], rank=None if e.score is None else e.rank) for e in order]


def _facts(trust: dict[str, Any]) -> list[str]:
    calibration = trust["calibration"]
    return [
        f"{trust['members']} networks, averaged",
        "not calibrated" if calibration == "identity" else f"calibrated: {calibration}",
        f"arithmetic: {trust['precision']}",
    ]


def _say_how_to_connect(console: Console, server: LabelServer) -> None:
    console.print(
        f"""
The server runs until you press Ctrl-C. Labels you save are kept in {server.studies.resolve()}

3D Slicer (extension MONAILabel): open the module MONAI Label, then
  MONAI Label server:  {server.url}   and press the round arrow
  Active Learning:     strategy {_STRATEGY}, press Next Sample
  Auto Segmentation:   model {_MODEL}, press Run; then model {_MODEL}_uncertainty, press Run

In a browser: {server.url}/info/ says what is served.
OHIF ({server.url}/ohif/) shows scans of a DICOMweb server only, and these are NIfTI files. With one at hand:
  python -m monailabel.main start_server --app {server.app} --studies http://YOUR-PACS/dicom-web""",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
