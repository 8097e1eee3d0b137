"""Writes docs/reference/rounds.md of what run_rounds.py measured; `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import interval, table, write_or_check
from segtrust.metrics.bootstrap import bootstrap_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "rounds.md"
REGIONS = ("band", "outside", "volume")


def page(results: Path) -> str:
    """The page of docs/reference, from what was measured so far."""
    text = "# Rounds of training through the server\n\nMade by `python benchmarks/run_rounds.py`.\n"
    rounds, speed = (results / f"hippocampus-{name}.json" for name in ("rounds", "speed"))
    if rounds.is_file():
        text += _rounds_text(json.loads(rounds.read_text(encoding="utf-8")))
    if speed.is_file():
        text += _speed_text(json.loads(speed.read_text(encoding="utf-8")))
    return text


def _rounds_text(result: dict[str, Any]) -> str:
    head = (
        "\n## Three rounds from an untrained model\n\n"
        f"`{result['command']}`\n\n"
        "Scans of the training split were labelled over HTTP and a training started over HTTP; options are "
        f"the defaults. Each version was measured on {result['apart']['scans']} scans of "
        f"{result['apart']['subjects']} other patients of that split; the calibrated mean, in the union of "
        f"the versions' bands, with 95 % intervals over subjects ({bootstrap_of(result)}, [what they "
        "cover](statistics.md)). Seconds include waiting for what else the machine did.\n\n"
    )
    rows = [["round", "labels", "state", "seconds", "Dice", *(f"NLL {r}, nats" for r in REGIONS)]]
    rows[0] += [f"ECE {r}" for r in REGIONS]
    for number, found in enumerate(result["rounds"], start=1):
        name = f"round {number}"
        figures = result["apart"]["calibration"][name]
        rows.append(
            [
                str(number),
                str(found["labels"]),
                found["state"],
                f"{found['seconds']:.0f}",
                interval(result["apart"]["dice"][name]["mean"], 4),
                *(interval(figures[region]["nll"], 4) for region in REGIONS),
                *(interval(figures[region]["ece"], 4) for region in REGIONS),
            ]
        )
    return head + "\n".join(table(rows[0], rows[1:])) + f"\nSoftware: {_software(result)}.\n"


def _speed_text(result: dict[str, Any]) -> str:
    (found,) = result["rounds"]
    return (
        f"\n## How long a round takes\n\n`{result['command']}`\n\n"
        f"{found['labels']} labelled scans, defaults, {result['workers']} members at a time, from the model "
        f"that ships: {found['seconds']:.0f} s from the start of the round to its end ({found['state']}).\n"
    )


def _software(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in result["software"].items())


def main() -> int:
    """Write the page, or compare it."""
    return write_or_check((PAGE, page(ROOT / "benchmarks" / "results")))


if __name__ == "__main__":
    sys.exit(main())
