"""Measures made-up voxels with netcal and torch-uncertainty, and writes what they say for the tests.

Both need packages that MONAI Label cannot have beside it (NumPy 2), so they get an environment of their own:

    python -m venv other && other/bin/pip install netcal==1.4.0 torch-uncertainty==0.13.0 torchmetrics
    other/bin/python benchmarks/oracles/run_other_libraries.py

Confidences lie in the middle of distinct cells of 1/6000, so that no library has a tie or an edge to decide.
The file holds the voxels themselves.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import netcal.metrics
import numpy as np
import torch
from numpy.typing import NDArray
from torch_uncertainty_metrics import classification as tu

TARGET = Path(__file__).parents[2] / "tests" / "data" / "other_libraries.json"
VOXELS, CLASSES, BINS, CELLS = 300, 3, 15, 6000

Array = NDArray[np.float64]


def made_up_voxels() -> tuple[Array, NDArray[np.int64]]:
    """Probabilities ``(n, 3)`` and labels ``(n,)`` of an overconfident model."""
    rng = np.random.default_rng(20260101)
    confidence = (rng.choice(np.arange(2400, CELLS), VOXELS, replace=False) + 0.5) / CELLS
    share = rng.uniform(0.4, 0.6, VOXELS)
    rest = 1 - confidence
    rows = np.stack([confidence, rest * share, rest * (1 - share)], axis=1)
    winner = rng.integers(0, CLASSES, VOXELS)
    probs = np.stack([np.roll(row, k) for row, k in zip(rows, winner, strict=True)])
    right = rng.random(VOXELS) < confidence**2
    labels = np.where(right, winner, (winner + rng.integers(1, CLASSES, VOXELS)) % CLASSES)
    return probs, labels


def by_netcal(probs: Array, labels: NDArray[np.int64]) -> dict[str, float]:
    """Top-label errors of 15 bins."""
    measures = {
        "ece": netcal.metrics.ECE(BINS),
        "mce": netcal.metrics.MCE(BINS),
        "ace": netcal.metrics.ACE(BINS),
        "ece_equal_mass": netcal.metrics.ECE(BINS, equal_intervals=False),
    }
    return {name: float(measure.measure(probs, labels)) for name, measure in measures.items()}


def by_torch_uncertainty(probs: Array, labels: NDArray[np.int64]) -> dict[str, float]:
    """Every measure of theirs that we have too; voxels stand for scans in the areas under risk curves."""
    p, y = torch.from_numpy(probs), torch.from_numpy(labels)
    options = {"task": "multiclass", "num_bins": BINS, "num_classes": CLASSES}
    measures = {
        "ece": tu.CalibrationError(**options),
        "mce": tu.CalibrationError(**options, norm="max"),
        "ece_equal_mass": tu.AdaptiveCalibrationError(**options),
        "mce_equal_mass": tu.AdaptiveCalibrationError(**options, norm="max"),
        "classwise_ece": tu.ClasswiseCalibrationError(num_classes=CLASSES, num_bins=BINS),
        "brier": tu.BrierScore(num_classes=CLASSES),
        "nll": tu.CategoricalNLL(),
        "aurc": tu.AURC(),
        "augrc": tu.AUGRC(),
    }
    for measure in measures.values():
        measure.update(p, y)
    confidence, winner = p.max(dim=1)
    fpr95 = tu.FPR95(pos_label=1)
    fpr95.update(1 - confidence, (winner != y).long())
    return {name: float(measure.compute()) for name, measure in {**measures, "fpr95": fpr95}.items()}


def main() -> None:
    """Measure and write."""
    probs, labels = made_up_voxels()
    packages = ("netcal", "torch-uncertainty", "torchmetrics", "torch", "numpy")
    kept = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.is_file() else {}
    document = {
        **{name: kept[name] for name in ("mapie",) if name in kept},  # measures the same voxels
        "command": "python benchmarks/oracles/run_other_libraries.py",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "bins": BINS,
        "probs": probs.tolist(),
        "labels": labels.tolist(),
        "netcal": by_netcal(probs, labels),
        "torch_uncertainty": by_torch_uncertainty(probs, labels),
    }
    TARGET.write_text(json.dumps(document) + "\n", encoding="utf-8")
    print(
        json.dumps({name: document[name] for name in ("versions", "netcal", "torch_uncertainty")}, indent=1)
    )


if __name__ == "__main__":
    main()
