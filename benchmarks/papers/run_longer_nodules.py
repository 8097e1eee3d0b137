"""The longer training of the stochastic network held against what can be had for less, on the role test.

    python benchmarks/papers/run_longer_nodules.py

Reads the networks that train_longer_nodules.py and monteiro.py trained (or trains them) and the version that
the sample app serves, draws 32 masks of every test slice per source, and writes
benchmarks/results/lung-nodules-longer.json. The role test is read by this step alone.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lung_nodules import FOLDER, Slices, digest, scan_of
from monteiro import (
    HERE,
    Bench,
    Draw,
    judge,
    one_threshold,
    paired,
    per_voxel,
    rater_of_train,
    stochastic,
    summary,
)
from numpy.typing import NDArray
from train_longer_nodules import PLAIN, RANK, STOCHASTIC, folder_of, network_of, seconds_of
from train_lung_nodules import MODELS, seeded

from segtrust.calibrators import Calibrator, Identity, calibrate_scan
from segtrust.evaluate.records import software_versions
from segtrust.inference import Predictor
from segtrust.models import open_version

SERVED = "stochastic, longer"
SEEDS = range(4)
CELLS = 15
DRAWS = 32
NAME = "lung-nodules-longer.json"


def sources(train: Slices, cache: Path, data: Path) -> dict[str, tuple[Draw, float]]:
    """Every source, and the seconds that its training took."""
    bench = Bench(train, cache, print)
    longer, plain = (network_of(plan, cache, data)[0] for plan in (STOCHASTIC, PLAIN))
    short, short_plain = (bench.network(plan.run) for plan in (STOCHASTIC, PLAIN))
    long_seconds = [seconds_of(plan, cache, data) for plan in (STOCHASTIC, PLAIN)]
    seconds = [bench.seconds(plan.run) for plan in (STOCHASTIC, PLAIN)]
    largest = with_largest_of(train)
    return {
        SERVED: (stochastic(longer, RANK, largest), long_seconds[0]),
        "one threshold, longer": (one_threshold(plain), long_seconds[1]),
        "per voxel, longer": (per_voxel(plain), long_seconds[1]),
        "stochastic, short": (stochastic(short, RANK), seconds[0]),
        "one threshold, short": (one_threshold(short_plain), seconds[1]),
        "per voxel, short": (per_voxel(short_plain), seconds[1]),
        "a random rater of train": (rater_of_train(train.masks), 0.0),
    }


def with_largest_of(train: Slices) -> int:
    """Pixels of the largest outline of train."""
    return int(train.masks.sum(axis=(2, 3), dtype=np.int64).max())


def calibration_errors(
    predictor: Predictor, slices: Slices, seeds: range
) -> dict[str, dict[str, float | list[float]]]:
    """Calibration error of the served probability of a nodule, pixels of all raters, one figure per seed.

    Args:
        predictor: of the served version.
        slices: to judge on, the first of each patient.
        seeds: of the draws.

    Returns:
        Raw and calibrated: 15 equal bins of the probability; also the mean over seeds.
    """
    served: dict[str, Calibrator] = {"raw": Identity(), "calibrated": predictor.calibrator}
    _, first = np.unique(slices.patients, return_index=True)
    found: dict[str, dict[str, Any]] = {name: {"seeds": []} for name in served}
    for seed in seeds:
        counts = {name: np.zeros((3, CELLS)) for name in served}
        drawing = seeded(predictor, seed)
        for image, raters in zip(slices.images[first], slices.masks[first], strict=True):
            scan = scan_of(image)
            mean = drawing.sample(scan)[1].mean
            mask = mean.max(dim=0).indices.to(torch.uint8).numpy()
            for name, calibrator in served.items():
                chance = calibrate_scan(calibrator, mean, mask, scan.spacing)[1, ..., 0].numpy()
                counts[name] += binned(chance, raters)
        for name, (n, chances, marks) in counts.items():
            found[name]["seeds"].append(float(np.abs(chances - marks).sum() / n.sum()))
    return {name: {**each, "mean": float(np.mean(each["seeds"]))} for name, each in found.items()}


def binned(chance: NDArray[np.float32], raters: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pixels, sum of chances and share of raters that marked, ``(3, cells)``; right-closed bins of (0, 1]."""
    cells = np.clip(np.ceil(chance.astype(np.float64).ravel() * CELLS).astype(int) - 1, 0, CELLS - 1)
    weights = (None, chance.astype(np.float64).ravel(), raters.mean(axis=0, dtype=np.float64).ravel())
    return np.stack([np.bincount(cells, weights=w, minlength=CELLS) for w in weights])


def main() -> int:
    """Judge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "lung-nodules", help="default: runs/...")
    parser.add_argument("--model", type=Path, default=MODELS / "lung-nodules")
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="default: benchmarks/results"
    )
    args = parser.parse_args()
    train = Slices.read("train", args.data)
    drawn = sources(train, args.cache, args.data)
    test = Slices.read("test", args.data)
    four = test.empty_raters() == 0
    kept = folder_of(STOCHASTIC, train, args.cache) / "test"
    kept.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, float | None]]] = {}
    for number, (name, (draw, _)) in enumerate(drawn.items()):
        path = kept / f"{number}.json"
        if not path.is_file():
            path.write_text(json.dumps(judge(draw, test, DRAWS)), encoding="utf-8")
        rows[name] = json.loads(path.read_text(encoding="utf-8"))
        print(time.strftime("%H:%M:%S"), name, flush=True)
    predictor = Predictor(open_version(args.model))
    path = kept / f"calibration-{predictor.version.digest[:12]}.json"
    if not path.is_file():
        path.write_text(json.dumps(calibration_errors(predictor, test, SEEDS)), encoding="utf-8")
    result = {
        "command": "python benchmarks/papers/run_longer_nodules.py",
        "data": {"train": digest([train]), "test": digest([test]), "slices": len(test.images)},
        "patients": {"train": len(set(train.patients)), "test": len(set(test.patients))},
        "plan": asdict(STOCHASTIC),
        "largest": predictor.spec.head.largest,
        "served": {"version": predictor.version.id, "calibrator": predictor.calibrator.to_json()},
        "calibration": json.loads(path.read_text(encoding="utf-8")),
        "draws": DRAWS,
        "methods": {
            name: {
                "seconds": drawn[name][1],
                **summary(each, test),
                "less the longer network": {
                    "all": paired(each, rows[SERVED], test, draws=DRAWS),
                    "no rater empty": paired(each, rows[SERVED], test, four, draws=DRAWS),
                },
            }
            for name, each in rows.items()
        },
        "software": software_versions(),
    }
    out = args.out / NAME
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
