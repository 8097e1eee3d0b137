"""Makes docs/reference/lung-nodules-cape.md of what fassio.py measured; `--check` writes nothing."""

import json
import sys
from pathlib import Path
from typing import Any

from fassio_claims import against_early, claims

from segtrust.experiments.pages import paragraph, row, write_or_check
from segtrust.metrics.bootstrap import bootstrap_of

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "lung-nodules-cape.json"
PAGE = ROOT / "docs" / "reference" / "lung-nodules-cape.md"
NAMES = {
    "early stopping": "early stopping",
    "labels": "continued cross-entropy",
    "bin": "CaPE, bins",
    "kernel": "CaPE, kernel",
}
UNITS = {"mse": ("MSE x 1000", 1000), "kl": ("KL x 1000, nats", 1000), "ece": ("ECE x 1000", 1000)}
PLAIN = {"dice": ("Dice", 1), "auroc": ("AUROC", 1)}


def page(result: dict[str, Any]) -> str:
    """The whole page; parts that were not run yet are left out, and said to be."""
    parts = {
        "synthetic": known_chances,
        "pixels": lung,
        "slices": lung,
        "pixel sizes": size_and_bins,
        "slice sizes": size_and_bins,
    }
    missing = [name for name in parts if name not in result]
    lines = [
        "# CaPE: does a network that learns its own frequencies come nearer to the true probability?\n",
        f"Made by `python benchmarks/papers/fassio_page.py` from `benchmarks/results/{RESULT.name}`, which",
        f"`{result['command']}` wrote",
        f"({', '.join(f'{k} {v}' for k, v in result['software'].items())}).\n",
        paragraph(
            "After Fassio et al. 2024 and Liu et al. 2022; of the first only abstract and summaries are",
            "known. *Early stopping* is a network trained with cross-entropy. Three ways go on from it with",
            "equally many steps: *continued cross-entropy* with labels, *CaPE* with one epoch on frequencies",
            "(bins or kernel) and two on labels in turn. Each keeps the epoch, the network before the stage",
            "among them, with the lowest log-loss on patients of *train* who are left out of the training",
            "(known chances: on images).",
        ),
        paragraph(
            "MSE: mean squared distance of the predicted to the true probability. KL: divergence from the",
            "true one. ECE: of the label's probability, 15 bins of equal width. Low is good for all three.",
            "Of nodules the true probability is not known; the share of the four raters stands for it, and",
            "the scatter of four raters is part of every MSE and KL, of all systems alike. In brackets: 95 %",
            f"{bootstrap_of(result)} over patients (known chances: over images); the trained networks are",
            "taken as they are, so intervals say nothing about other seeds. A difference is marked * where",
            "its interval leaves out 0; nothing is corrected for the number of differences.",
        ),
        *high_ece(result),
    ]
    if missing:
        lines.append(f"Not run yet: {', '.join(missing)}.\n")
    lines += claims(result)
    if {"pixels", "slices"} <= result.keys():
        lines += side_by_side(result)
    lines += [line for name, part in parts.items() if name in result for line in part(name, result[name])]
    return "\n".join(lines)


def summary(result: dict[str, Any]) -> list[str]:
    """What `docs/papers.md` says of the result beside the paper's."""
    lines = ["| what | the paper | here, lung nodules of *test* |", "|---|---|---|"]
    said = {
        "pixels": "better calibrated than early stopping",
        "slices": "a larger gain in classification than in segmentation",
    }
    for part, claim in said.items():
        if part not in result:
            lines.append(row(f"MSE to the share of raters, {part}", claim, "not run"))
            continue
        systems, found = result[part]["systems"], result[part]
        n = f"{found['slices']['test']} slices, {found['patients']['test']} patients"
        for arm in ("bin", "kernel"):
            one = systems[arm]["volume"]["mse"]
            early = against_early(systems, arm)
            later = relative(one["difference"], systems["labels"]["volume"]["mse"]["value"])
            what = f"MSE to the share of raters, {part}, {NAMES[arm]}, change in %"
            lines.append(
                row(what, claim, f"{early:+.1f} against early stopping; {later} against as many steps; {n}")
            )
        control = f"{against_early(systems, 'labels'):+.1f} against early stopping; {n}"
        what = f"MSE to the share of raters, {part}, continued cross-entropy, change in %"
        lines.append(row(what, "not obtainable", control))
    return [
        *lines,
        "",
        "What differs: the share of four raters stands for the true probability, networks are small, and",
        "cross-entropy that went on for as many steps stands beside early stopping: what CaPE has more than",
        "early stopping is to be read beside what those steps have. The paper's tables were not obtainable.",
        "[All figures](reference/lung-nodules-cape.md).",
    ]


