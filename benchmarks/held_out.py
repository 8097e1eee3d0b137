"""The frame of a measurement on held-out scans inside the split train: options, systems, one result file."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segtrust.errors import SegtrustError
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.experiments.crossfit import CrossFit
from segtrust.experiments.folds import Folds, read_experiments

HERE = Path(__file__).parent
System = tuple[str, str, int]
"""Experiment, cell, members."""


def measure_systems(
    about: str | None,
    systems: Sequence[System],
    judge: Callable[[CrossFit, int], dict[str, Any]],
    *,
    name: str,
    **facts: Any,  # noqa: ANN401  # of JSON types
) -> int:
    """Judge systems as the command line says, and write one file.

    Args:
        about: the program's own description.
        systems: what is judged.
        judge: takes the cross-fit of a system and its number of members.
        name: of the result, ``<out>/hippocampus-<name>.json``.
        facts: further content of the result.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    found = {}
    try:
        protocol, experiments = (
            Protocol.read(HERE / "protocol.json"),
            read_experiments(HERE / "experiments.json"),
        )
        check_data(protocol, args.data)
        folds = Folds.read(args.data, protocol)
        for experiment, cell, size in systems:
            fit = CrossFit.of_cell(experiments[experiment], folds, cell, size, args.runs, _say)
            found[f"{experiment}: {cell}; {size}"] = judge(fit, size)
    except SegtrustError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 1
    document = {
        "protocol": protocol.hash,
        "command": shlex.join(["python", *sys.argv]),
        "software": software_versions(),
        **facts,
        "systems": found,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"hippocampus-{name}.json"
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
