"""Compares our metrics with other libraries on one made-up scan of 512 x 512 x 300 voxels and 4 classes.

    python benchmarks/bench_metrics.py --other OTHER/bin/python --write benchmarks/results/metrics.json

OTHER is the environment of `oracles/run_other_libraries.py`; without it netcal and torch-uncertainty are left
out. Every contender runs once, in a process and on a thread of its own, from the same two arrays:
probabilities `(4, 512, 512, 300)` float32 and labels uint8. What else a library needs counts as its.
Time is processor time; memory is the peak above the two arrays. A contender that needs more than the limit of
address space is ended and counted as such.
"""
# ruff: noqa: PLC0415  # a contender imports its own library, since no environment has them all

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

SHAPE = (512, 512, 300)
CLASSES = 4
PACKAGES = ("torch", "numpy", "scipy", "monai", "torchmetrics", "scikit-learn", "netcal", "torch-uncertainty")
Task = Callable[[torch.Tensor, torch.Tensor], Any]


def make_scan(folder: Path, shape: tuple[int, ...]) -> None:
    """Background with three unsure blobs; labels are drawn from a less sure model, slab by slab."""
    rng = np.random.default_rng(0)
    probs = np.lib.format.open_memmap(folder / "probs.npy", "w+", np.float32, (CLASSES, *shape))
    labels = np.lib.format.open_memmap(folder / "labels.npy", "w+", np.uint8, shape)
    place = np.indices(shape[1:], dtype=np.float32)
    for x in range(shape[0]):
        logits = rng.standard_normal((CLASSES, *shape[1:]), dtype=np.float32)
        logits[0] += 8
        for k in range(1, CLASSES):
            centre = [n * (0.25 + 0.2 * k) for n in shape]
            far = (x - centre[0]) ** 2 + (place[0] - centre[1]) ** 2 + (place[1] - centre[2]) ** 2
            logits[k] += 14 - np.sqrt(far, dtype=np.float32) / (min(shape) / 40)
        drawn = np.exp(logits * 0.7)
        drawn /= drawn.sum(axis=0)
        uniform = rng.random(shape[1:], dtype=np.float32)
        labels[x] = (uniform > drawn.cumsum(axis=0)[:-1]).sum(axis=0)
        p = np.exp(logits - logits.max(axis=0))
        probs[:, x] = p / p.sum(axis=0)


