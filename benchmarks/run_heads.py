"""Measures the task for whole heads: the search, the crops, and failures; one part by name, or all; resumes.

    python benchmarks/run_heads.py [synthetic] [real] [pasted] [seen] --mricron /usr/share/mricron/templates

- *synthetic*: images made from the label maps that were held out, not those that the limits were fitted to;
- *real*: every whole head at hand, in several forms, and scans in which nothing is to be found;
- *pasted*: crops of *train* pasted into made-up heads, against the same crops alone, by members that never
  saw their subject (those of `run_experiments.py facts`); *seen*: the same by the ensemble that ships.

Needs `../shared/data`, nilearn (ships the MNI152 template) and Debian's package `mricron-data` (Colin27, its
AAL atlas, a monkey); what is missing is named and left out. Rule and endpoints:
`docs/decisions/0022-whole-heads.md`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the training program

import train_heads  # noqa: E402
from head_scans import DATA, ORDERS, Head, real_heads, stored, stored_labels  # noqa: E402

from segtrust.evaluate.protocol import Protocol  # noqa: E402
from segtrust.evaluate.records import software_versions  # noqa: E402
from segtrust.experiments.folds import Folds, read_experiments  # noqa: E402
from segtrust.experiments.head_synthesis import t1_image  # noqa: E402
from segtrust.inference import EnsembleSource, Prediction, Predictor, Scan  # noqa: E402
from segtrust.inference.finder import Finder  # noqa: E402
from segtrust.inference.heads import HeadPredictor  # noqa: E402
from segtrust.inference.members import load_member  # noqa: E402
from segtrust.models import find_models, open_version, shipped_finders_dir, shipped_models_dir  # noqa: E402
from segtrust.training.cache import train_members  # noqa: E402
from segtrust.training.cases import read_splits, read_subjects  # noqa: E402

RESULTS = HERE / "results" / "whole-heads.json"
_IMAGES, _FIRST = 300, 100_000
_SUBJECTS, _SEED = 24, 22
_FOLDS = (0, 3)
_CHOSEN_ON = 24  # subjects before them: the placing of crops was changed after their Dice was seen


def predictor() -> HeadPredictor:
    """What ships."""
    crops = Predictor(open_version(find_models(shipped_models_dir())["hippocampus"]))
    return HeadPredictor(Finder(open_version(find_models(shipped_finders_dir())["hippocampus-heads"])), crops)


# --- synthetic ---


def measure_synthetic(heads: HeadPredictor) -> dict[str, Any]:
    """How often the search finds a whole hippocampus, and what it finds where there is none."""
    network = train_heads.load_network(heads.finder)
    judged = train_heads.held_out_sightings(network, train_heads.held_out_maps(), _IMAGES, _FIRST)
    rule = heads.finder.rule
    found = [rule.problem(entry.sighting) is None for entry in judged]
    whole = [(f, j) for f, j in zip(found, judged, strict=True) if j.whole]
    errors = [j.error_mm for f, j in whole if f and j.error_mm is not None]
    cut = [f for f, j in zip(found, judged, strict=True) if j.kind == "head" and not j.whole]
    absent = {
        kind: [f for f, j in zip(found, judged, strict=True) if j.kind == kind]
        for kind in ("no head", "turned head")
    }
    return {
        "images": _IMAGES,
        "whole": {
            "n": len(whole),
            "found": float(np.mean([f for f, _ in whole])),
            "error_mm": {"median": float(np.median(errors)), "p95": float(np.quantile(errors, 0.95))},
            "found_beyond_10_mm": sum(e > 10 for e in errors),
        },
        "cut_or_absent": {"n": len(cut), "found": float(np.mean(cut))},
        **{kind.replace(" ", "_"): {"n": len(v), "found": int(sum(v))} for kind, v in absent.items()},
    }


# --- real ---


def measure_real(heads: HeadPredictor, mricron: Path, pictures: Path | None) -> list[dict[str, Any]]:
    """What is found in each."""
    rows = []
    for head in real_heads(mricron):
        scan = head.scan()
        started = time.perf_counter()
        prediction = heads.predict_scan(scan)
        seconds = time.perf_counter() - started
        sides = (
            [place.name.split()[0] for place in prediction.looked_at.places] if prediction.looked_at else []
        )
        row: dict[str, Any] = {
            "name": head.name,
            "voxels": list(scan.shape),
            "expected": head.expected,
            "found": "both" if len(sides) == 2 else (sides or ["none"])[0],
            "seconds": round(seconds, 1),
            "sides": [side_row(prediction, n, head.atlas) for n in range(len(sides))],
            "flags": [f"{flag.code}: {flag.text}" for flag in prediction.flags],
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        if pictures is not None:
            draw(scan, prediction, head, pictures)
    return rows


def side_row(
    prediction: Prediction, number: int, atlas: Callable[[], NDArray[np.int64]] | None
) -> dict[str, Any]:
    """One side: where, how like the calibration scans, what is predicted, what the atlas says."""
    assert prediction.looked_at is not None
    place = prediction.looked_at.places[number]
    side = place.name.split()[0]
    own = [s for s in prediction.structures if s.name.startswith(side)]
    voxels = np.argwhere(np.isin(prediction.mask, [s.value for s in own]))
    centre = prediction.affine @ np.append(voxels.mean(axis=0), 1.0)
    row = {
        "side": side,
        "centre_ras_mm": [round(float(mm), 1) for mm in centre[:3]],
        "box_voxels": [s.stop - s.start for s in place.box],
        "likeness": place.about["likeness"],
        "p_value": round(place.about["p_value"], 3),
        "ml": round(sum(s.volume_ml or 0 for s in own), 2),
        "predicted_dice": [round(s.predicted_dice, 3) for s in own if s.predicted_dice is not None],
        "verdicts": [s.verdict for s in own],
    }
    if atlas is None:
        return row
    truth = atlas == (1 if side == "left" else 2)
    mask = np.isin(prediction.mask, [s.value for s in own])
    return {
        **row,
        "atlas_in_box": round(float(truth[place.box].sum() / truth.sum()), 4),
        "atlas_dice": round(float(2 * (truth & mask).sum() / (truth.sum() + mask.sum())), 3),
    }


def draw(scan: Scan, prediction: Prediction, head: Head, folder: Path) -> None:
    """Three cuts through each box, with box, mask and atlas."""
    import matplotlib as mpl  # noqa: PLC0415 -- an extra, for people who want to look

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    places = prediction.looked_at.places if prediction.looked_at else ()
    if not places:
        return
    figure, axes = plt.subplots(len(places), 3, figsize=(12, 4 * len(places)), squeeze=False)
    values = scan.data[0].numpy()
    for row, place in zip(axes, places, strict=True):
        middle = [(s.start + s.stop) // 2 for s in place.box]
        for axis, cell in enumerate(row):
            cut = lambda array, axis=axis, middle=middle: np.take(array, middle[axis], axis=axis).T  # noqa: E731
            cell.imshow(cut(values), cmap="gray", origin="lower")
            cell.contour(cut(prediction.mask > 0), [0.5], colors="r", linewidths=0.8)
            across, up = (s for k, s in enumerate(place.box) if k != axis)
            corner, size = (across.start, up.start), (across.stop - across.start, up.stop - up.start)
            cell.add_patch(plt.Rectangle(corner, *size, fill=False, color="y"))
            if head.atlas is not None:
                cell.contour(cut(head.atlas > 0), [0.5], colors="c", linewidths=0.6)
            mm = [size for k, size in enumerate(scan.spacing or (1.0, 1.0, 1.0)) if k != axis]
            cell.set_aspect(mm[1] / mm[0])
            cell.set_title(place.name)
            cell.axis("off")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{head.name.replace(' ', '_').replace(',', '')}.png", dpi=60)
    plt.close(figure)


# --- pasted ---


def measure_seen(heads: HeadPredictor) -> dict[str, Any]:
    """Crops of *train* by the ensemble that ships, which has seen them in training."""
    rng = np.random.default_rng(_SEED)
    subjects = pairs()
    permuted = rng.permutation(len(subjects))
    chosen = [subjects[i] for i in permuted[_CHOSEN_ON : _CHOSEN_ON + _SUBJECTS]]
    return summary(pasted(heads, chosen, rng))


def measure_pasted(heads: HeadPredictor, runs: Path) -> dict[str, Any]:
    """Crops of *train* by small members that never saw their subject."""
    experiment = read_experiments(HERE / "experiments.json")["facts"]
    name, size = experiment.scored
    cell = next(cell for cell in experiment.cells if cell.name == name)
    folds = Folds.read(DATA / "hippocampus", Protocol.read(HERE / "protocol.json"))
    rng, rows = np.random.default_rng(_SEED), []
    for fold in _FOLDS:
        members = train_members(cell.runs(folds, fold, size), runs / "members")
        networks = [load_member(cell.spec, member) for member in members]
        source = EnsembleSource([lambda network=network: network for network in networks])  # type: ignore[misc]
        version = replace(heads.crops.version, spec=cell.spec)
        inside = set(folds.held_out(fold))
        unseen = [pair for pair in pairs() if set(pair) <= inside]
        rows += pasted(HeadPredictor(heads.finder, Predictor(version, source=source)), unseen, rng)
    return {"folds": list(_FOLDS), "members": size, **summary(rows)}


def pasted(
    heads: HeadPredictor, chosen: Sequence[tuple[str, str]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Dice of crops, alone and pasted into made-up heads, at places and in orders drawn by lot."""
    data, rows = DATA / "hippocampus", []
    for number, pair in enumerate(chosen):
        host = train_heads.MAPS / train_heads.HELD_OUT[number % len(train_heads.HELD_OUT)]
        labels = voxels(host).astype(np.int64)
        image = t1_image(labels, torch.Generator().manual_seed(number)).numpy()
        truth = np.zeros(labels.shape, dtype=np.int64)
        alone = []
        for side, scan_id in enumerate(pair):
            crop = voxels(data / "images" / f"{scan_id}.nii.gz").astype(np.float32)
            drawn = voxels(data / "labels" / f"{scan_id}.nii.gz").astype(np.int64)
            mask = heads.crops.predict_scan(
                Scan(torch.from_numpy(crop)[None], np.eye(4), (1.0, 1.0, 1.0))
            ).mask
            alone.append(dices(mask, drawn))
            if side:
                crop, drawn = crop[::-1], drawn[::-1]
            there = np.argwhere(labels == (17, 53)[side]).mean(axis=0) + rng.uniform(-3, 3, 3)
            start = np.round(there - np.argwhere(drawn > 0).mean(axis=0)).astype(int)
            box = tuple(slice(s, s + n) for s, n in zip(start, crop.shape, strict=True))
            here = image[box]
            image[box] = (crop - crop.mean()) / crop.std() * here.std() + here.mean()
            truth[box] = np.where(drawn > 0, drawn + 2 * side, truth[box])
        order = ORDERS[int(rng.integers(len(ORDERS)))]
        scan = Scan(torch.from_numpy(image)[None], np.eye(4), (1.0, 1.0, 1.0))
        prediction = heads.predict_scan(stored(scan, order))
        found = (
            [place.name.split()[0] for place in prediction.looked_at.places] if prediction.looked_at else []
        )
        there = stored_labels(truth, np.eye(4), order)
        for side, scan_id in enumerate(pair):
            name = ("left", "right")[side]
            inside = np.where((there > 2 * side) & (there <= 2 * side + 2), there - 2 * side, 0)
            mask = prediction.mask.astype(np.int64)
            own = np.where((mask > 2 * side) & (mask <= 2 * side + 2), mask - 2 * side, 0)
            row = {
                "scan": scan_id,
                "side": name,
                "order": order,
                "found": name in found,
                "alone": alone[side],
            }
            rows.append(row | ({"pasted": dices(own, inside)} if name in found else {}))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean Dice of both structures over the crops that were found, alone and pasted."""
    both = [row for row in rows if row["found"]]
    means = {
        key: [round(float(np.mean([row[key][k] for row in both])), 4) for k in (0, 1)]
        for key in ("alone", "pasted")
    }
    return {"subjects": len(rows) // 2, "crops": len(rows), "found": len(both), "dice": means, "rows": rows}


def pairs() -> list[tuple[str, str]]:
    """The two scans of each subject of *train* that has two."""
    data = DATA / "hippocampus"
    scans, subjects = sorted(read_splits(data)["train"]), read_subjects(data)
    of: dict[str, list[str]] = {}
    for scan in scans:
        of.setdefault(subjects[scan], []).append(scan)
    return [(two[0], two[1]) for two in of.values() if len(two) == 2]


def voxels(path: Path) -> NDArray[Any]:
    """Voxels of a file, as they are stored."""
    return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]


def dices(mask: NDArray[Any], truth: NDArray[Any]) -> list[float]:
    """Dice of both structures."""
    return [
        round(float(2 * ((mask == k) & (truth == k)).sum() / ((mask == k).sum() + (truth == k).sum())), 4)
        for k in (1, 2)
    ]


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", default=[], help="synthetic, real, seen, pasted; all unless given"
    )
    parser.add_argument("--mricron", type=Path, default=Path("/usr/share/mricron/templates"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="has members; default: runs")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the boxes")
    args = parser.parse_args()
    heads = predictor()
    measures: dict[str, Callable[[], Any]] = {
        "synthetic": lambda: measure_synthetic(heads),
        "real": lambda: measure_real(heads, args.mricron, args.pictures),
        "seen": lambda: measure_seen(heads),
        "pasted": lambda: measure_pasted(heads, args.runs),
    }
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for part in args.parts or list(measures):
        results[part] = measures[part]()
        results |= {"digest": heads.version.digest, "software": software_versions()}
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
