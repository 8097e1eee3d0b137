"""Targets of the quality part as Markdown: measured, limit, met, and what was tried where one is missed."""

from collections.abc import Mapping
from typing import Any

from segtrust.metrics.bootstrap import TOO_FEW, bootstrap_of

__all__ = ["target_page"]

_HEAD = """# Targets of what {name} says of itself

Made by `python scripts/write_figures.py` from `benchmarks/results/{source}`; limits in
`benchmarks/targets.json`, fixed before this run.

- Version {version}, digest `{digest}`, protocol `{protocol}`
- {scans} clean *{role}* scans and the same under each shift. Coverage is counted on one scan of each of
  {subjects} subjects, as it is promised for a new one; {unlike} of them are unlike the calibration scans
  (p < 0.05) and get no interval and no contour.
- Limits of coverage: 95 % range of the count (beta-binomial) for bounds that hold exactly 90 %; for
  contours its lower end. In brackets: 95 % {bootstrap} over subjects.
- "quality under shift" holds all shifts together, as the aim speaks of the suite, and no clean scan; every
  shift by itself stands below.

| target | n | measured | limit | met | missed by |
|---|---|---|---|---|---|"""
_WORDS = """
*each*: every contour by itself is right on 90 % of scans like the calibration scans; *joint*: all of a scan
at once. What "right" is, and how margins are fitted: [quality](../explanation/quality.md).
"""
_TRIED = {
    "coverage": """Bounds hold 90 % or more on average over calibration sets; one set of few people
  may give more or fewer. Intervals of the volume rest on a constant: no score saved a tenth of its error.""",
    "width": """Tried on the calibration scans: entropy, between-member, segment entropy, soft-Dice confidence
  and pairwise Dice as score of the line, chosen anew without each subject. Good scans differ too little for
  any of them to tell one from another ([measured](../explanation/quality.md)).""",
    "errors": "See [error flags](../explanation/error-flags.md).",
    "quality under shift": """Tried: five scores, worsened copies of each calibration scan for the slope,
  logit instead of Dice, a robust line. Most weak shifts leave Dice where it was, and
  there nothing is to be told; where scans fail, the prediction follows (table below).""",
    "quality, clean": """Tried: seven scores, regions of 2 to 10 mm, sums instead of means, one to ten
  members, three losses ([decision 0005](../decisions/0005-chosen-inside-train.md), [ranking](ranking.md)).
  Scans of a well trained model differ little in Dice.""",
    "out of distribution": """Tried: detectors of histogram, sharpness and ensemble, alone and together. The
  p-value cannot fall below 1 / (people + 1), and a clean scan at that floor counts half against each shifted
  one there.""",
    "contours": "Margins are distances between voxels and come in steps.",
}


def target_page(name: str, result: Mapping[str, Any], source: str) -> str:
    """Write the targets of one run of the trust benchmark.

    Args:
        name: of the model.
        result: what the benchmark wrote, with ``quality``.
        source: name of that file.

    Returns:
        A page with n in every row.
    """
    quality, model = result["quality"], result["model"]
    judged = quality["judged"]["subjects"]
    missed = dict.fromkeys(t["group"] for t in quality["targets"] if not t["met"] and _has_limit(t))
    head = _HEAD.format(
        name=name,
        source=source,
        version=model["version"],
        digest=model["digest"][:16],
        protocol=result["protocol"][:16],
        scans=result["scans"],
        role=result["role"],
        subjects=judged["scans"],
        unlike=judged["unlike"],
        bootstrap=bootstrap_of(result),
    )
    lines = [head, *map(_row, quality["targets"]), _WORDS]
    if missed:
        lines += [
            "## Missed, and what was tried\n",
            *(f"- *{group}*: {_TRIED[group]}" for group in missed),
            "",
        ]
    if quality["shifts"]:
        lines += [*_shifts(quality["shifts"]), ""]
    return "\n".join(lines)


def _shifts(shifts: Mapping[str, Any]) -> list[str]:
    structures = list(next(iter(shifts.values()))["correlation"])
    return [
        "## Every shift by itself\n",
        "Correlation of predicted and true logit Dice; AUROC of the p-value against the clean scans; scans",
        "called unlike (p < 0.05).\n",
        f"| shift | Dice | {' | '.join(f'r, {s}' for s in structures)} | AUROC | unlike |",
        f"|---|---|{'---|' * len(structures)}---|---|",
        *(
            " | ".join(
                (f"| {name}", f"{f['dice']:.3f}", *correlations, f"{f['auroc']:.2f}", f"{f['unlike']} |")
            )
            for name, f in shifts.items()
            for correlations in ([_figure(f["correlation"][s], 2) for s in structures],)
        ),
    ]


def _row(target: Mapping[str, Any]) -> str:
    whole = isinstance(target["value"], int)
    digits = 0 if whole else 3
    ends = target["interval"]
    if ends is None:
        interval = ""
    elif None in ends:
        interval = f" ({TOO_FEW})"
    else:
        interval = f" ({_figure(ends[0], 2)} to {_figure(ends[1], 2)})"
    low, high = (
        None if end is None else _figure(end, 0 if whole else 2) for end in (target["low"], target["high"])
    )
    limit = (
        f"{low} to {high}"
        if low and high
        else f"at least {low}"
        if low
        else f"at most {high}"
        if high
        else "-"
    )
    met = "-" if not _has_limit(target) else "yes" if target["met"] else "**no**"
    by = "" if target["met"] or not _has_limit(target) else _figure(target["by"], digits)
    measured = f"{_figure(target['value'], digits)}{interval}"
    return f"| {target['group']}: {target['words']} | {target['n']} | {measured} | {limit} | {met} | {by} |"


def _has_limit(target: Mapping[str, Any]) -> bool:
    return target["low"] is not None or target["high"] is not None


def _figure(value: float | None, digits: int) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"
