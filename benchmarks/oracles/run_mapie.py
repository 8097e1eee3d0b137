"""Measures made-up voxels and patients with MAPIE, and adds what it says to the file of other libraries.

An environment of its own, as for the others (``run_other_libraries.py`` makes the file and the voxels):

    python -m venv other && other/bin/pip install mapie==1.6.0
    other/bin/python benchmarks/oracles/run_mapie.py

The file holds the patients themselves: one score and one target each, and what decisions cost each of them.
"""

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mapie.metrics.calibration import cumulative_differences
from mapie.metrics.regression import regression_coverage_score, regression_mean_width_score
from mapie.metrics.uncertainty import auroc
from mapie.regression import CrossConformalRegressor, SplitConformalRegressor
from mapie.risk_control import MultiLabelClassificationController
from numpy.typing import NDArray
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut

TARGET = Path(__file__).parents[2] / "tests" / "data" / "other_libraries.json"
LEVELS = (0.5, 0.8, 0.9)
PATIENTS, NEW, STRUCTURES = 26, 7, 6

Array = NDArray[np.float64]


def made_up_patients() -> dict[str, Any]:
    """One score and one target per patient, and scores of new ones."""
    rng = np.random.default_rng(20260102)
    score = rng.uniform(0, 1, PATIENTS)
    return {
        "score": score.tolist(),
        "target": (3 - 2 * score + rng.standard_t(3, PATIENTS) * 0.3).tolist(),
        "new_score": rng.uniform(-0.2, 1.2, NEW).tolist(),
        "chance": rng.uniform(0, 1, (PATIENTS, STRUCTURES)).tolist(),
        "there": (rng.random((PATIENTS, STRUCTURES)) < 0.6).tolist(),
    }


def intervals(patients: dict[str, Any]) -> dict[str, Any]:
    """Intervals of new patients for every level: split around 0, and jackknife-minmax of a line."""
    x, y = np.array(patients["score"])[:, None], np.array(patients["target"])
    new = np.array(patients["new_score"])[:, None]
    nothing = DummyRegressor(strategy="constant", constant=0.0).fit(x, y)
    split = SplitConformalRegressor(nothing, confidence_level=list(LEVELS), prefit=True)
    cross = CrossConformalRegressor(
        LinearRegression(), confidence_level=list(LEVELS), method="minmax", cv=LeaveOneOut()
    )
    _, around = split.conformalize(x, y).predict_interval(new)
    _, minmax = cross.fit_conformalize(x, y).predict_interval(new)
    _, own = cross.predict_interval(x)
    return {
        "levels": list(LEVELS),
        "split": around[0, 1].tolist(),  # upper ends around 0: the same for all
        "minmax": minmax.transpose(2, 0, 1).tolist(),
        "coverage": regression_coverage_score(y, own).tolist(),
        "width": regression_mean_width_score(own).tolist(),
    }


def controlled(patients: dict[str, Any]) -> dict[str, Any]:
    """Highest limit of a chance above which a structure is named, so that few are missed."""
    chance, there = np.array(patients["chance"]), np.array(patients["there"], int)
    limits = np.arange(0, 1, 0.01)
    chosen = {}
    for missed in (0.1, 0.2, 0.4):
        controller = MultiLabelClassificationController(
            np.asarray, method="crc", target_level=1 - missed, predict_params=limits
        )
        controller.calibrate(chance, there)
        chosen[str(missed)] = float(controller.best_predict_param[0])
    return {"limits": limits.tolist(), "highest": chosen}


def figures(document: dict[str, Any]) -> dict[str, float]:
    """Figures of the voxels that every library measures."""
    probs, labels = np.array(document["probs"]), np.array(document["labels"])
    right, confidence = (probs.argmax(axis=1) == labels).astype(float), probs.max(axis=1)
    gaps = cumulative_differences(right, confidence, noise_amplitude=1e-9, random_state=0)
    return {"ks": float(np.abs(gaps).max()), "auroc": float(auroc(right, confidence))}


def main() -> int:
    """Measure and write."""
    document = json.loads(TARGET.read_text(encoding="utf-8"))
    patients = made_up_patients()
    document["mapie"] = {
        "command": "python benchmarks/oracles/run_mapie.py",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mapie", "scikit-learn", "numpy")},
        },
        "patients": patients,
        "intervals": intervals(patients),
        "risk": controlled(patients),
        "voxels": figures(document),
    }
    TARGET.write_text(json.dumps(document) + "\n", encoding="utf-8")
    told = {name: document["mapie"][name] for name in ("versions", "intervals", "risk", "voxels")}
    print(json.dumps(told, indent=1)[:3000])
    return 0


if __name__ == "__main__":
    sys.exit(main())
