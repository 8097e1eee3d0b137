"""Writes what was measured on the shipped model and inside train into README.md and pages of docs.

`--check` writes nothing and fails if one of them is out of date.
"""

import json
import sys
from pathlib import Path
from typing import Any

from segtrust.evaluate.cases import REGIONS
from segtrust.evaluate.quality_table import quality_tables
from segtrust.evaluate.table import card_headline, card_tables
from segtrust.experiments.pages import fill_block, interval, paragraph, pooled_pairs_note, row, write_or_check
from segtrust.experiments.target_table import target_page
from segtrust.label.names import band_texts
from segtrust.label.settings import AppSettings
from segtrust.metrics import ObservedErrors, bootstrap_of
from segtrust.models import open_version

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "lib" / "segtrust" / "shipped" / "hippocampus"
README = ROOT / "README.md"
QUALITY = ROOT / "docs" / "explanation" / "quality.md"
PAGE = ROOT / "docs" / "reference" / "hippocampus.md"
RESULT = ROOT / "benchmarks" / "results" / "hippocampus-test-trust.json"
TARGET_PAGE = ROOT / "docs" / "reference" / "targets.md"
TRUST_PAGE = ROOT / "docs" / "reference" / "hippocampus-trust.md"
CONTOURS = ROOT / "benchmarks" / "results" / "hippocampus-contours.json"
EXPERIMENTS = ROOT / "benchmarks" / "experiments.json"
EXPERIMENT_PAGE = ROOT / "docs" / "reference" / "hippocampus-experiments.md"


def readme(card: dict[str, Any]) -> str:
    """README.md with the block between its markers made anew."""
    text = (
        f"{card_headline(card)}\n\nMedical Segmentation Decathlon Task04, split by subject; band = within "
        "5 mm of the prediction; ECE = top label, 15 bins. All figures with intervals:\n"
        "[the model's card](docs/reference/hippocampus.md);\n"
        "[endpoints, calibrators, ranking, shifts](docs/reference/hippocampus-trust.md);\n"
        "[choices inside the training split](docs/reference/hippocampus-experiments.md).\n"
        "Again with `scripts/train-hippocampus`.\n"
    )
    return fill_block(README, "measured", text)


def quality(card: dict[str, Any]) -> str:
    """docs/explanation/quality.md with the block of the calibration scans made anew."""
    figures = {key: value for key, value in card["quality"].items() if key != "contours"}
    dice = {name: targets["dice"] for name, targets in figures["structures"].items()}
    widths = (f"{100 * f['median_width'] / f['marginal_width']:.0f} % ({name})" for name, f in dice.items())
    worse = [name for name, f in dice.items() if f["error"] > f["error_of_constant"]]
    lines = [
        quality_tables({"quality": figures}),
        "",
        paragraph(
            f"The intervals are {', '.join(widths)} as wide as the range that holds 90 % of the true Dice;",
            "the aim is 60 %. On scans as they are the prediction is less right than a constant for",
            f"{', '.join(worse) or 'no structure'}.",
        ),
    ]
    return fill_block(QUALITY, "calibration scans", "\n".join(lines))


def page(card: dict[str, Any]) -> str:
    """The model's card as a page."""
    calibration = dict(open_version(MODEL).calibration)
    numbers = ", ".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in calibration["calibrator"].items()
    )
    software = ", ".join(f"{name} {version}" for name, version in card["software"].items())
    return f"""# Card of the hippocampus model, version {open_version(MODEL).id}

Made by `python scripts/write_figures.py` from the version's `card.json`, which also holds the SHA-256 of
every file.

- Recipe: {card["recipe"]}
- Data: Medical Segmentation Decathlon Task04 (CC BY-SA 4.0)
- Scans: {card["data"]}; subjects: {card["data_subjects"]}.
  *train* fitted the weights, *val* the calibration, *test* was read once.
- Calibration, fitted on {calibration["fitted_on"]}: {numbers}
- Command: `{card["command"]}`
- Software: {software}

{card["test_note"]}

{card_tables(card)}
{bands(calibration)}
Known limit: a structure that the prediction misses by more than 5 mm lies outside the band, and there the
model is sure of the background. The row "missed" counts such voxels.
"""


