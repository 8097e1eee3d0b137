"""Trains, calibrates and publishes the model of the sample app `stochastic`.

    python benchmarks/papers/train_lung_nodules.py

The network is the longer one of train_longer_nodules.py beside it, read from the same cache. The role val
fits the temperature, one slice per patient, every rater counting alike, over eight seeds of draws.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from lung_nodules import FOLDER, RATERS, Slices, scan_of, spec_of
from train_longer_nodules import RANK, STOCHASTIC, network_of, seconds_of

from segtrust.calibrators import CalibrationVoxels, Identity, choose_served, draw_voxels
from segtrust.evaluate.records import software_versions
from segtrust.inference import Predictor, StochasticSource
from segtrust.inference.seen import seen_in, with_largest
from segtrust.models import ModelSpec, ModelVersion, publish_version
from segtrust.regions import distance_to

MODELS = Path(__file__).parents[2] / "sample-apps" / "stochastic" / "models"
SEEDS = range(100, 108)  # none that a request or the benchmark draws with
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
    train, val = (Slices.read(role, args.data) for role in ("train", "val"))
    _, folder = network_of(STOCHASTIC, args.cache, args.data)
    spec, member = spec_as_served(train), folder / "member.safetensors"
    identity = {"calibrator": Identity().to_json()}
    draft = Predictor(ModelVersion(args.models, "draft", spec, (member,), identity, {}, "draft"))
    voxels = [each for seed in SEEDS for each in calibration_voxels(draft, val, seed)]
    scans = len(voxels) // RATERS // len(SEEDS)
    card = {
        "name": spec.name,
        "parent": None,
        "recipe": asdict(STOCHASTIC),
        "training_seconds": seconds_of(STOCHASTIC, args.cache, args.data),
        "data": {"train": len(train.images), "val": scans},
        "data_subjects": {role: len(set(s.patients)) for role, s in (("train", train), ("val", val))},
        "source": SOURCE,
        "command": "python benchmarks/papers/train_lung_nodules.py",
        "software": software_versions(),
        "test_note": "measured by run_longer_nodules.py: docs/reference/lung-nodules-stochastic.md",
    }
    calibration = {
        "calibrator": choose_served(voxels, "pooled_temperature").calibrator.to_json(),
        "fitted_on": {"scans": scans, "role": "val", "raters": RATERS, "seeds": len(SEEDS)},
        "precision": "fp32",
    }
    version = publish_version(args.models / spec.name, spec, [member], calibration, card)
    print(f"published {spec.name} {version.id}, {calibration['calibrator']}")
    return 0


def spec_as_served(train: Slices) -> ModelSpec:
    """The specification with what training crops looked like; their pixels have no size."""
    spec = replace(
        spec_of("lung-nodules", rank=RANK),
        description="lung nodules in CT crops of 64 x 64 pixels, as four radiologists outline them",
    )
    spec = seen_in(spec, [replace(scan_of(image), spacing=None) for image in train.images])
    return with_largest(spec, torch.from_numpy(train.masks.reshape(-1, *train.masks.shape[2:])) > 0)


def seeded(predictor: Predictor, seed: int) -> Predictor:
    """The same model with other draws of every scan."""
    source = predictor.source
    assert isinstance(source, StochasticSource)
    return Predictor(predictor.version, source=replace(source, seed=seed))


def calibration_voxels(predictor: Predictor, slices: Slices, seed: int) -> Sequence[CalibrationVoxels]:
    """Voxels of one slice per patient, once per rater, as one seed draws them."""
    found = []
    _, first = np.unique(slices.patients, return_index=True)
    drawing = seeded(predictor, seed)
    for index in first:
        scan = scan_of(slices.images[index])
        mean = drawing.sample(scan)[1].mean
        distance = torch.from_numpy(distance_to(mean.argmax(dim=0).numpy() > 0, scan.spacing))
        for rater in range(RATERS):
            labels = torch.from_numpy(slices.masks[index, rater].astype(np.int64))[..., None]
            patient, picks = str(slices.patients[index]), int(index) * RATERS + rater
            found.append(draw_voxels(mean, labels, distance, subject=patient, seed=picks))
    return found


if __name__ == "__main__":
    sys.exit(main())
