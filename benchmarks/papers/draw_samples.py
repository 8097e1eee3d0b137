"""Draws plausible masks of the sample app's model beside the outlines of four raters.

    python benchmarks/papers/draw_samples.py

Writes docs/images/lung-nodules-samples.png: for every number of empty raters (0 to 3) the first such slice of
the role test, in the data's order.
"""

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from lung_nodules import FOLDER, RATERS, Slices, scan_of
from matplotlib import pyplot as plt
from train_lung_nodules import MODELS

from segtrust.inference import Predictor
from segtrust.inference.sample_masks import PERCENTILES
from segtrust.models import open_version

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "lung-nodules-samples.png"


def main() -> int:
    """Draw one picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--model", type=Path, default=MODELS / "lung-nodules")
    parser.add_argument("--image", type=Path, default=IMAGE)
    args = parser.parse_args()
    mpl.use("agg")
    plt.rcParams.update({"font.size": 8})
    predictor, test = Predictor(open_version(args.model)), Slices.read("test", args.data)
    rows = [int(np.flatnonzero(test.empty_raters() == empty)[0]) for empty in range(RATERS)]
    titles = [
        "crop",
        *(f"rater {r + 1}" for r in range(RATERS)),
        *(f"draw, P{p}" for p in PERCENTILES),
        "share",
    ]
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=(11, 4.4), layout="constrained", squeeze=False
    )
    for line, index in zip(axes, rows, strict=True):
        samples = predictor.predict_scan(scan_of(test.images[index])).samples
        assert samples is not None
        masks = [*test.masks[index], *samples.masks[..., 0]]
        for axis, mask in zip(line[1:], masks, strict=False):
            axis.imshow(test.images[index], cmap="gray", vmin=0, vmax=1)
            if mask.any():
                axis.contour(mask, levels=[0.5], colors="#e69f00", linewidths=1)
        line[0].imshow(test.images[index], cmap="gray", vmin=0, vmax=1)
        line[-1].imshow(samples.share[..., 0], cmap="cividis", vmin=0, vmax=1)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.savefig(args.image, dpi=110)
    print(f"wrote {args.image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
