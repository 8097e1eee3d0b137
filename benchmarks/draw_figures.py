"""Draws the pictures of docs/reference/hippocampus-trust.md from the results of run_trust.py.

    python benchmarks/draw_figures.py

Reads <out>/hippocampus-test-records.json and -trust.json; writes docs/images/hippocampus-{reliability,shifts,
missed}.png. The scan with the largest share of missed voxels under any shift is predicted once more.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt

from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import read_records
from segtrust.evaluate.shifts import corrupt, shift_seed
from segtrust.inference import Predictor
from segtrust.inference.prediction import BLIND_SPOT
from segtrust.inference.scan import Scan
from segtrust.metrics.voxels import pooled
from segtrust.models import open_version
from segtrust.training.cases import read_labelled

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SYSTEMS = {"ensemble": ("uncalibrated ensemble", "#e69f00"), "served": ("served", "#0072b2")}


def main() -> int:
    """Draw three pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    mpl.use("agg")
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    result = json.loads((args.results / "hippocampus-test-trust.json").read_text(encoding="utf-8"))
    reliability(args.results / "hippocampus-test-records.json")
    shifts(result)
    missed(result, args.data)
    return 0


def reliability(path: Path) -> None:
    """Accuracy against confidence in the band, clean scans, with the share of voxels below."""
    records = read_records(path).records
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(4.2, 4.8), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    upper.plot([0.3, 1], [0.3, 1], color="0.6", linewidth=1)
    for system, (label, colour) in SYSTEMS.items():
        bins = pooled([record.totals[system]["band"] for record in records]).bins.coarsen(15)
        full = bins.counts >= 1000
        confidence, accuracy = (part[full] / bins.counts[full] for part in (bins.confidence, bins.hits))
        upper.plot(confidence, accuracy, "o-", color=colour, label=label, markersize=4)
        lower.step(confidence, 100 * bins.counts[full] / bins.counts.sum(), where="mid", color=colour)
    upper.set(ylabel="share of right labels", title=f"Band, {len(records)} clean test scans")
    upper.legend(frameon=False)
    lower.set(
        xlabel="confidence (bins of 1/15 with at least 1000 voxels)", ylabel="% of voxels", yscale="log"
    )
    save(figure, "reliability")


def shifts(result: dict[str, Any]) -> None:
    """Dice, calibration error and correlation of the score with Dice, per corruption and strength."""
    found, ranking = result["shifts"], result["ranking"]["shifts"]
    names = list(dict.fromkeys(name.rsplit("-", 1)[0] for name in found))
    panels = {
        "mean Dice": lambda c: found[c]["dice"],
        "ECE of the band, served": lambda c: found[c]["served"]["band"]["ece"],
        "Pearson: entropy, logit Dice": lambda c: ranking[c]["entropy"]["logit_dice"]["pearson"]["value"],
    }
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained")
    colours = mpl.colormaps["tab10"].colors
    for axis, (title, value) in zip(axes, panels.items(), strict=True):
        for name, colour in zip(names, colours, strict=False):
            axis.plot([1, 2, 3], [value(f"{name}-{s}") for s in (1, 2, 3)], "o-", color=colour, label=name)
        axis.set(title=title, xlabel="strength", xticks=(1, 2, 3))
    clean = result["calibrators"]["card"]["systems"]
    axes[0].axhline(clean["dice"]["served"]["mean"]["value"], color="0.6", linestyle=":")
    axes[1].axhline(clean["calibration"]["served"]["band"]["ece"]["value"], color="0.6", linestyle=":")
    axes[2].axhline(
        result["ranking"]["clean"]["entropy"]["logit_dice"]["pearson"]["value"], color="0.6", linestyle=":"
    )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    save(figure, "shifts")


def missed(result: dict[str, Any], data: Path) -> None:
    """Where the map is blind: the scan and shift with the largest share of missed voxels."""
    name, found = max(result["shifts"].items(), key=lambda item: worst_share(item[1]["missed"]["worst"]))
    protocol = Protocol.read(ROOT / "benchmarks" / "protocol.json")
    check_data(protocol, data)
    version = open_version(ROOT / "lib" / "segtrust" / "shipped" / "hippocampus")
    worst, (shift, strength) = found["missed"]["worst"], name.rsplit("-", 1)
    scan, labels = read_labelled(data, worst["scan"], version.spec)
    seed = shift_seed(protocol.shift_seed, worst["scan"], shift)
    values = corrupt(scan.data.numpy(), shift, int(strength), seed)
    prediction = Predictor(version).predict_scan(Scan(torch.from_numpy(values), scan.affine, scan.spacing))
    truth, chance = labels.numpy() > 0, prediction.map("chance_of_error")
    index = int((truth & (prediction.mask == 0)).sum(axis=(0, 1)).argmax())
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 4), layout="constrained")
    for axis in axes:
        axis.imshow(values[0, :, :, index].T, cmap="gray", origin="lower")
        axis.contour(truth[:, :, index].T, [0.5], colors="#f0e442", linestyles="--", linewidths=1.2)
        if (prediction.mask[:, :, index] > 0).any():
            axis.contour(prediction.mask[:, :, index].T > 0, [0.5], colors="#56b4e9", linewidths=1.5)
        axis.set_axis_off()
    faint = np.ma.masked_less(chance[:, :, index].T, 0.02)
    shown = axes[1].imshow(faint, cmap="inferno", origin="lower", vmin=0, vmax=0.5, alpha=0.8)
    figure.colorbar(shown, ax=axes[1], label="chance that the label is wrong", shrink=0.8)
    axes[0].set_title("dashed: reference, blue: prediction")
    axes[1].set_title("the map")
    figure.suptitle(
        f"{worst['scan']}, {shift} at strength {strength}: {worst['voxels']} of {worst['of']} reference\n"
        f"voxels lie more than 5 mm from the prediction.\n{BLIND_SPOT}",
        fontsize=8,
    )
    save(figure, "missed")


def worst_share(worst: dict[str, Any]) -> float:
    """Share of the reference's voxels that were missed."""
    return float(worst["voxels"]) / max(1, int(worst["of"]))


def save(figure: Any, name: str) -> None:  # noqa: ANN401  # matplotlib has no types
    """Write a picture."""
    path = IMAGES / f"hippocampus-{name}.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