def rows(probs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What libraries for classification take: ``(n, C)`` and ``(n,)`` int64."""
    return probs.reshape(CLASSES, -1).T.contiguous(), labels.reshape(-1).long()


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    """What MONAI takes: ``(1, C, ...)``, float32 as its own transforms make it."""
    return torch.stack([labels == k for k in range(CLASSES)])[None].float()


def _ours_all(probs: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    from segtrust.metrics import FINE_CELLS, calibration_table, voxel_totals

    totals = voxel_totals(probs, labels, cells=FINE_CELLS, class_cells=FINE_CELLS)
    return calibration_table({"volume": totals})


def _ours_top_label(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from segtrust._binning import bin_voxels
    from segtrust.metrics import expected_calibration_error

    confidence, winner = probs.max(dim=0)
    return expected_calibration_error(bin_voxels(confidence, winner == labels, cells=15))


def _ours_detection(uncertainty: torch.Tensor, wrong: torch.Tensor) -> dict[str, float]:
    from segtrust.metrics import ErrorHistogram, detection_limits, error_aupr, error_auroc, error_fpr

    found = ErrorHistogram.of(uncertainty, wrong)
    limits = detection_limits(found)
    return {
        "auroc": error_auroc(found), "aupr": error_aupr(found), "fpr95": error_fpr(found),
        **{f"{name}_limits": pair for name, pair in limits._asdict().items()},
    }  # fmt: skip


def _ours_dice(predicted: torch.Tensor, labels: torch.Tensor) -> list[float]:
    from segtrust.metrics import Confusion

    return Confusion.of(predicted.numpy(), labels.numpy(), CLASSES - 1).dice().tolist()


def _ours_ncc(uncertainty: torch.Tensor, wrong: torch.Tensor) -> float:
    from segtrust.metrics import MapMoments

    return MapMoments.of(uncertainty, wrong).ncc


def _monai_classwise(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from monai.metrics import CalibrationErrorMetric

    metric = CalibrationErrorMetric(num_bins=15, metric_reduction="mean")
    metric(probs[None], one_hot(labels))
    return float(metric.aggregate())


def _monai_dice(predicted: torch.Tensor, labels: torch.Tensor) -> list[float]:
    from monai.metrics import DiceMetric

    metric = DiceMetric(include_background=False, reduction="none")
    return [float(d) for d in metric(one_hot(predicted), one_hot(labels))[0]]


def _torchmetrics_top_label(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(multiclass_calibration_error(*rows(probs, labels), CLASSES, n_bins=15))


def _torchmetrics_detection(uncertainty: torch.Tensor, wrong: torch.Tensor) -> dict[str, float]:
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    flat, bad = uncertainty.reshape(-1), wrong.reshape(-1).long()
    return {"auroc": float(binary_auroc(flat, bad)), "aupr": float(binary_average_precision(flat, bad))}


def _torchmetrics_dice(predicted: torch.Tensor, labels: torch.Tensor) -> list[float]:
    from torchmetrics.functional.segmentation import dice_score

    found = dice_score(
        predicted[None].long(), labels[None].long(), CLASSES, include_background=False, average="none",
        input_format="index",
    )  # fmt: skip
    return [float(d) for d in found[0]]


def _torchmetrics_ncc(uncertainty: torch.Tensor, wrong: torch.Tensor) -> float:
    from torchmetrics.functional import pearson_corrcoef

    return float(pearson_corrcoef(uncertainty.reshape(-1), wrong.reshape(-1).float()))


def _sklearn_nll(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from sklearn.metrics import log_loss

    return float(
        log_loss(labels.reshape(-1).numpy(), probs.reshape(CLASSES, -1).T.numpy(), labels=range(CLASSES))
    )


def _sklearn_brier(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from sklearn.metrics import brier_score_loss

    p = probs.reshape(CLASSES, -1).T.numpy()
    return float(brier_score_loss(labels.reshape(-1).numpy(), p, labels=range(CLASSES), scale_by_half=False))


def _sklearn_detection(uncertainty: torch.Tensor, wrong: torch.Tensor) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    flat, bad = uncertainty.reshape(-1).numpy(), wrong.reshape(-1).numpy()
    return {"auroc": float(roc_auc_score(bad, flat)), "aupr": float(average_precision_score(bad, flat))}


def _netcal_top_label(probs: torch.Tensor, labels: torch.Tensor) -> float:
    from netcal.metrics import ECE

    p, y = rows(probs, labels)
    return float(ECE(15).measure(p.numpy(), y.numpy()))


def torch_uncertainty(name: str, options: dict[str, Any]) -> Task:
    """Task for one metric of torch-uncertainty."""

    def measure(probs: torch.Tensor, labels: torch.Tensor) -> float:
        from oracles.torch_uncertainty_metrics import classification

        metric = getattr(classification, name)(**options)
        metric.update(*rows(probs, labels))
        return float(metric.compute())

    return measure


def _torch_uncertainty_fpr(uncertainty: torch.Tensor, wrong: torch.Tensor) -> float:
    from oracles.torch_uncertainty_metrics import classification

    metric = classification.FPR95(pos_label=1)
    metric.update(uncertainty.reshape(-1), wrong.reshape(-1).long())
    return float(metric.compute())


_TU = {"task": "multiclass", "num_bins": 15, "num_classes": CLASSES}
TASKS: dict[str, dict[str, Task]] = {
    "NLL, Brier with its parts, top-label and class-wise ECE, ACE, MCE, KS": {
        "segtrust": _ours_all,
        "monai: class-wise ECE alone": _monai_classwise,
        "scikit-learn: NLL alone": _sklearn_nll,
        "scikit-learn: Brier alone": _sklearn_brier,
        "torch-uncertainty: NLL alone": torch_uncertainty("CategoricalNLL", {}),
        "torch-uncertainty: Brier alone": torch_uncertainty("BrierScore", {"num_classes": CLASSES}),
        "torch-uncertainty: class-wise ECE alone": torch_uncertainty(
            "ClasswiseCalibrationError", {"num_classes": CLASSES}
        ),
        "torch-uncertainty: equal-mass ECE alone": torch_uncertainty("AdaptiveCalibrationError", _TU),
    },
    "top-label ECE": {
        "segtrust": _ours_top_label,
        "torchmetrics": _torchmetrics_top_label,
        "netcal": _netcal_top_label,
        "torch-uncertainty": torch_uncertainty("CalibrationError", _TU),
    },
    "error detection: AUROC, AUPR, FPR95": {
        "segtrust": _ours_detection,
        "scikit-learn: AUROC, AUPR": _sklearn_detection,
        "torchmetrics: AUROC, AUPR": _torchmetrics_detection,
        "torch-uncertainty: FPR95": _torch_uncertainty_fpr,
    },
    "Dice": {"segtrust": _ours_dice, "monai": _monai_dice, "torchmetrics": _torchmetrics_dice},
    "NCC": {"segtrust": _ours_ncc, "torchmetrics": _torchmetrics_ncc},
}
OTHER = ("netcal", "torch-uncertainty")
MAPS = ("error detection: AUROC, AUPR, FPR95", "NCC")


def resident(field: str) -> int:
    """Bytes that this process holds (`VmRSS`) or held at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def given(folder: Path, title: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The two arrays that a task starts from."""
    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    probs = torch.from_numpy(np.load(folder / "probs.npy"))
    if title == "Dice":
        return probs.argmax(dim=0).to(torch.uint8), labels
    if title in MAPS:
        confidence, winner = probs.max(dim=0)
        return 1 - confidence, winner != labels
    return probs, labels


def run_one(folder: Path, title: str, name: str, limit: int) -> dict[str, Any]:
    """Measure one contender in this process."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    one, two = given(folder, title)
    TASKS[title][name](one[..., :2].contiguous(), two[..., :2].contiguous())  # imports are no part of it
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before, begun = resident("VmRSS"), time.process_time()
    try:
        value = TASKS[title][name](one, two)
    except (MemoryError, RuntimeError) as error:
        return {"failed": f"{type(error).__name__}: {str(error)[:120]}"}
    seconds, peak = time.process_time() - begun, resident("VmHWM") - before
    return {"seconds": round(seconds, 2), "peak_mb": round(peak / 1e6), "value": value}


def versions() -> dict[str, str]:
    """Versions of what is installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def run(python: str, *arguments: str) -> dict[str, Any]:
    """What this file prints as JSON in another process."""
    command = [python, str(Path(__file__)), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # this file
    if done.returncode:
        return {"failed": f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def compare(folder: Path, other: str | None, limit: int) -> dict[str, Any]:
    """Run every contender, one after the other; ratios are to segtrust."""
    found: dict[str, Any] = {}
    for title, contenders in TASKS.items():
        rows_of = found[title] = {}
        for name in contenders:
            foreign = name.startswith(OTHER)
            if foreign and other is None:
                continue
            python = other if foreign and other is not None else sys.executable
            one = run(python, "--folder", str(folder), "--one", title, name, "--limit", str(limit))
            mine = rows_of.get("segtrust", one)
            for unit in ("seconds", "peak_mb"):
                if unit in one and mine is not one:
                    one[f"{unit}_ratio"] = round(one[unit] / max(mine[unit], 1), 2)
            rows_of[name] = one
            print(title, name, json.dumps(one), flush=True)
    return found


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--other", help="Python of the environment with netcal and torch-uncertainty")
    parser.add_argument("--write", type=Path, help="JSON file for the results")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE)
    parser.add_argument(
        "--limit", type=int, default=12_000_000_000, help="address space of a contender, bytes"
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--versions", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.versions:
        print(json.dumps(versions()))
    elif options.one:
        print(json.dumps(run_one(options.folder, *options.one, options.limit)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            make_scan(Path(folder), tuple(options.shape))
            document = {
                "command": "python benchmarks/bench_metrics.py --other OTHER/bin/python",
                "shape": [CLASSES, *options.shape],
                "limit_bytes": options.limit,
                "versions": versions(),
                "versions_other": run(options.other, "--versions") if options.other else None,
                "machine": platform.processor() or platform.machine(),
                "tasks": compare(Path(folder), options.other, options.limit),
            }
        if options.write:
            options.write.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
