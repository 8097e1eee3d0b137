"""Rounds of label, train, calibrate and publish through a real server, and what each of them reached.

    python benchmarks/run_rounds.py --work runs/rounds
    python benchmarks/run_rounds.py --work runs/speed --begin shipped --labels 20 --workers 2 --speed

The server starts with an untrained model, or with the one that ships. Labels of scans of the training split
are submitted over HTTP, then a training is started over HTTP, with defaults (the first one of an untrained
model from scratch). The version of each round is measured on scans of the same split whose patients no round
saw; `val` and `test` are never read. Goes on where it was stopped. Writes <out>/hippocampus-rounds.json, or
with --speed <out>/hippocampus-speed.json, and the page docs/reference/rounds.md from both.
"""

import argparse
import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import requests
import torch
from rounds_page import PAGE, page

from segtrust.calibrators import Identity, calibrator_from_json
from segtrust.cli.demo.label_server import LabelServer
from segtrust.errors import SegtrustError, TrainingError
from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import CaseRecord, evaluate_case
from segtrust.evaluate.records import software_versions
from segtrust.experiments.pages import write_or_check
from segtrust.inference import Predictor
from segtrust.inference.members import build_network, save_weights
from segtrust.models import ModelSpec, ModelVersion, open_version, publish_version, shipped_models_dir
from segtrust.selection import uniform_order
from segtrust.training.cases import read_labelled, read_splits, read_subjects

HERE = Path(__file__).parent
MODEL = "hippocampus"
REGIONS = ("band", "outside", "volume")
POLL_SECONDS = 2.0
MEASURED = 40
"""Scans that a version is measured on."""


