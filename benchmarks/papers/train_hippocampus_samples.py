"""Trains, judges and publishes the 3-D stochastic hippocampus model of the sample app `stochastic`.

    python benchmarks/papers/train_hippocampus_samples.py

The split train alone is trained on and judged: a network without fold 0 is judged on fold 0, then one of all
its scans is published, and val fits its temperatures. Writes <out>/hippocampus-samples.json; what was trained
once is read from <runs>.
"""

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.calibrators import Identity, choose_served
from segtrust.evaluate.cases import draw_scan
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.evaluate.records import software_versions
from segtrust.experiments.folds import Folds
from segtrust.inference import Predictor
from segtrust.inference.sample_masks import PERCENTILES
from segtrust.metrics import dice_per_structure
from segtrust.metrics.bootstrap import cluster_bootstrap
from segtrust.models import Head, ModelSpec, ModelVersion, publish_version
from segtrust.release.publish import spec_as_trained
from segtrust.stochastic import n_channels
from segtrust.training.cache import MemberRun, spent_seconds, train_members
from segtrust.training.cases import cases_in, read_labelled, read_splits, read_subjects
from segtrust.training.run import Recipe

HERE = Path(__file__).parents[1]
MODEL = "hippocampus-stochastic"
MODELS = HERE.parent / "sample-apps" / "stochastic" / "models"
RANK, FOLD = 10, 0
STARTS = (10, 50, 90)
"""Percentiles of the masks that a label is started from."""


def main() -> int:
    """Train, judge, calibrate, publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    protocol = Protocol.read(HERE / "protocol.json")
    check_data(protocol, args.data)
    folds, splits = Folds.read(args.data, protocol), read_splits(args.data)
    recipe = stochastic(Recipe.read("hippocampus"))
    parts = {"fold 0 left out": folds.inside(FOLD), "all": splits["train"]}
    runs = [
        MemberRun(recipe.spec, recipe.budget, seed, cases_in(args.data, scans), f"{MODEL}, {part}")
        for seed, (part, scans) in enumerate(parts.items())
    ]
    apart, member = train_members(runs, args.runs / "members", say=lambda line: print(line, flush=True))
    result = {
        "protocol": protocol.hash,
        "command": shlex.join(["python", *sys.argv]),
        "recipe": {"rank": RANK, "loss": recipe.budget.loss, "epochs": recipe.budget.epochs},
        "training_seconds": spent_seconds([apart, member]),
        **judge(draft(recipe.spec, apart, args.models), args.data, folds.held_out(FOLD)),
        "software": software_versions(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "hippocampus-samples.json"
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    publish(recipe.spec, member, args, splits, result)
    return 0


def stochastic(recipe: Recipe) -> Recipe:
    """The recipe with a small network that puts out a low-rank Gaussian over logits."""
    network = {
        **recipe.spec.network,
        "out_channels": n_channels(len(recipe.spec.labels) + 1, RANK),
        "channels": [16, 32, 64],
        "strides": [2, 2],
        "num_res_units": 1,
    }
    spec = replace(
        recipe.spec,
        name=MODEL,
        network=network,
        patch=(32, 48, 32),
        members=1,
        head=Head(rank=RANK),
        description=f"{recipe.spec.description}: several plausible masks",
    )
    return replace(
        recipe, spec=spec, budget=replace(recipe.budget, epochs=8, average=0.98, augment="light"), seeds=(0,)
    )


def draft(spec: ModelSpec, member: Path, models: Path) -> Predictor:
    """What a member predicts before it is calibrated."""
    identity = {"calibrator": Identity().to_json()}
    return Predictor(ModelVersion(models / MODEL, "draft", spec, (member,), identity, {}, "draft"))


def judge(predictor: Predictor, data: Path, scans: tuple[str, ...]) -> dict[str, Any]:
    """Masks at the percentiles against the label: Dice, volume, and the best of those to start from."""
    subjects, rows = read_subjects(data), []
    for scan_id in scans:
        scan, labels = read_labelled(data, scan_id, predictor.spec)
        prediction = predictor.predict_scan(scan)
        truth, samples = labels.numpy(), prediction.samples
        assert samples is not None  # the head is stochastic
        shown = {p: samples.masks[PERCENTILES.index(p)] for p in STARTS}
        voxels = {f"voxels {p}": float(np.count_nonzero(mask)) for p, mask in shown.items()}
        dices = {f"Dice {p}": mean_dice(mask, truth) for p, mask in shown.items()}
        true = float(np.count_nonzero(truth))
        rows.append(
            dices
            | voxels
            | {
                "Dice of the mask": mean_dice(prediction.mask, truth),
                "best Dice": max(dices.values()),
                "true voxels": true,
                "volume inside": float(voxels["voxels 10"] <= true <= voxels["voxels 90"]),
                "width": (voxels["voxels 90"] - voxels["voxels 10"]) / true,
            }
        )
        print(f"judged {scan_id}: {rows[-1]}", flush=True)
    groups = [subjects.get(scan, scan) for scan in scans]
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    table["best Dice - Dice of the mask"] = table["best Dice"] - table["Dice of the mask"]
    figures = {}
    for name, values in table.items():
        found = cluster_bootstrap(groups, lambda drawn, v=values: float(v[list(drawn)].mean()))
        figures[name] = found.to_json()
    return {"fold": FOLD, "scans": len(scans), "subjects": len(set(groups)), "figures": figures}


def mean_dice(mask: NDArray[Any], truth: NDArray[Any]) -> float:
    """Mean Dice of the two structures."""
    return float(dice_per_structure(mask, truth, 2).mean())


def publish(
    spec: ModelSpec,
    member: Path,
    args: argparse.Namespace,
    splits: dict[str, list[str]],
    result: dict[str, Any],
) -> None:
    """Fit temperatures on val and write the version."""
    spec = spec_as_trained(spec, args.data, splits["train"])
    predictor, subjects, drawn = draft(spec, member, args.models), read_subjects(args.data), []
    for index, scan_id in enumerate(splits["val"]):
        scan, labels = read_labelled(args.data, scan_id, spec)
        subject = subjects.get(scan_id, scan_id)
        drawn.append(draw_scan(predictor, scan, labels, subject=subject, seed=index))
    calibration = {
        "calibrator": choose_served(drawn).calibrator.to_json(),
        "fitted_on": {"scans": len(drawn), "role": "val"},
        "precision": "fp32",
    }
    card = {
        "name": spec.name,
        "parent": None,
        **{key: result[key] for key in ("recipe", "training_seconds", "software")},
        "data": {role: len(splits[role]) for role in ("train", "val")},
        "command": "python benchmarks/papers/train_hippocampus_samples.py",
        "judged": {**result, "note": "a network of the same recipe without fold 0, on fold 0 of train"},
        "source": "Medical Segmentation Decathlon Task04, Antonelli et al. 2022, CC BY-SA 4.0; the weights "
        "are under the same licence",
    }
    version = publish_version(args.models / spec.name, spec, [member], calibration, card)
    print(f"published {spec.name} {version.id}, {calibration['calibrator']}")


if __name__ == "__main__":
    sys.exit(main())