def high_ece(result: dict[str, Any]) -> list[str]:
    """Say so where an interval of the ECE lies above its figure."""
    figures = [
        region["ece"]
        for part in ("pixels", "slices")
        if part in result
        for system in result[part]["systems"].values()
        for region in system.values()
        if "ece" in region
    ]
    above = sum(f["low"] is not None and f["value"] < f["low"] for f in figures)
    if not above:
        return []
    return [
        "The ECE of patients drawn with replacement is larger than that of all of them, so its intervals lie",
        f"too high: {above} of {len(figures)} begin above their own figure. Read them as widths.\n",
    ]


def known_chances(_: str, found: dict[str, Any]) -> list[str]:
    """Synthetic segmentations, at a gentle and at a hard learning rate."""
    lines = [
        "## Known chances\n",
        "Images of 32 x 32 pixels whose labels are drawn pixel by pixel with a known chance; 24 to learn, 12",
        "to watch, 200 to test, three such sets; bootstrap over images. 10 bins of equally many pixels,",
        "sigma .05. Under each table the rule that was fixed before: with CaPE the watched log-loss is at",
        "most 1 % higher than with continued cross-entropy, and that of the last epoch is not higher.\n",
    ]
    for rate, entry in found.items():
        lines += [f"### Learning rate {rate}\n", *table(entry["systems"], "volume", "labels, best epoch"), ""]
        best, last = (
            {arm: sum(run[which] for run in runs) / len(runs) for arm, runs in entry["watched"].items()}
            for which in ("best", "last")
        )
        for arm in ("bin", "kernel"):
            worse = best[arm] / best["labels"] - 1
            lines.append(
                f"- {NAMES[arm]}: watched log-loss {100 * worse:+.2f} % against continued cross-entropy "
                f"(limit +1 %: {'met' if worse <= 0.01 else '**not met**'}); last epoch {last[arm]:.4f} "
                f"against {last['labels']:.4f} (not above: "
                f"{'met' if last[arm] <= last['labels'] else '**not met**'})."
            )
        lines.append("")
    return lines


def lung(name: str, found: dict[str, Any]) -> list[str]:
    """Lung nodules, per pixel or per slice."""
    what = {
        "pixels": "The share of the four raters who marked a pixel stands for its true probability; training "
        "sees one rater per slice, drawn at random. U-Net of 41 thousand weights.",
        "slices": "The share of the four raters who marked anything in the slice stands for its true "
        "probability; training sees the answer of one rater. Small convolutional classifier on the same "
        "slices.",
    }[name]
    chosen = "; ".join(
        f"{NAMES[arm]}: {', '.join(f'{k} {v}' for k, v in options.items() if k != 'target')}"
        for arm, options in found["chosen"].items()
    )
    slices, patients = found["slices"], found["patients"]
    lines = [
        f"## Lung nodules, {name}\n",
        f"{what} One slice of every nodule, its centre of 48 x 48 pixels: {slices['fit']} slices of",
        f"{patients['fit']} patients to learn, {slices['watch']} to watch, {slices['test']} of",
        f"{patients['test']} patients of *test*. Three seeds; figures are means over them.\n",
        f"Chosen inside *train*: {chosen}.\n",
        f"Tried: {', '.join(f'{n} for {NAMES[arm]}' for arm, n in candidates(found).items())}. The more are",
        "tried, the more the watched loss flatters; *test* knows nothing of it.\n",
        *tried(found["tried"]),
        "### All pixels\n" if name == "pixels" else "",
        *table(found["systems"], "volume", "labels"),
        "",
    ]
    if "band_5vox" in found["systems"]["labels"]:
        lines += [
            "### Within 5 pixels of what any compared network marks\n",
            *table(found["systems"], "band_5vox", "labels"),
            "",
        ]
    return lines


def candidates(found: dict[str, Any]) -> dict[str, int]:
    """Number of settings that each way could choose from."""
    return {
        arm: len({json.dumps({**o, "watched": 0}) for o in found["tried"] if o["target"] == arm})
        for arm in found["chosen"]
    }


def tried(options: list[dict[str, Any]]) -> list[str]:
    """Watched log-loss of every number of bins, of both kinds."""
    by_bins = {(o["mass"], o["bins"]): o["watched"] for o in options if "bins" in o}
    numbers = sorted({bins for _, bins in by_bins})
    others = {
        target: min(o["watched"] for o in options if o["target"] == target) for target in ("labels", "kernel")
    }
    return [
        "Log-loss on the watched patients, x 1000, seed 0: "
        + ", ".join(f"{NAMES[target]} {1000 * loss:.3f}" for target, loss in others.items())
        + "; with bins:\n",
        row("bins hold equally much", *map(str, numbers)),
        f"|{'---|' * (len(numbers) + 1)}",
        *(
            row(mass, *(f"{1000 * by_bins[mass, bins]:.3f}" for bins in numbers))
            for mass in sorted({mass for mass, _ in by_bins})
        ),
        "",
    ]