def bands(calibration: dict[str, Any]) -> str:
    """How often the voxels of each band were wrong; empty if the version does not know."""
    if "observed" not in calibration:
        return ""
    observed = ObservedErrors.from_json(calibration["observed"])
    edges = AppSettings().band_edges
    rows = [
        row(text, "none" if rate is None else f"{100 * rate:.1f} %")
        for text, low, high in zip(band_texts(edges), edges, (*edges[1:], 1.0), strict=True)
        for rate in (observed.rate(low, high),)
    ]
    return "\n".join(
        [
            "\n## Bands\n",
            f"n = {observed.scans} *val* scans, each judged by a calibrator fitted without its subject.\n",
            "| chance of a wrong label | voxels that were wrong |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def trust_page(result: dict[str, Any]) -> str:
    """Endpoints, calibrators, ranking of clean scans and every shift as a page."""
    choice = result["calibrators"]["cross_fitted_on_val"]
    calibrators = [
        row(name, *(f"{found[f][r]:.4f}" for f in ("nll", "ece") for r in REGIONS))
        for name, found in choice["figures"].items()
    ]
    ranking = [
        row(name, *(interval(found["logit_dice"][kind], 2) for kind in ("pearson", "spearman")))
        for name, found in result["ranking"]["clean"].items()
    ]
    return "\n".join(
        [
            f"# How far hippocampus version {result['model']['version']} can be trusted\n",
            f"Made by `python scripts/write_figures.py` from `benchmarks/results/{RESULT.name}`.\n",
            f"- Command: `{result['command']}`",
            f"- Protocol `benchmarks/protocol.json`, hash `{result['protocol'][:16]}`",
            f"- Software: {', '.join(f'{k} {v}' for k, v in result['software'].items())}",
            f"- Version digest `{result['model']['digest'][:16]}`: [card](hippocampus.md),",
            "  [targets of what it says of itself](targets.md)",
            f"- Every interval: 95 % {bootstrap_of(result)} over subjects;",
            "  [what such intervals cover](statistics.md).\n",
            f"## Endpoints, {result['scans']} clean *{result['role']}* scans\n",
            "| endpoint | measured | limit | met | aim | reached |",
            "|---|---|---|---|---|---|",
            *map(endpoint, result["endpoints"]),
            "\n![Confidence against the share of right labels](../images/hippocampus-reliability.png)\n",
            f"## Calibrators on *val*, one of {choice['subjects']} subjects left out at a time\n",
            "| calibrator | NLL band | NLL outside | NLL volume | ECE band | ECE outside | ECE volume |",
            "|---|---|---|---|---|---|---|",
            *calibrators,
            f"\nChosen by NLL over the volume: `{choice['name']}`.\n",
            f"## Scores against logit Dice on {result['scans']} clean *{result['role']}* scans\n",
            "`pairwise_dice` and `soft_dice_confidence` are high where the model is sure: there positive is",
            "good, for all others negative is. Scans of this model differ little in Dice, and no score",
            "orders them well.\n",
            *pooled_pairs_note(result["ranking"]["clean"]),
            "| score | Pearson | Spearman |",
            "|---|---|---|",
            *ranking,
            "",
            *(shift_tables(result) if result["shifts"] else ()),
        ]
    )


def endpoint(entry: dict[str, Any]) -> str:
    """One endpoint as a row."""
    limit = " and ".join(f"at {side} {entry[side]:g}" for side in ("least", "most") if side in entry)
    value = "see below" if entry["value"] is None else f"{entry['value']:.4g}"
    met, reached = ({True: "yes", False: "**no**"}.get(entry.get(k), "") for k in ("met", "aim_met"))
    words = ", ".join(filter(None, (entry["words"], entry.get("region"))))
    return row(words, value, limit, met, f"{entry['aim']:g}" if "aim" in entry else "", reached)


def shift_tables(result: dict[str, Any]) -> list[str]:
    """Every corruption and strength by itself: accuracy, calibration, and how scores follow Dice."""
    plain, ranking = result["shifts"], result["ranking"]["shifts"]
    scores = ("entropy", "between_member", "pairwise_dice", "soft_dice_confidence", "global_mean")
    return [
        "## The same scans under each shift\n",
        "Shift suite v1 of the protocol; strengths 1 to 3. No condition is pooled with another. Missed:",
        "share of the reference's voxels more than 5 mm from the prediction, where the model is sure of the",
        "background.\n",
        "![Dice and calibration under shift](../images/hippocampus-shifts.png)\n",
        "| shift | Dice | band NLL raw | band NLL served | band ECE raw | band ECE served | missed |",
        "|---|---|---|---|---|---|---|",
        *(
            row(
                name,
                f"{found['dice']:.3f}",
                *(f"{found[s]['band'][f]:.3f}" for f in ("nll", "ece") for s in ("ensemble", "served")),
                f"{100 * found['missed']['share']:.2f} %",
            )
            for name, found in plain.items()
        ),
        "\n### Known limit\n",
        "The scan and shift with the largest share of missed voxels. Where the model sees nothing, the map",
        "says so only in part; a structure that it never predicts anywhere near shows no doubt at all.\n",
        "![Missed structure under noise](../images/hippocampus-missed.png)",
        "\n### Pearson correlation of scores with logit Dice under each shift\n",
        f"| shift | {' | '.join(scores)} |",
        f"|---|{'---|' * len(scores)}",
        *(
            row(name, *(interval(found[s]["logit_dice"]["pearson"], 2) for s in scores))
            for name, found in ranking.items()
        ),
        "",
    ]


def experiment_page() -> str:
    """What was measured inside train: choices, facts, scores and calibrators."""
    content = json.loads(EXPERIMENTS.read_text(encoding="utf-8"))
    parts = ["# Choices and facts, measured inside *train*\n"]
    parts.append(
        "Made by `python scripts/write_figures.py` from `benchmarks/results`. Folds by subject, every scan\n"
        "judged by members and calibrators that never saw it; band = within 5 mm of any compared\n"
        "prediction. T(d) is the distance temperature. In brackets: the smallest and largest fold.\n"
    )
    for name in ("choices", "loss", "long", "losses", "facts"):
        path = ROOT / "benchmarks" / "results" / f"hippocampus-{name}.json"
        if path.is_file():
            parts += experiment_tables(name, content[name]["about"], json.loads(path.read_text("utf-8")))
    if CONTOURS.is_file():
        parts += contour_tables(json.loads(CONTOURS.read_text("utf-8")))
    return "\n".join(parts)


def contour_tables(result: dict[str, Any]) -> list[str]:
    """Contours by distance against contours by probability."""
    share, coverage = (f"{100 * result['rule'][name]:g} %" for name in ("share", "coverage"))
    lines = [
        "## Contours\n",
        "By distance: margins in millimetres. By probability: voxels whose calibrated chance of the",
        f"structure is at least a threshold. Both for {share} of the voxels in {coverage} of scans,",
        "calibrated on four folds of subjects, judged on the fifth. Rule, fixed before: distances unless",
        f"probabilities save a tenth of the volume between the contours. `{result['command']}`, protocol",
        f"`{result['protocol'][:16]}`.\n",
        "| cell, structure | n | way | outer right | inner right | ml between | over distance |",
        "|---|---|---|---|---|---|---|",
    ]
    for system, structures in result["systems"].items():
        for name, found in structures.items():
            ratio = found["probability_over_distance"]
            for way, shown in (("distance", "1"), ("probability", interval(ratio, 2))):
                right = (f"{100 * found[way][f'{side}_right']:.1f} %" for side in ("outer", "inner"))
                n = f"{found['scans']} scans, {ratio['subjects']} subjects"
                between = f"{found[way]['volume_between_ml']:.2f}"
                lines.append(row(f"{system}; {name}", n, way, *right, between, shown))
    return [*lines, ""]


_SHOWN = ("band NLL", "band ECE", "error AUROC")


def experiment_tables(name: str, about: str, result: dict[str, Any]) -> list[str]:
    """Tables of one experiment."""
    figures = ("dice", "nll_band", "ece_band", "error_auroc_band")
    systems = result["systems"]
    lines = [
        f"## {name.capitalize()}\n",
        f"{about}\n",
        f"n = {result['scans']} scans of {result['subjects']} subjects. `{result['command']}`, protocol",
        f"`{result['protocol'][:16]}`, experiments `{result['experiments'][:16]}`.\n",
        row("cell, members", "Dice", *(f"{f} {k}" for f in _SHOWN for k in ("raw", "T(d)"))),
        "|---|---|---|---|---|---|---|---|",
    ]
    for system in systems:
        cell, size, kind = system.split(" | ")
        if kind == "raw":
            calibrated = systems[f"{cell} | {size} | distance_temperature"]
            pairs = [(systems[system][f], calibrated[f]) for f in figures]
            lines.append(
                row(f"{cell}; {size}", spread(pairs[0][0], 3), *(spread(v, 3) for p in pairs[1:] for v in p))
            )
    lines += [
        f"\nPaired differences from {result['differences']['base'].replace(' | ', '; ')}, with the 95 %",
        f"{bootstrap_of(result)} over subjects:\n",
        "| system | Dice | band NLL | band ECE | error AUROC |",
        "|---|---|---|---|---|",
        *(
            row(system.replace(" | ", "; "), *(interval(found[f], 4) for f in figures))
            for system, found in result["differences"]["systems"].items()
        ),
        "",
    ]
    if result["scores"]:
        # what several members disagree on is not defined for one
        defined = {score: found for score, found in result["scores"].items() if found["mean"] is not None}
        scored = next(s for s in systems if s.endswith("pooled_temperature")).rsplit(" | ", 1)[0]
        lines += [
            f"### Calibrators of {scored.replace(' | ', '; ')}\n",
            "| calibrator | band NLL | band ECE | volume NLL |",
            "|---|---|---|---|",
            *(
                row(
                    name.rsplit(" | ", 1)[1],
                    *(spread(found[f], 4) for f in ("nll_band", "ece_band", "nll_volume")),
                )
                for name, found in systems.items()
                if name.startswith(f"{scored} | ")
            ),
            "",
            "### Scores against logit Dice within each fold, Pearson\n",
            *pooled_pairs_note(defined),
            "| score | mean | per fold |",
            "|---|---|---|",
            *(
                row(score, f"{found['mean']:.2f}", ", ".join(f"{v:.2f}" for v in found["folds"]))
                for score, found in defined.items()
            ),
            "",
        ]
    return lines


def spread(found: dict[str, Any], digits: int) -> str:
    """A figure with its smallest and largest value over the folds."""
    low, high = min(found["folds"]), max(found["folds"])
    return f"{found['value']:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> int:
    """Write all files, or compare them."""
    card = dict(open_version(MODEL).card)
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    pages = [(README, readme(card)), (PAGE, page(card)), (TRUST_PAGE, trust_page(result))]
    if "quality" in card:
        pages.append((QUALITY, quality(card)))
    if "quality" in result:  # a version without that part has no targets
        pages.append((TARGET_PAGE, target_page("hippocampus", result, RESULT.name)))
    return write_or_check(*pages, (EXPERIMENT_PAGE, experiment_page()))


if __name__ == "__main__":
    sys.exit(main())
