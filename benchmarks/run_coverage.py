"""How often intervals hold as an answer shows them, over made-up calibration sets.

    python benchmarks/run_coverage.py

Three laws of the Dice, four means, 10, 20, 30 and 50 calibration patients; also several scans of a patient.
Resumes: a cell that was measured stays. Writes benchmarks/results/interval-coverage.json.
"""

import json
from pathlib import Path

from segtrust.experiments.interval_coverage import LAWS, World, coverage_of, simulate

RESULT = Path(__file__).parent / "results" / "interval-coverage.json"
MEANS = (0.5, 0.83, 0.97, 0.993)
FRESH = 100
ALL, DICE = ("dice", "volume", "border"), ("dice",)
CELLS = (
    *((law, mean, 10, 1, 40, ALL) for law in LAWS for mean in MEANS),
    *(("beta", mean, 20, 1, 25, ALL) for mean in MEANS),
    *(("beta", mean, 30, 1, 16, DICE) for mean in MEANS),
    *(("beta", mean, 50, 1, 8, DICE) for mean in MEANS),
    *((law, mean, 20, 1, 25, ALL) for law in LAWS[1:] for mean in MEANS),
    *((law, 0.97, 20, 3, 25, DICE) for law in LAWS),
)
"""Law, mean, patients, scans of each, calibration sets, targets."""


def main() -> None:
    """Measure what is missing."""
    result = (
        json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"fresh": FRESH, "cells": []}
    )
    measured = {(c["law"], c["mean"], c["patients"], c["scans"]) for c in result["cells"]}
    for index, (law, mean, patients, scans, sets, targets) in enumerate(CELLS):
        if (law, mean, patients, scans) in measured:
            continue
        world = World(law, mean, scans, targets)
        shares = simulate(world, patients, sets, FRESH, seed=index)
        figures = {kind: coverage_of(of) for kind, of in shares.items()}
        result["cells"].append(
            {"law": law, "mean": mean, "patients": patients, "scans": scans, "sets": sets, "figures": figures}
        )
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(law, mean, patients, scans, figures["usual"]["dice"], flush=True)


if __name__ == "__main__":
    main()
