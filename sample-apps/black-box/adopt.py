"""Makes a model folder of a network from elsewhere; see README.md beside this file."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from segtrust.adapters.bundle import read_bundle
from segtrust.errors import ModelError, SegtrustError
from segtrust.inference.members import load_member
from segtrust.inference.stored import STORED
from segtrust.inference.trial import try_members, try_volumes
from segtrust.models import ModelSpec, ModelVersion, open_version, publish_version, shipped_models_dir

EXPORTED = {"_target_": "segtrust.adapters.networks.ExportedNetwork"}
UNCALIBRATED = {"calibrator": {"name": "identity"}}
HERE = Path(__file__).parent


def main() -> int:
    """Adopt what the command line names; nothing is published unless it was loaded and predicted a scan."""
    args = arguments()
    try:
        version = adopt(args)
    except SegtrustError as error:
        sys.stderr.write(f"adopt.py: nothing was adopted: {error}\n")
        return 1
    sys.stdout.write(f"{version.spec.name}: version {version.id} in {args.models_dir / version.spec.name}\n")
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--networks", type=Path, nargs="+", help=".pt2 or .onnx files, the members of one model"
    )
    what.add_argument("--bundle", type=Path, help="folder of a MONAI bundle")
    what.add_argument("--volumes", type=Path, help="folder of probability volumes, one per scan")
    what.add_argument("--example", action="store_true", help="export a member of the model that ships")
    parser.add_argument("--spec", type=Path, help="spec.json; its `network` is filled in")
    parser.add_argument("--name", default="adopted", help="name of a bundle's model")
    parser.add_argument("--output", default="logits", help="what a network puts out: logits or probabilities")
    parser.add_argument("--calibration", type=Path, help="calibration.json of `segtrust calibrate`")
    parser.add_argument("--models-dir", type=Path, default=HERE / "models", help="default: beside this file")
    args = parser.parse_args()
    if (args.networks or args.volumes) and not args.spec:
        parser.error("--networks and --volumes need --spec")
    return args


def adopt(args: argparse.Namespace) -> ModelVersion:
    """Try what is named, then publish it."""
    calibration = document(args.calibration) if args.calibration else UNCALIBRATED
    with tempfile.TemporaryDirectory(prefix="adopt-") as work:
        if args.example:
            spec, files = example(Path(work))
        elif args.bundle:
            bundle = read_bundle(args.bundle, name=args.name)
            spec, files = bundle.spec, list(bundle.weights)
        else:
            network = {"_target_": STORED} if args.volumes else {**EXPORTED, "output": args.output}
            files = args.networks or []
            spec = ModelSpec.from_json({**document(args.spec), "network": network, "members": len(files)})
        if args.volumes:
            try_volumes(spec, args.volumes)
            add_volumes(args.volumes, args.models_dir / spec.name)
        else:
            try_members(spec, files, calibration)
        return publish_version(args.models_dir / spec.name, spec, files, calibration, {"made_by": "adopt.py"})


def document(path: Path) -> Mapping[str, Any]:
    """Read a JSON file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} must be a JSON file, but {error}.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return content


def add_volumes(source: Path, model: Path) -> None:
    """Copy volumes beside those that are there, all or none."""
    model.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".volumes-", dir=model) as part:
        whole, old = Path(part) / "whole", Path(part) / "old"
        if (model / "volumes").is_dir():
            shutil.copytree(model / "volumes", whole)
        shutil.copytree(source, whole, dirs_exist_ok=True)
        if (model / "volumes").is_dir():
            (model / "volumes").rename(old)
        whole.rename(model / "volumes")


def example(work: Path) -> tuple[ModelSpec, list[Path]]:
    """Export the first member of the hippocampus model as if nobody had its code."""
    shipped = open_version(shipped_models_dir() / "hippocampus")
    window = torch.zeros(1, len(shipped.spec.channels), *shipped.spec.patch)
    program = torch.export.export(load_member(shipped.spec, shipped.members[0]), (window,))
    path = work / "hippocampus.pt2"
    torch.export.save(program, path)
    return replace(shipped.spec, name="hippocampus-exported", network=EXPORTED, members=1), [path]


if __name__ == "__main__":
    sys.exit(main())
