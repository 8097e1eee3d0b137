"""Makes docs/reference/some-namboodiri.md of what some_namboodiri.py measured; `--check` writes nothing."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from segtrust.experiments.pages import write_or_check
from segtrust.metrics.bootstrap import PERCENTILE

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "some-namboodiri.json"
SETTINGS = Path(__file__).parent / "some_namboodiri.json"
PAGE = ROOT / "docs" / "reference" / "some-namboodiri.md"
CLEAN, HEADLINE, GOAL = "clean", "entropy", 0.9
PROBABILITY = ("entropy", "margin", "variation_ratio", "gini")
WHAT = {
    "hippocampus": "T1 MRI, two structures; band = within 5 mm of the prediction",
    "lung nodules": "CT, single slices of 64 x 64 pixels, one per patient; the reference is where at least "
    "two of four raters marked; band = within 5 pixels of the prediction",
    "heart": "cine MRI (ACDC), three structures, the middle 80 x 80 pixels of every slice after resampling "
    "its longer side to 128; voxel sizes are nominal, so band = within 5 voxels of the prediction",
}

Figure = Sequence[float | None]
Cell = tuple[str, str, str, dict[str, Any]]
"""Data set, network, condition, figures."""


def page(result: dict[str, Any], settings: dict[str, Any]) -> str:
    """The whole page; networks that were not measured yet are named."""
    cells = list(_cells(result))
    conditions = [CLEAN, *settings["shifts"]]
    missing = [
        f"{name} on {data}"
        for data in settings["data"]
        for name, own in settings["architectures"].items()
        if data in own and f"{data}; {name}" not in result["networks"]
    ]
    said = "\n".join(f"- {line}" for line in findings(cells))
    sections = "\n".join(
        line for data in result["data"] for line in _section(data, result, cells, conditions, settings)
    )
    return f"""# Which voxels to doubt: three networks, three data sets, clean and shifted

Made by `python benchmarks/papers/some_namboodiri_page.py` from
`benchmarks/results/some-namboodiri.json`, which `{result["command"]}`
wrote. After Some & Namboodiri, "Trusting Semantic Segmentation Networks" (2024). What the scores and rules
are, and what differs from the paper: [error flags](../explanation/error-flags.md), [papers](../papers.md).

{f"Not measured yet: {', '.join(missing)}." if missing else "All cells were measured."}

{_setting(result, settings)}

## What this says

{said}

{sections}"""


def _bootstrap(result: dict[str, Any]) -> str:
    """Which bootstrap; results that do not say so were made when all were percentiles."""
    return str(result.get("intervals", f"{PERCENTILE} bootstrap"))


def _cells(result: dict[str, Any]) -> Iterator[Cell]:
    for name, network in result["networks"].items():
        data, _, architecture = name.partition("; ")
        for condition, found in network["conditions"].items():
            yield data, architecture, condition, found


def _setting(result: dict[str, Any], settings: dict[str, Any]) -> str:
    counts = "\n".join(
        f"- {data.capitalize()}: {roles['train']['scans']} scans to train, {roles['val']['scans']} (val) for "
        f"the thresholds\n  of `calibrated`, {roles['test']['scans']} of {roles['test']['subjects']} "
        "subjects (test) for every figure."
        for data, roles in result["data"].items()
    )
    members = ", ".join(f"{name} {count}" for name, count in settings["members"].items())
    return f"""{counts}
- `some_namboodiri.json` was written before the first run. Members, epochs and kinds of shift were cut for
  time while the first networks were measured, before any of these figures was read. "UNETR, longer" was added
  after the figures of the first two data sets had been read: UNETR of two epochs had learnt too little on the
  hippocampus to say anything about transformers. Nothing else changed since.
- Networks are MONAI's: a U-Net, SegResNet, and UNETR as the transformer, each small and trained for 40
  to 90 s a member on one thread. Their Dice shows what that gives: the question is not how good they are but
  whether they know where they are wrong.
- Members: {members}. With two, probabilities are their mean, and `deviation` and `votes`
  compare them. Nothing is calibrated. Views: the first member on the scan as it is and mirrored along its
  first axis, which training did as well.
- Shifts: {" and ".join(settings["shifts"])} of shift suite v1 at strength {settings["strength"]}; neither
  networks nor thresholds of `calibrated` have seen them. The suite was made for MR.
