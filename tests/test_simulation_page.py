"""The page about the simulation holds what was measured, and is what the results on disk give."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def run_simulation():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        path = BENCHMARKS / "run_simulation.py"
        spec = importlib.util.spec_from_file_location("run_simulation", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("arm", json.loads((BENCHMARKS / "simulation.json").read_text("utf-8"))["arms"])
def test_every_arm_is_a_plan_that_compares_with_uniform(run_simulation, arm):
    plan = run_simulation.plan_of(run_simulation.settings(arm))
    assert "uniform" in plan.strategies
    assert (len(plan.counts), plan.recipe.spec.members) == (5, 3)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.03, "**Better than uniform by area: entropy.**"),
     (-0.01, 0.03, "**Not shown to differ from uniform by area: entropy.**"),
     (-0.03, -0.01, "**Worse than uniform by area: entropy.**")],
    ids=["above 0", "across 0", "below 0"],
)  # fmt: skip
def test_the_page_claims_what_the_interval_shows(run_simulation, low, high, words):
    areas = {"entropy": {"area_less_baseline": {"low": low, "high": high}}, "uniform": {}}
    assert run_simulation.findings({"strategies": areas}) == words
    met = "met" if low > 0 else "not met"
    assert run_simulation.findings({"strategies": areas}, primary=True).startswith(
        f"**Primary endpoint: {met}."
    )
