"""Writes out-of-fold probabilities of an experiment as nnU-Net leaves its cross-validation.

    python benchmarks/make_volumes.py loss --cell dice --scans 30 --out runs/volumes

Then: segtrust evaluate --pred runs/volumes/fold_*/validation --labels runs/volumes/labelsTr
"""

import argparse
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from segtrust.errors import SegtrustError
from segtrust.evaluate.probabilities import KeptSource
from segtrust.evaluate.protocol import Protocol, check_data
from segtrust.experiments.folds import Folds, read_experiments
from segtrust.inference.predictor import pooled_samples
from segtrust.inference.scan import prepare
from segtrust.inference.windows import slide
from segtrust.training.cache import train_members
from segtrust.training.cases import cases_in, read_labelled

HERE = Path(__file__).parent


def main() -> int:
    """Find the members, train those that are missing, write the volumes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", help="its name in experiments.json")
    parser.add_argument("--cell", required=True)
    parser.add_argument(
        "--scans", type=int, default=30, help="how many, dealt evenly to the folds (default: 30)"
    )
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / "shared" / "data" / "hippocampus")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        write(args)
    except SegtrustError as error:
        print(f"make_volumes: {error}", file=sys.stderr)
        return 1
    return 0


def write(args: argparse.Namespace) -> None:
    """Do what the options say."""
    protocol = Protocol.read(HERE / "protocol.json")
    check_data(protocol, args.data)
    experiment = read_experiments(HERE / "experiments.json")[args.experiment]
    folds = Folds.read(args.data, protocol)
    cell = next(cell for cell in experiment.cells if cell.name == args.cell)
    for name in ("labelsTr", "imagesTr"):
        (args.out / name).mkdir(parents=True, exist_ok=True)
    labels = {"background": 0, **{label.name: label.value for label in cell.spec.labels}}
    (args.out / "dataset.json").write_text(json.dumps({"labels": labels}))
    for fold in experiment.folds:
        members = train_members(cell.runs(folds, fold, experiment.members), args.runs / "members")
        source = KeptSource(cell.spec, members, args.runs / "probabilities")
        folder = args.out / f"fold_{fold}" / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        for files in cases_in(args.data, folds.held_out(fold)[: args.scans // len(experiment.folds)]):
            scan, _ = read_labelled(args.data, files.id, cell.spec)
            prepared = prepare(scan, cell.spec)
            samples = source.samples(prepared.image, partial(slide, spec=cell.spec))
            mean = pooled_samples(samples, prepared, cell.spec, total=len(source)).mean.numpy()
            # nnU-Net's own axes: those of SimpleITK, the last one of the file first
            np.savez_compressed(folder / f"{files.id}.npz", probabilities=mean.transpose(0, 3, 2, 1))
            mask = nib.Nifti1Image(mean.argmax(axis=0).astype(np.uint8), scan.affine)
            nib.save(mask, folder / f"{files.id}.nii.gz")
            shutil.copyfile(files.label, args.out / "labelsTr" / f"{files.id}.nii.gz")
            shutil.copyfile(files.image, args.out / "imagesTr" / f"{files.id}_0000.nii.gz")
        print(f"fold {fold} written")


if __name__ == "__main__":
    sys.exit(main())