def size_and_bins(name: str, found: dict[str, Any]) -> list[str]:
    """Size of the training set times number of bins: change of the squared error."""
    lines = [
        f"## Size of the training set and number of bins, {name.removesuffix(' sizes')}s\n",
        "Change of the MSE against continued cross-entropy on the same slices, in %, one seed. A quarter of",
        "the patients learns for twice as many epochs, a sixteenth for four times as many.\n",
    ]
    names = [system for system in found["1"]["systems"] if system != "labels"]
    lines += [row("slices", "MSE x 1000, labels", *names), f"|{'---|' * (len(names) + 2)}"]
    for entry in found.values():
        systems = {system: regions["volume"]["mse"] for system, regions in entry["systems"].items()}
        base = systems["labels"]["value"]
        changes = (relative(systems[system]["difference"], base) for system in names)
        lines.append(row(str(entry["slices"]), f"{1000 * base:.3f}", *changes))
    return [*lines, ""]


def side_by_side(result: dict[str, Any]) -> list[str]:
    """Segmentation beside classification, as Fassio et al. compare them."""
    lines = [
        "## Segmentation beside classification\n",
        paragraph(
            "Change against the named way, in % of its figure; band: pixels within 5 of what is marked.",
            "Early stopping had fewer steps than the others: what of a change is CaPE's stands in the rows",
            "of continued cross-entropy.",
        ),
        row("", "against", "pixels MSE", "band MSE", "slices MSE", "pixels KL", "band KL", "slices KL"),
        f"|{'---|' * 8}",
    ]
    places = [("pixels", "volume"), ("pixels", "band_5vox"), ("slices", "volume")]
    for arm in ("bin", "kernel"):
        for base in ("labels", "early stopping"):
            cells = []
            for figure in ("mse", "kl"):
                for part, region in places:
                    systems = result[part]["systems"]
                    one, two = systems[arm][region][figure], systems[base][region][figure]
                    cells.append(
                        relative(one["difference"], two["value"])
                        if base == "labels"
                        else f"{100 * (one['value'] / two['value'] - 1):+.1f}"
                    )
            lines.append(row(NAMES[arm], NAMES[base], *cells))
    return [*lines, ""]


def table(systems: dict[str, Any], region: str, base: str) -> list[str]:
    """Figures of all systems in one region, and the difference of the squared error."""
    names = {**UNITS, **PLAIN}
    kinds = [kind for kind in names if kind in systems[base][region]]
    lines = [
        row("", *(names[kind][0] for kind in kinds), f"MSE less that of {label(base)}"),
        f"|{'---|' * (len(kinds) + 2)}",
    ]
    for system, regions in systems.items():
        found = regions[region]
        cells = [interval(found[kind], names[kind][1]) for kind in kinds]
        change = found["mse"]["difference"]
        lines.append(row(label(system), *cells, "" if change is None else interval(change, 1000, sign="+")))
    return lines


def label(system: str) -> str:
    """Name of a system for readers."""
    arm, comma, rest = system.partition(",")
    return f"{NAMES[arm]}{comma}{rest}"


def relative(change: dict[str, Any] | None, base: float) -> str:
    """A difference in per cent of a figure, with its interval."""
    if change is None:
        return ""
    if change["low"] is None:
        return f"{100 * change['value'] / base:+.1f} ({change['interval']})"
    low, high = (100 * change[end] / base for end in ("low", "high"))
    mark = "*" if low > 0 or high < 0 else ""
    return f"{100 * change['value'] / base:+.1f} ({low:+.1f} to {high:+.1f}){mark}"


def interval(found: dict[str, Any], factor: float, sign: str = "") -> str:
    """A figure with its interval; a difference whose interval leaves out 0 is marked."""
    if found["low"] is None:
        return f"{factor * found['value']:{sign}.3f} ({found['interval']})"
    value, low, high = (factor * found[k] for k in ("value", "low", "high"))
    mark = "*" if sign and (low > 0 or high < 0) else ""
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f}){mark}"


def main() -> int:
    """Write the page, or compare it."""
    text = page(json.loads(RESULT.read_text(encoding="utf-8")))
    return write_or_check((PAGE, text))


if __name__ == "__main__":
    sys.exit(main())
