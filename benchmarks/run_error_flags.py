"""How well flags find wrong voxels, by score and by rule for the threshold, inside the split train.

    python benchmarks/run_error_flags.py --runs runs

Members of experiments.json judge scans that they have not seen; they are trained if <runs> has none. Writes
<out>/hippocampus-error-flags.json.
"""

import sys
from typing import Any

from held_out import measure_systems

from segtrust.error_flags import FlagRule, probability_scores, sample_scores
from segtrust.evaluate.error_detection import count_errors, detection_figures, flag_figures
from segtrust.experiments.crossfit import CrossFit

SYSTEMS = (("facts", "dice_ce, instance", 5), ("long", "base", 1))
"""Experiment, cell, members: an ensemble of five small members on three of the five folds, with scores of
samples and of mirrored views of its first member; and one member on all scans, of which only its
probabilities are used."""
VIEW_AXES = (0, 1)
RULES = (
    "fixed:0.5", "mean", "mean_sd:1", "quantile:0.95", "otsu", "budget:0.05", "budget:0.1", "calibrated:0.8",
    "calibrated:0.9", "calibrated:0.95",
)  # fmt: skip


def main() -> int:
    """Judge and write."""
    return measure_systems(__doc__, SYSTEMS, judge, name="error-flags")


def judge(fit: CrossFit, size: int) -> dict[str, Any]:
    """Measure every score and rule on the held-out scans of one experiment."""
    scans = []
    for scan in fit.predictions():
        scores = probability_scores(scan.probs)
        if size > 1:
            views = sample_scores(fit.views(scan, VIEW_AXES))
            scores |= sample_scores(scan.statistics) | {f"view_{n}": score for n, score in views.items()}
        scans.append(
            count_errors(
                scan.id, scan.subject, scores, scan.mask, scan.labels, scan.spacing,
                valid=scan.valid, fold=scan.fold,
            )
        )  # fmt: skip
        print(f"measured {scan.id}", flush=True)
    missed, wrong = (sum(s.missed[i] for s in scans) for i in (0, 1))
    return {
        "scans": len(scans),
        "subjects": len({s.subject for s in scans}),
        "wrong_outside_band": {"voxels": missed, "share": missed / wrong},
        "detection": detection_figures(scans),
        "flags": {
            score: {rule: flag_figures(scans, score, FlagRule.parse(rule)) for rule in RULES}
            for score in scans[0].scores
        },
    }


if __name__ == "__main__":
    sys.exit(main())