def main() -> int:
    """Run the rounds, measure, write result and page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the site; kept to go on with")
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / MODEL)
    parser.add_argument("--labels", default="4,7,10", help="labelled scans at each round (default: 4,7,10)")
    parser.add_argument("--begin", choices=("untrained", "shipped"), default="untrained")
    parser.add_argument("--workers", type=int, default=1, help="members trained at the same time")
    parser.add_argument("--epochs", type=int, help="of each member, to try it out (default: the setting's)")
    parser.add_argument("--speed", action="store_true", help="only how long it took")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="default: benchmarks/results")
    args = parser.parse_args()
    try:
        rounds = run_rounds(args)
        result = {
            "command": shlex.join(["python", *sys.argv]),
            "begin": args.begin,
            "workers": args.workers,
            "rounds": rounds,
            "software": software_versions(),
        }
        if not args.speed:
            result["apart"] = measure(args, [found["version"] for found in rounds])
    except SegtrustError as error:
        print(f"run_rounds: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{MODEL}-{'speed' if args.speed else 'rounds'}.json"
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return write_or_check((PAGE, page(args.out)))


def run_rounds(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What each round recorded; rounds that ended in an earlier call are not run again."""
    counts = _counts(args)
    scans = order(args.data)[: max(counts)]
    studies = args.work / "studies"
    studies.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        shutil.copyfile(args.data / "images" / f"{scan}.nii.gz", studies / f"{scan}.nii.gz")
    if (args.data / "subjects.csv").is_file():
        shutil.copyfile(args.data / "subjects.csv", args.work / "subjects.csv")
    conf = {"warm_up": "false", "device": "cpu", "train_workers": str(args.workers)}
    conf |= {"train_epochs": str(args.epochs)} if args.epochs else {}
    conf["subjects"] = str((args.work / "subjects.csv").resolve())
    spec = open_version(shipped_models_dir() / MODEL).spec
    if args.begin == "untrained":
        conf["models_dir"] = str(untrained(spec, args.work / "models").resolve())
    done = [path for k in range(len(counts)) if (path := args.work / f"round-{k + 1}.json").is_file()]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in done]
    if len(found) == len(counts):
        return found
    server = LabelServer(
        MODEL, studies.resolve(), args.work.resolve(), log=args.work / "server.log", conf=list(conf.items())
    )
    with server:
        for number, count in enumerate(counts[len(found) :], start=len(found) + 1):
            submit(server.url, args.data, scans[:count], spec)
            first = number == 1 and args.begin == "untrained"
            record = train(server.url, {"start": "scratch"} if first else {})
            (args.work / f"round-{number}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            found.append(record)
    return found


def order(data: Path) -> list[str]:
    """The scans of the training split in the order in which they are labelled."""
    return uniform_order(read_splits(data)["train"], 0)


def apart(args: argparse.Namespace) -> list[str]:
    """The first scans of that order whose patients no round saw."""
    subjects, scans, labelled = read_subjects(args.data), order(args.data), max(_counts(args))
    seen = {subjects.get(scan, scan) for scan in scans[:labelled]}
    return [scan for scan in scans if subjects.get(scan, scan) not in seen][:MEASURED]


def _counts(args: argparse.Namespace) -> list[int]:
    return [int(count) for count in args.labels.split(",")]


def untrained(spec: ModelSpec, models: Path) -> Path:
    """Publish members with weights as they are drawn, once; returns the folder of models."""
    if not (models / MODEL / "current").is_file():
        models.mkdir(parents=True, exist_ok=True)
        weights = []
        for member in range(spec.members):
            torch.manual_seed(1000 + member)
            weights.append(models / f"{member}.safetensors")
            save_weights(build_network(spec), weights[-1])
        calibration = {"calibrator": Identity().to_json(), "subjects": 0}
        publish_version(models / MODEL, spec, weights, calibration, {"note": "untrained"})
    return models


def submit(url: str, data: Path, scans: list[str], spec: ModelSpec) -> None:
    """Submit final labels as a viewer does; those that are there stay."""
    listed = requests.get(f"{url}/datastore/", params={"output": "all"}, timeout=60).json()["objects"]
    segments = [{"name": label.name, "idx": label.source_value} for label in spec.labels]
    for scan in scans:
        if "final" in listed[scan]["labels"]:
            continue
        with (data / "labels" / f"{scan}.nii.gz").open("rb") as file:
            answer = requests.put(
                f"{url}/datastore/label",
                params={"image": scan},
                files={"label": ("label.nii.gz", file)},
                data={"params": json.dumps({"label_info": segments})},
                timeout=60,
            )
        answer.raise_for_status()


def train(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Start a training, wait for its end, and return its record."""
    answer = requests.post(f"{url}/train/{MODEL}", json=options, timeout=60)
    if not answer.ok:
        raise TrainingError(f"the server must start the training, got {answer.status_code}: {answer.text}")
    said = ""
    while True:
        time.sleep(POLL_SECONDS)
        status = requests.get(f"{url}/train/", timeout=60).json()
        line = status.get("details", [""])[-1] if status.get("details") else ""
        if line != said:
            print(said := line, flush=True)
        if status["status"] not in ("SUBMITTED", "RUNNING"):
            break
    record: dict[str, Any] = status["segtrust"]
    if record["state"] not in ("published", "unproven", "kept"):
        raise TrainingError(
            f"the round must end with a version, got {record['state']}: {record.get('error')}"
        )
    return record


def measure(args: argparse.Namespace, versions: list[str]) -> dict[str, Any]:
    """Figures of all versions on scans of other patients, in the union of their bands."""
    data, model = args.data, args.work / "studies" / ".segtrust" / "models" / MODEL
    opened = {f"round {k}": open_version(model, version) for k, version in enumerate(versions, start=1)}
    predictors = {name: Predictor(version) for name, version in opened.items()}
    subjects, records = read_subjects(data), []
    for scan in apart(args):
        records.append(measured(scan, subjects.get(scan, scan), data, opened, predictors))
        print(f"measured {scan}", flush=True)
    names = [label.name for label in next(iter(opened.values())).spec.labels]
    card = make_card(records, names, main=list(opened)[-1])
    return {"scans": card["scans"], "subjects": card["subjects"], **card["systems"]}


def measured(
    scan_id: str,
    subject: str,
    data: Path,
    versions: dict[str, ModelVersion],
    predictors: dict[str, Predictor],
) -> CaseRecord:
    """Totals of one scan."""
    image, labels = read_labelled(data, scan_id, next(iter(versions.values())).spec)
    systems = {}
    for name, predictor in predictors.items():
        prepared, statistics, _ = predictor.sample(image)
        systems[name] = (
            statistics.mean,
            calibrator_from_json(versions[name].calibration["calibrator"]),
        )
    return evaluate_case(
        scan_id, subject, systems, labels, image.spacing, prepared.valid, main=list(systems)[-1]
    )


if __name__ == "__main__":
    sys.exit(main())
