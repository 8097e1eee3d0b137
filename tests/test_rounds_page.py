"""The page about rounds holds what was measured, and is what the results on disk give."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rounds_page():
    spec = importlib.util.spec_from_file_location("rounds_page", ROOT / "benchmarks" / "rounds_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figure(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "subjects": 3}


def test_a_round_is_one_row_with_dice_and_figures_of_every_region(rounds_page, tmp_path):
    regions = enumerate(("band", "outside", "volume"), start=1)
    values = {region: {"nll": figure(k / 10), "ece": figure(k / 100)} for k, region in regions}
    result = {
        "command": "python x",
        "rounds": [{"labels": 4, "state": "unproven", "seconds": 61.4}],
        "software": {"torch": "2"},
        "apart": {
            "scans": 3,
            "subjects": 3,
            "calibration": {"round 1": values},
            "dice": {"round 1": {"mean": figure(0.8)}},
        },
    }
    (tmp_path / "hippocampus-rounds.json").write_text(json.dumps(result), encoding="utf-8")
    row = next(line for line in rounds_page.page(tmp_path).splitlines() if line.startswith("| 1 "))
    assert row == (
        "| 1 | 4 | unproven | 61 | 0.8000 (0.7900 to 0.8100) | 0.1000 (0.0900 to 0.1100) | "
        "0.2000 (0.1900 to 0.2100) | 0.3000 (0.2900 to 0.3100) | 0.0100 (0.0000 to 0.0200) | "
        "0.0200 (0.0100 to 0.0300) | 0.0300 (0.0200 to 0.0400) |"
    )
