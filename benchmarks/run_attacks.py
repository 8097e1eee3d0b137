"""Attacks a served site and writes what was lost: `benchmarks/results/attacks.json`.

    python benchmarks/run_attacks.py --work FOLDER [--small] [--only kills crowd ...]

Nothing must be lost: no label or scan that was acknowledged, no scan served twice, no answer 500. Each part
serves a site of its own on 127.0.0.1 and is written when it has ended; a part that is there with the same
sizes is not run again (`--anew` runs all). Disks are mounted for two parts, which needs root of a Linux
machine; elsewhere these parts say that they were left out. Ends with 1 if anything was lost.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))  # the attacks are those of the tests, with other sizes

from attacks.crowd import ask_as_a_crowd, submit_at_once  # noqa: E402
from attacks.disks import can_mount, fill_the_disk, take_the_disk_away  # noqa: E402
from attacks.files import send_flipped_files  # noqa: E402
from attacks.kills import kill_again_and_again  # noqa: E402
from attacks.routes import make_requests_up, send_bad_requests  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "attacks.json"
Part = tuple[Callable[..., dict[str, Any]], dict[str, int], dict[str, int]]
PARTS: dict[str, Part] = {
    "kills": (
        partial(kill_again_and_again, report=print),
        {"kills": 200, "clients": 8},
        {"kills": 3, "clients": 4},
    ),
    "crowd": (
        ask_as_a_crowd,
        {"annotators": 32, "requests_in_all": 2000},
        {"annotators": 8, "requests_in_all": 60},
    ),
    "readers": (submit_at_once, {"readers": 8, "bursts": 60}, {"readers": 8, "bursts": 4}),
    "full disk": (fill_the_disk, {"clients": 8, "times": 5}, {"clients": 4, "times": 1}),
    "vanishing disk": (take_the_disk_away, {"clients": 8, "times": 20}, {"clients": 4, "times": 1}),
    "flipped bytes": (send_flipped_files, {"flips": 300}, {"flips": 8}),
    "bad requests": (send_bad_requests, {"every": 1}, {"every": 40}),
    "schemathesis": (make_requests_up, {"examples": 100}, {"examples": 3}),
}
"""Name -> attack, its sizes, and its sizes with ``--small``."""
MUST_BE_NOTHING = (
    "labels_lost",
    "images_lost",
    "labels_with_the_information_of_another",
    "served_twice",
    "mixed",
    "reads_that_failed",
    "parts_left",
    "temporary_files_left",
    "written_into_the_empty_folder",
    "wrong",
    "errors_of_the_server",
)
"""Counts that say that something was lost."""


def main() -> None:
    """Run the parts that are not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the sites, written anew")
    parser.add_argument("--out", type=Path, default=RESULT, help="file of the counts")
    parser.add_argument("--small", action="store_true", help="a minute's worth, as in the tests")
    parser.add_argument("--anew", action="store_true", help="run also what is there")
    parser.add_argument(
        "--only", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART", help="some parts"
    )
    args = parser.parse_args()
    document = json.loads(args.out.read_text("utf-8")) if args.out.is_file() else {}
    for name in args.only:
        attack, large, small = PARTS[name]
        sizes = small if args.small else large
        if not args.anew and document.get(name, {}).get("sizes") == sizes:
            continue
        print(f"{name}: {sizes}", flush=True)
        document[name] = run(name, attack, sizes, args.work.resolve() / name.replace(" ", "-"))
        args.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    losses = {name: found for name in document if (found := lost(document[name]))}
    print(json.dumps(losses, indent=2) if losses else "nothing was lost")
    sys.exit(1 if losses else 0)


def run(
    name: str, attack: Callable[..., dict[str, Any]], sizes: dict[str, int], work: Path
) -> dict[str, Any]:
    """One part, with what it needs to be judged."""
    began = time.monotonic()
    if name.endswith("disk") and not can_mount(work.with_name("try")):
        return {"sizes": sizes, "left_out": "this machine lets nobody mount a disk"}
    counts = attack(work, **sizes)
    return {
        "sizes": sizes,
        **counts,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def lost(part: dict[str, Any]) -> dict[str, Any]:
    """What of a part's counts is not nothing and must be."""
    flat = {**part, **{f"{kind} wrong": value["wrong"] for kind, value in part.items() if _has_wrong(value)}}
    losses = {key: value for key, value in flat.items() if value and _is_loss(key)}
    if part.get("server_lives") is False or part.get("state_file", "ok") != "ok":
        losses["server"] = "died, or its state file is damaged"
    return losses


def _has_wrong(value: object) -> bool:
    return isinstance(value, dict) and "wrong" in value


def _is_loss(key: str) -> bool:
    return key in MUST_BE_NOTHING or key.endswith(" wrong")


if __name__ == "__main__":
    main()
