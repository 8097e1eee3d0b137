"""Peak memory and time of an adopted nnU-Net against nnU-Net's own prediction of the same scan.

Each answer is computed in a process of its own. `--results` and `--scan` name a trained model and one of its
scans; without them a network with random weights, 20 classes and a scan of 128^3 voxels on another grid than
the network's is made up.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import tiny_nnunet as tiny
from segtrust.adapters.nnunet_results import read_nnunet
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import read_scan
from segtrust.release.adopt import draft_nnunet

CLASSES = 20
SIDE = 128
MIB = 1 << 10  # Linux counts in KiB


def main() -> None:
    """Measure both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="TRAINER__PLANS__CONFIGURATION of nnU-Net")
    parser.add_argument("--scan", type=Path, help="a scan with one channel")
    parser.add_argument("--mirroring", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        folder, scan = (args.results, args.scan) if args.results else made_up(Path(work))
        for name in ("nnunet", "nnunet_probabilities", "segtrust_sample", "segtrust_predict"):
            print(json.dumps({"what": name, **apart(name, folder, scan, args.mirroring)}), flush=True)


def made_up(work: Path) -> tuple[Path, Path]:
    """Results with many classes, and a scan on a finer grid than the network's."""
    labels = {"background": 0} | {f"structure {k}": k for k in range(1, CLASSES)}
    planned = tiny.plans(spacing=(1.3, 1.3, 1.3), window=(48, 48, 48))
    folder = tiny.write_results(work, planned, tiny.dataset(labels=labels))
    return folder, tiny.write_scan(work / "scans", shape=(SIDE,) * 3)[0]


def apart(name: str, folder: Path, scan: Path, mirroring: bool) -> dict[str, float]:
    """Run one way in a new process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(run, (name, folder, scan, mirroring))


def run(name: str, folder: Path, scan: Path, mirroring: bool) -> dict[str, float]:
    """Seconds, peak memory in MiB above that before, and a number that shows that masks are equal."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        draft = draft_nnunet(read_nnunet(folder), Path(work), name="bench", mirroring=mirroring)
        predictor = Predictor(draft)
        before, started = peak(), time.perf_counter()
        if name.startswith("nnunet"):
            mask = tiny.nnunet_mask(folder, [scan], mirroring=mirroring, probabilities="prob" in name)
        elif name == "segtrust_sample":
            mask = predictor.sample(read_scan(scan))[1].mean.max(dim=0).indices.numpy()
        else:
            mask = predictor.predict(scan).mask
        return {
            "seconds": round(time.perf_counter() - started, 1),
            "peak_mib": round(peak() - before),
            "structures": int(np.count_nonzero(mask)),
        }


def peak() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


if __name__ == "__main__":
    main()
