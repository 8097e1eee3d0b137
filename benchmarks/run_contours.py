"""Contours by distance from the mask against contours by probability, inside the split train.

    python benchmarks/run_contours.py

By distance: margins in millimetres, as they are served. By probability: voxels whose calibrated chance of
the structure is at least a threshold. Both calibrated to the coverage and share of targets.json on the
subjects of four folds, judged on the fifth. Fixed before the run: the way with the smaller volume between
inner and outer contour is the better one; distances are served unless that saves more than a tenth of the
volume, since a margin in millimetres can be checked by eye. Writes <out>/hippocampus-contours.json.
"""

import json
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from held_out import HERE, measure_systems
from numpy.typing import NDArray

from segtrust.experiments.crossfit import CrossFit
from segtrust.metrics.bootstrap import cluster_bootstrap
from segtrust.quality import conformal_bound
from segtrust.quality.margins import least_inner, least_outer
from segtrust.regions import distance_to

SYSTEMS = (("long", "base", 1),)
RULE = json.loads((HERE / "targets.json").read_text(encoding="utf-8"))["contours"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """One structure of one held-out scan, flat: how far outside and how deep inside, and what is true."""

    fold: int
    subject: str
    far: Floats
    deep: Floats
    true: NDArray[np.bool_]
    ml: float

    def needed(self) -> tuple[float, float]:
        """Smallest outer and inner margin with which the contours are right."""
        share = RULE["share"]
        return least_outer(self.far[self.true], share), least_inner(self.deep, self.true, share)

    def between(self, outer: float, inner: float) -> float:
        """Volume between the contours, ml."""
        return float(np.count_nonzero((self.far <= outer) & ~(self.deep > inner)) * self.ml)


def judge(fit: CrossFit, _size: int) -> dict[str, Any]:
    """Both ways for every structure."""
    shapes: dict[tuple[str, str], list[Shape]] = {}
    (cell,) = fit.experiment.cells
    for scan in fit.predictions():
        for label in cell.spec.labels:
            found, true = scan.mask == label.value, (scan.labels == label.value).ravel()
            if not found.any() or scan.spacing is None:
                continue
            chance = scan.probs[label.value].double().numpy()
            for way, far, deep in (
                ("distance", distance_to(found, scan.spacing), distance_to(~found, scan.spacing)),
                ("probability", 1 - chance, chance),
            ):
                values = (np.asarray(v, np.float64).ravel() for v in (far, deep))
                ml = math.prod(scan.spacing) / 1000
                shapes.setdefault((label.name, way), []).append(
                    Shape(scan.fold, scan.subject, *values, true, ml)
                )
        fit.say(f"read fold {scan.fold} {scan.id}")
    found = {}
    for label in cell.spec.labels:
        ways = {way: measured(shapes[label.name, way]) for way in ("distance", "probability")}
        subjects = [s.subject for s in shapes[label.name, "distance"]]
        one, two = (np.array(ways[way].pop("volumes")) for way in ("distance", "probability"))
        ratio = cluster_bootstrap(
            subjects, lambda i, a=one, b=two: float(b[list(i)].mean() / a[list(i)].mean())
        )
        found[label.name] = {"scans": len(subjects), **ways, "probability_over_distance": ratio.to_json()}
    return found


def measured(shapes: list[Shape]) -> dict[str, Any]:
    """Calibrate on four folds, judge the fifth; a subject by its worst scan."""
    needed = [shape.needed() for shape in shapes]
    volumes, held = [], []
    for shape, (outer, inner) in zip(shapes, needed, strict=True):
        margins = []
        for side in range(2):
            worst: dict[str, float] = {}
            for other, own in zip(shapes, needed, strict=True):
                if other.fold != shape.fold:
                    worst[other.subject] = max(worst.get(other.subject, 0.0), own[side])
            margins.append(conformal_bound(list(worst.values()), 1 - RULE["coverage"]))
        held.append((outer <= margins[0], inner <= margins[1]))
        volumes.append(shape.between(*margins))
    right = np.mean(held, axis=0)
    return {
        "volumes": volumes,
        "outer_right": float(right[0]),
        "inner_right": float(right[1]),
        "volume_between_ml": float(np.mean(volumes)),
    }


if __name__ == "__main__":
    sys.exit(measure_systems(__doc__, SYSTEMS, judge, name="contours", rule=RULE))