- Figures are over the voxels of all scans, with a 95 % {_bootstrap(result)} over subjects. Thresholds
  always come from the voxels of the band; *volume*: the same flags counted in the whole scan, where
  sure background flatters all but precision. All scores, rules and worst tenths are in the JSON file."""


def findings(cells: Sequence[Cell]) -> list[str]:
    """Sentences that follow from the figures, whatever these are."""
    lines = []
    for data in dict.fromkeys(cell[0] for cell in cells):
        own = [cell for cell in cells if cell[0] == data]
        clean = "; ".join(
            f"{c[1]} {_figure(_auroc(c))}, its Dice {_number(c[3]['dice'][0])}" for c in own if c[2] == CLEAN
        )
        lines.append(
            f"{data.capitalize()}, AUROC of entropy in the band, clean: {clean}; under the shifts "
            f"{_range([_auroc(c)[0] for c in own if c[2] != CLEAN])}."
        )
    good = [c for c in cells if (_auroc(c)[0] or 0) >= GOAL]
    lines.append(
        f"The aim of {GOAL} in the band is met in {len(good)} of {len(cells)} cells (network, data set, "
        f"condition), {sum(c[2] == CLEAN for c in good)} of {sum(c[2] == CLEAN for c in cells)} clean ones."
    )
    lines += _scores_said(cells)
    for rule in ("calibrated:0.9", "otsu", "mean"):
        lines.append(f"`{rule}` on entropy in the band: {_rule_said(cells, rule)}.")
    held = [c for c in cells if _holds(_flag(c, "calibrated:0.9", "recall"))]
    lines.append(
        f"The interval of the recall of `calibrated:0.9` reaches the promised .9 in "
        f"{sum(c[2] == CLEAN for c in held)} of {sum(c[2] == CLEAN for c in cells)} clean cells and in "
        f"{sum(c[2] != CLEAN for c in held)} of {sum(c[2] != CLEAN for c in cells)} shifted ones."
    )
    far = max(cells, key=lambda c: c[3]["wrong"]["outside_band"] / max(1, c[3]["wrong"]["voxels"]))
    share = far[3]["wrong"]["outside_band"] / max(1, far[3]["wrong"]["voxels"])
    lines.append(
        f"Errors that no flag near the prediction can reach, those outside the band: at most "
        f"{100 * share:.0f} % of the wrong voxels ({far[0]}, {far[1]}, {far[2]})."
    )
    return lines


def _scores_said(cells: Sequence[Cell]) -> list[str]:
    scores = list(dict.fromkeys(score for cell in cells for score in cell[3]["detection"]))
    best = [max(c[3]["detection"], key=lambda s, c=c: _auroc(c, s)[0] or 0) for c in cells]
    won = ", ".join(f"{s} {best.count(s)}" for s in scores if s in best)
    gaps = [
        max(_auroc(c, s)[0] or 0 for s in PROBABILITY) - min(_auroc(c, s)[0] or 0 for s in PROBABILITY)
        for c in cells
    ]
    others = "; ".join(
        f"{s} {_range([_auroc(c, s)[0] for c in cells if s in c[3]['detection']])}"
        for s in scores
        if s == HEADLINE or s not in PROBABILITY
    )
    first = (
        f"Best score by AUROC in the band, cells won: {won}. The four that need probabilities alone differ "
        f"by at most {max(gaps):.3f} in a cell."
    )
    return [first, f"AUROC in the band over all cells: {others}."]


def _rule_said(cells: Sequence[Cell], rule: str) -> str:
    parts = []
    for name, wanted in (("clean", True), ("shifted", False)):
        own = [c for c in cells if (c[2] == CLEAN) is wanted]
        figures = ", ".join(
            f"{figure} {_range([_flag(c, rule, figure)[0] for c in own])}"
            for figure in ("recall", "precision", "flagged")
        )
        parts.append(f"{name} {figures}")
    return "; ".join(parts)


def _holds(recall: Figure) -> bool:
    high = recall[2]
    return high is not None and high >= GOAL


def _section(
    data: str,
    result: dict[str, Any],
    cells: Sequence[Cell],
    conditions: Sequence[str],
    settings: dict[str, Any],
) -> Iterator[str]:
    own = [cell for cell in cells if cell[0] == data]
    roles, names = result["data"][data]["test"], list(dict.fromkeys(cell[1] for cell in own))
    found = {(name, condition): cell for cell in own for _, name, condition, _ in [cell]}
    yield f"## {data.capitalize()}\n"
    yield f"n = {roles['scans']} scans of {roles['subjects']} subjects. {WHAT[data]}.\n"
    for name in names:
        network = result["networks"][f"{data}; {name}"]
        size, seconds = network["parameters"] / 1000, network["seconds"]
        yield f"- {name}: {size:.0f} thousand weights a member; {seconds} s of training on a busy machine."
    yield "\n### Detection by entropy\n"
    yield from _table(
        (
            "network",
            "condition",
            "Dice",
            "empty",
            "wrong in band",
            "AUROC band",
            "volume",
            "AUPR band",
            "volume",
        ),
        (
            (
                name,
                condition,
                _figure(cell["dice"]),
                str(cell["empty"]),
                f"{100 * (cell['detection'][HEADLINE]['band']['wrong'] or 0):.1f} %",
                *(
                    _figure(cell["detection"][HEADLINE][region][figure]["pooled"])
                    for figure in ("auroc", "aupr")
                    for region in settings["regions"]
                ),
            )
            for _, name, condition, cell in own
        ),
    )
    yield "\n### AUROC in the band, every score\n"
    yield from _table(
        ("network", "score", *conditions),
        (
            (name, score, *(_figure(_auroc(found[name, condition], score)) for condition in conditions))
            for name in names
            for score in found[name, CLEAN][3]["detection"]
        ),
    )
    for region in settings["regions"]:
        yield f"\n### Rules on entropy, {region}: recall, precision, flagged share\n"
        yield from _table(
            ("network", "rule", *conditions),
            (
                (name, rule, *(_flags(found[name, condition], rule, region) for condition in conditions))
                for name in names
                for rule in settings["rules"]
            ),
        )
    yield ""


def summary(result: dict[str, Any]) -> list[str]:
    """What `docs/papers.md` says of the result beside the paper; data sets without a result are named."""
    cells = list(_cells(result))
    lines = ["| what, in the band | the paper | here, clean | here, shifted | n |", "|---|---|---|---|---|"]
    for data in WHAT:
        own = [cell for cell in cells if cell[0] == data]
        what = f"AUROC of entropy, {data}"
        if own:
            roles = result["data"][data]["test"]
            n = f"{roles['scans']} scans, {roles['subjects']} subjects"
            clean = "; ".join(f"{c[1]} {_figure(_auroc(c))}" for c in own if c[2] == CLEAN)
            shifted = _range([_auroc(c)[0] for c in own if c[2] != CLEAN])
            lines.append(_row((what, "not obtainable", clean, shifted, n)))
        else:
            lines.append(_row((what, "not obtainable", "not run", "not run", "-")))
    for rule, words in (("mean", '"high recall" of dynamic thresholds'), ("otsu", "as above")):
        for figure in ("recall", "precision", "flagged"):
            ranges = (
                _range([_flag(c, rule, figure)[0] for c in cells if (c[2] == CLEAN) is clean])
                for clean in (True, False)
            )
            claim = words if figure == "recall" else "not obtainable"
            lines.append(_row((f"{figure} of `{rule}` on entropy", claim, *ranges, f"{len(cells)} cells")))
    return [
        *lines,
        "",
        f"In brackets: 95 % {_bootstrap(result)} over subjects; *a to b*: over networks, data sets and",
        "shifts.",
        "What differs: UNet, SegResNet and UNETR of a minute's training instead of DRN-D-22, SegFormer-B5",
        "and OneFormer-ConvNeXt-L; three medical data sets and made shifts instead of Cityscapes, ADE20K and",
        "Dark Zurich; figures near the prediction instead of in the whole image. The paper's tables and its",
        "exact threshold rule were not obtainable.",
        "[All figures](reference/some-namboodiri.md).",
    ]


def _flags(cell: Cell, rule: str, region: str) -> str:
    recall, precision, flagged = (
        _flag(cell, rule, figure, region) for figure in ("recall", "precision", "flagged")
    )
    return f"{_figure(recall)}; {_figure(precision)}; {_number(flagged[0])}"


def _auroc(cell: Cell, score: str = HEADLINE) -> Figure:
    found: Figure = cell[3]["detection"][score]["band"]["auroc"]["pooled"]
    return found


def _flag(cell: Cell, rule: str, figure: str, region: str = "band") -> Figure:
    found: Figure = cell[3]["flags"][HEADLINE][rule][region][figure]["pooled"]
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield "|---" * len(head) + "|"
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(found: Figure) -> str:
    value, low, high = found
    return "-" if value is None else f"{value:.3f} ({_number(low)}-{_number(high)})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.3f} to {max(known):.3f}" if known else "-"


def main() -> int:
    """Write the page, or compare it."""
    text = page(
        json.loads(RESULT.read_text(encoding="utf-8")), json.loads(SETTINGS.read_text(encoding="utf-8"))
    )
    return write_or_check((PAGE, text))


if __name__ == "__main__":
    sys.exit(main())
