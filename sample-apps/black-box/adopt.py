"""Makes a model folder of a network from elsewhere; see README.md beside this file."""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch

from segtrust.adapters.bundle import read_bundle
from segtrust.inference.members import load_member
from segtrust.inference.stored import STORED
from segtrust.models import ModelSpec, open_version, publish_version, shipped_models_dir

EXPORTED = {"_target_": "segtrust.adapters.networks.ExportedNetwork"}
UNCALIBRATED = {"calibrator": {"name": "identity"}}
HERE = Path(__file__).parent


def main() -> None:
    """Adopt what the command line names."""
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
    calibration = json.loads(args.calibration.read_text("utf-8")) if args.calibration else UNCALIBRATED
    if args.example:
        spec, files = example(args.models_dir)
    elif args.bundle:
        spec, weights = read_bundle(args.bundle, name=args.name)
        files = [weights]
    else:
        if not args.spec:
            parser.error("--networks and --volumes need --spec")
        network = {"_target_": STORED} if args.volumes else {**EXPORTED, "output": args.output}
        files = args.networks or []
        text = json.loads(args.spec.read_text("utf-8"))
        spec = ModelSpec.from_json({**text, "network": network, "members": len(files)})
    folder = args.models_dir / spec.name
    version = publish_version(folder, spec, files, calibration, {"made_by": "adopt.py"})
    if args.volumes:
        shutil.copytree(args.volumes, folder / "volumes", dirs_exist_ok=True)
    sys.stdout.write(f"{spec.name}: version {version.id} in {folder}\n")


def example(models_dir: Path) -> tuple[ModelSpec, list[Path]]:
    """Export the first member of the hippocampus model as if nobody had its code."""
    shipped = open_version(shipped_models_dir() / "hippocampus")
    window = torch.zeros(1, len(shipped.spec.channels), *shipped.spec.patch)
    program = torch.export.export(load_member(shipped.spec, shipped.members[0]), (window,))
    models_dir.mkdir(parents=True, exist_ok=True)
    path = models_dir / "hippocampus.pt2"
    torch.export.save(program, path)
    return replace(shipped.spec, name="hippocampus-exported", network=EXPORTED, members=1), [path]


if __name__ == "__main__":
    main()
