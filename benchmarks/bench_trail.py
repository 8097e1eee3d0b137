"""Times what the audit trail adds to a request, and how long a trail takes to check.

    python benchmarks/bench_trail.py --out benchmarks/results/trail.json

An inference is recorded as the server does it: fingerprint of a scan of 4 MB, SHA-256 of an answer, one
record that is not waited for. A change waits for the disk. Processor time is ``time.process_time``, so that
other work on the machine does not count; wall time is given beside it.
"""

import argparse
import json
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from segtrust import __version__
from segtrust._files import replace_text
from segtrust.label.trail import AuditTrail
from segtrust.store import StateStore

ANSWERS_KB = (100, 1_000)
ABOUT = {"version": "0001", "digest": "0" * 64, "options": {"map": "entropy"}, "flags": ["field of view"]}


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--records", type=int, default=500, help="records for each figure")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segtrust-bench-") as folder:
        facts = {
            "unit": "milliseconds, median; `checked` for all records",
            "records": args.records,
            **measure(Path(folder), args.records),
            "software": {
                "segtrust": __version__,
                "python": platform.python_version(),
                "sqlite": sqlite3.sqlite_version,
                "machine": platform.machine(),
            },
            "command": f"python benchmarks/bench_trail.py --out benchmarks/results/{args.out.name}",
        }
    replace_text(args.out, json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


def measure(folder: Path, records: int) -> dict[str, Any]:
    """Figures of one trail in a folder."""
    store = StateStore(folder / "state.sqlite")
    audit, scan = AuditTrail(store), folder / "scan.nii.gz"
    scan.write_bytes(os.urandom(4_000_000))
    store.fix_roles({"scan": "patient"})
    figures: dict[str, Any] = {}
    for size in ANSWERS_KB:
        answer = folder / "answer.nii.gz"
        answer.write_bytes(os.urandom(1000 * size))
        name = f"inference, answer of {size} kB"
        figures[name] = timed(lambda a=answer: audit.inference("m", "scan", scan, ABOUT, a), records)  # type: ignore[misc]
    figures["change, waited for"] = timed(lambda: audit.act("training started", {}), records // 20)
    begun = time.process_time()
    found = store.verify_trail()
    figures["checked"] = {
        "records": found.records,
        "bytes": store.trail_path.stat().st_size,
        "processor": round(1000 * (time.process_time() - begun), 1),
    }
    return figures


def timed(act: Callable[[], object], times: int) -> dict[str, float]:
    """Median processor and wall time of one call, in milliseconds."""
    processor, wall = [], []
    for _ in range(times):
        begun = time.process_time(), time.perf_counter()
        act()
        processor.append(time.process_time() - begun[0])
        wall.append(time.perf_counter() - begun[1])
    return {"processor": round(1000 * median(processor), 3), "wall": round(1000 * median(wall), 3)}


if __name__ == "__main__":
    main()
