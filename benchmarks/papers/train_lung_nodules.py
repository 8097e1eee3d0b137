"""Trains, calibrates and publishes the model of the sample app `stochastic`.

    python benchmarks/papers/train_lung_nodules.py

The network is the one of rank 10 and four raters in benchmarks/papers/monteiro.py, read from the same cache.
The role val fits the temperature, one slice per patient, every rater counting alike.
"""

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from lung_nodules import FOLDER, RATERS, Slices, scan_of, spec_of
from monteiro import BUDGET, HERE, PASSES, Bench, Run

from segtrust.calibrators import CalibrationVoxels, Identity, choose_served, draw_voxels
from segtrust.evaluate.records import software_versions
from segtrust.inference import Predictor
from segtrust.models import ModelVersion, publish_version
from segtrust.regions import distance_to

MODELS = HERE.parents[1] / "sample-apps" / "stochastic" / "models"
SOURCE = (
    "LIDC-IDRI, Armato et al. 2011, Medical Physics 38(2), CC BY 3.0 "
    "(https://creativecommons.org/licenses/by/3.0/); the weights are under the same licence"
)


def main() -> int:
    """Train, calibrate, publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "lung-nodules", help="default: runs/...")
    parser.add_argument("--models", type=Path, default=MODELS)
    args = parser.parse_args()
    train = Slices.read("train", args.data)
    bench = Bench(train, args.cache, print)
    run = Run(kind="stochastic", raters=RATERS, rank=10)
    bench.network(run)
    spec = replace(
        spec_of("lung-nodules", rank=10),
        description="lung nodules in CT crops of 64 x 64 pixels, as four radiologists outline them",
    )
    member = bench.folder(run) / "member.safetensors"
    identity = {"calibrator": Identity().to_json()}
    draft = Predictor(ModelVersion(args.models, "draft", spec, (member,), identity, {}, "draft"))
    val = Slices.read("val", args.data)
    voxels = calibration_voxels(draft, val)
    card = {
        "name": spec.name,
        "parent": None,
        "recipe": {**asdict(BUDGET), "passes": PASSES, "seeds": [run.seed]},
        "training_seconds": bench.seconds(run),
        "data": {"train": len(train.images), "val": len(voxels) // RATERS},
        "data_subjects": {role: len(set(s.patients)) for role, s in (("train", train), ("val", val))},
        "source": SOURCE,
        "command": "python benchmarks/papers/train_lung_nodules.py",
        "software": software_versions(),
        "test_note": "measured by benchmarks/papers/monteiro.py: docs/reference/lung-nodules-stochastic.md",
    }
    calibration = {
        "calibrator": choose_served(voxels, "pooled_temperature").calibrator.to_json(),
        "fitted_on": {"scans": len(voxels) // RATERS, "role": "val", "raters": RATERS},
        "precision": "fp32",
    }
    version = publish_version(args.models / spec.name, spec, [member], calibration, card)
    print(f"published {spec.name} {version.id}, {calibration['calibrator']}")
    return 0


def calibration_voxels(predictor: Predictor, slices: Slices) -> list[CalibrationVoxels]:
    """Voxels of one slice per patient, once per rater."""
    found = []
    _, first = np.unique(slices.patients, return_index=True)
    for index in first:
        scan = scan_of(slices.images[index])
        mean = predictor.sample(scan)[1].mean
        distance = torch.from_numpy(distance_to(mean.argmax(dim=0).numpy() > 0, scan.spacing))
        for rater in range(RATERS):
            labels = torch.from_numpy(slices.masks[index, rater].astype(np.int64))[..., None]
            patient, seed = str(slices.patients[index]), int(index) * RATERS + rater
            found.append(draw_voxels(mean, labels, distance, subject=patient, seed=seed))
    return found


if __name__ == "__main__":
    sys.exit(main())
