"""Times what the datastore does at a request, beside MONAI Label's own, with 200 to 20,000 scans.

    python benchmarks/bench_datastore.py --out benchmarks/results/datastore.json

Scans are empty files: nothing of them is read. Both datastores take turns on copies of the same folder, each
alone in its process's time (``time.process_time``), so that other work on the machine does not count. Ours
writes its list of scans beside requests, some seconds after a change: that is timed as `snapshot`.
"""

import argparse
import json
import platform
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import monailabel
from monailabel.datastore.local import LocalDatastore

from segtrust import __version__
from segtrust._files import replace_text
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.label.studies.snapshot import Snapshot
from segtrust.store import ScoreKey, StateStore, StoredScore

Step = Callable[[int], object]
SIZES = (200, 2_000, 20_000)
PATTERNS = ["*.nii.gz"]


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of scans")
    args = parser.parse_args()
    Snapshot.changed = lambda _: None  # type: ignore[method-assign]  # timed by itself, not inside a step
    measured = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="segtrust-bench-") as folder:
            measured[str(size)] = measure(Path(folder), size)
        print(json.dumps({size: measured[str(size)]}), flush=True)
    facts = {
        "unit": "milliseconds of processor time, median",
        "scans": measured,
        "software": {
            "segtrust": __version__,
            "monailabel": monailabel.__version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "machine": platform.machine(),
        },
        "command": f"python benchmarks/bench_datastore.py --out benchmarks/results/{args.out.name}",
    }
    replace_text(args.out, json.dumps(facts, indent=2) + "\n")


def measure(root: Path, size: int) -> dict[str, Any]:
    """Times of one number of scans: step -> datastore -> milliseconds."""
    ids = [f"s{number:05d}" for number in range(size)]
    for name in ("ours", "theirs"):
        (root / name).mkdir()
        for scan in ids:
            (root / name / f"{scan}.nii.gz").touch()
    (root / "label.nii.gz").touch()
    state = StateStore(root / "ours" / "state.sqlite")
    opened: dict[str, Any] = {}

    def open_ours(_: int) -> None:
        opened["ours"] = SafeDatastore(
            str(root / "ours"), structures={}, store=state, on_served=state.mark_served, extensions=PATTERNS
        )

    def open_theirs(_: int) -> None:
        opened["theirs"] = LocalDatastore(str(root / "theirs"), extensions=PATTERNS)

    times = {"open the folder": taking_turns({"ours": open_ours, "theirs": open_theirs}, 3)}
    label, few = str(root / "label.nii.gz"), 20
    both: dict[str, Callable[[Any], Step]] = {
        "update the information of a scan": lambda d: lambda n: d.update_image_info(ids[n], {"note": n}),
        "save a label": lambda d: lambda n: d.save_label(ids[n], label, "original", {"note": n}),
        "update the information of a label": lambda d: (
            lambda n: d.update_label_info(ids[n], "original", {"note": -n})
        ),
        "list scans without a label": lambda d: lambda _: d.get_unlabeled_images(),
    }
    for name, step in both.items():
        times[name] = taking_turns({who: step(datastore) for who, datastore in opened.items()}, few)
    times["snapshot"] = taking_turns({"ours": lambda _: opened["ours"].write_snapshot()}, 3)
    return times | of_the_store(state, ids)


def of_the_store(state: StateStore, ids: list[str]) -> dict[str, Any]:
    """Times of what only we have."""
    key = {"fingerprint": "f", "version_digest": "v", "settings_digest": "s"}
    details = {"features": [0.5] * 64, "slices": [{"index": 1, "reason": "x" * 80}] * 5}
    for number, scan in enumerate(ids):
        state.put_score(
            StoredScore(key=ScoreKey(scan_id=scan, **key), score=number / len(ids), details=details)
        )
    for scan in ids[::2]:
        state.submitted(scan)
    picks = [{"scan_id": scan, "rank": n, "score": 0.5, "reason": "x" * 60} for n, scan in enumerate(ids)]
    state.put_batch("m", "v", "entropy", 0, picks, stamp="s")
    steps: dict[str, Step] = {
        "scores in brief": lambda _: state.scores_brief("v", "s"),
        "stamp of the scores": lambda _: state.scores_stamp("v", "s"),
        "lease, half of the scans submitted": lambda n: state.lease(ids, f"client {n}", strategy="entropy"),
        "read a ranked batch": lambda _: state.batch("m", "v", "entropy", 0, stamp="s"),
        "put a score": lambda n: state.put_score(
            StoredScore(key=ScoreKey(scan_id=ids[n], **key), score=0.5, details=details)
        ),
        "roles of all scans": lambda _: state.fix_roles(dict(zip(ids, ids, strict=True))),
    }
    return {name: taking_turns({"ours": step}, 20) for name, step in steps.items()}


def taking_turns(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median milliseconds of each step."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            begun = time.process_time()
            step(number)
            times[name].append(time.process_time() - begun)
    return {name: round(1e3 * median(values), 3) for name, values in times.items()}


if __name__ == "__main__":
    main()
