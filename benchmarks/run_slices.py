"""What correcting the few slices with most expected error is worth, inside the split train.

    python benchmarks/run_slices.py --runs runs

Members of experiments.json judge scans that they have not seen; they are trained if <runs> has none. Writes
<out>/hippocampus-slices.json.
"""

import sys
from typing import Any

from held_out import measure_systems

from segtrust.experiments.crossfit import CrossFit
from segtrust.experiments.slice_correction import CHOICES, correct, summarise_slices

SYSTEMS = (("long", "base", 1), ("facts", "dice_ce, instance", 5))
"""Experiment, cell, members: one member after 16 epochs on all scans of train, and an ensemble of five small
ones after 4 epochs on three of the five folds."""


def main() -> int:
    """Judge and write."""
    return measure_systems(__doc__, SYSTEMS, judge, name="slices", choices=CHOICES)


def judge(fit: CrossFit, _size: int) -> dict[str, Any]:
    """Correct every held-out scan of one experiment."""
    n_structures = len(fit.experiment.cells[0].spec.labels)
    found = [correct(scan, n_structures) for scan in fit.predictions()]
    corrected = [scan for scan in found if scan is not None]
    return {"empty_predictions": len(found) - len(corrected), **summarise_slices(corrected)}


if __name__ == "__main__":
    sys.exit(main())
