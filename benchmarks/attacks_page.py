"""Makes docs/reference/attacks.md of what run_attacks.py wrote; `--check` writes nothing."""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import row, write_or_check

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "attacks.json"
PAGE = ROOT / "docs" / "reference" / "attacks.md"
FORMATS = ("NIfTI", "NRRD", "DICOM")


HEAD = """# Attacks on a served site, and what was lost

Made by `python benchmarks/attacks_page.py` from `benchmarks/results/attacks.json`, which
`python benchmarks/run_attacks.py --work FOLDER` writes. Each attack has a site of its own, with small scans
and a model of random weights, served on 127.0.0.1. What defends against it, and what is not defended:
[security](security.md).
"""
FOOT = """
An answer of 503 or 507 acknowledges nothing and says what to do. Labels and scans are those that the server
acknowledged with 200; after the attack, and after a new start, each was looked for among the labels of now
and those of the history. The program ends with 1 if one is missing, if file and information are those of two
people, or if anything is answered with 500. The kills were counted on a machine with other work.

## What the first runs showed

Each of these was mended at its root and has a test; the table above is of the mended program.

- 856 of 6,054 bad requests were answered with 500, and 638 refusals had another form than the rest.
- 3 of 50 scans were served twice: between two transactions of a submission a scan was free.
- A label that was replaced while it was downloaded came with the length of the other one.
- 5 of 99 labels that were acknowledged while the studies were unmounted were on no disk that anybody would
  look at, and 4 answers were 500.
- A name such as `/home/x/scan`, asked for with a label, was listed, and could be downloaded then.

## Answers
"""


def page() -> str:
    """The whole page."""
    parts: dict[str, dict[str, Any]] = json.loads(RESULT.read_text(encoding="utf-8"))
    ran = {name: part for name, part in parts.items() if "left_out" not in part}
    out = [
        f"\nLeft out: {name}, since {part['left_out']}." for name, part in parts.items() if name not in ran
    ]
    return "\n".join(
        [
            HEAD,
            row("attack", "how much", "acknowledged or answered", "lost or wrong", "minutes"),
            row(*["---"] * 5),
            *(line(name, part) for name, part in ran.items()),
            *out,
            FOOT,
            row("attack", "answers by status"),
            row("---", "---"),
            *(row(name, answers(part)) for name, part in ran.items()),
            "",
            machine(ran),
            "",
        ]
    )


def line(name: str, part: dict[str, Any]) -> str:
    """One attack."""
    words = {"requests_in_all": "requests", "times": "times", "flips": "files of each format"}
    words |= {"examples": "requests for each operation"}
    sizes = ", ".join(
        f"{value} {words.get(key, key)}" for key, value in part["sizes"].items() if key != "every"
    )
    return row(
        name, sizes or "every kind on every route", acknowledged(part), wrong(part), str(part["minutes"])
    )


def acknowledged(part: dict[str, Any]) -> str:
    """What the server said it had done."""
    if "labels_acknowledged" in part:
        scans = f", {part['images_acknowledged']} scans" if part["images_acknowledged"] else ""
        served = f"{part['scans_served']} scans served, " if "scans_served" in part else ""
        return f"{served}{part['labels_acknowledged']} labels{scans}"
    if "requests" in part:
        return f"{part['requests']} requests answered"
    return f"{sum(sum(part[kind]['answers'].values()) for kind in FORMATS)} files answered"


def wrong(part: dict[str, Any]) -> str:
    """What must be nothing, in words."""
    counts = {
        "labels lost": part.get("labels_lost"),
        "scans lost": part.get("images_lost"),
        "labels with the information of another": part.get("labels_with_the_information_of_another"),
        "served twice": part.get("served_twice"),
        "reads that failed": part.get("reads_that_failed"),
        "files in the empty place": part.get("written_into_the_empty_folder"),
        "answers of 500 or without words": _bad_answers(part),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count is not None)


def _bad_answers(part: dict[str, Any]) -> int | None:
    if "500" in part.get("answers", {}):
        return int(part["answers"]["500"])
    if "errors_of_the_server" in part:
        return sum(part["errors_of_the_server"].values())
    if "wrong" in part:
        return sum(part["wrong"].values())
    if FORMATS[0] in part:
        return sum(sum(part[kind]["wrong"].values()) for kind in FORMATS)
    return 0


def answers(part: dict[str, Any]) -> str:
    """How often each status came."""
    if "answers" in part:
        return ", ".join(f"{status}: {count}" for status, count in part["answers"].items())
    return "; ".join(
        f"{kind} {', '.join(f'{status}: {count}' for status, count in part[kind]['answers'].items())}"
        f" (slowest {part[kind]['slowest_s']} s)"
        for kind in FORMATS
    )


def machine(parts: dict[str, dict[str, Any]]) -> str:
    """Where and when."""
    machines = sorted({part["machine"] for part in parts.values()})
    days = sorted({part["when"] for part in parts.values()})
    return f"{' and '.join(machines)}; {' to '.join(dict.fromkeys((days[0], days[-1])))}."


if __name__ == "__main__":
    sys.exit(write_or_check((PAGE, page())))
