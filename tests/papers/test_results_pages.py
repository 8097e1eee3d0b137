"""Tables of the papers' benchmarks say what their results say."""

import runpy
import sys
from pathlib import Path

import pytest

PAPERS = Path(__file__).parents[2] / "benchmarks" / "papers"


@pytest.fixture
def script(monkeypatch):
    """``script(name, *arguments)``: the names that a program of benchmarks/papers defines."""
    monkeypatch.syspath_prepend(str(PAPERS))

    def loaded(name, *arguments, run_name="program"):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        return runpy.run_path(str(PAPERS / name), run_name=run_name)

    return loaded


def test_change_against_as_many_steps_keeps_its_interval_and_that_against_early_stopping_is_of_the_means(
    script,
):
    def system(mse, difference=None):
        return {"volume": {"mse": {"value": mse, "difference": difference}}}

    change = {"value": -0.1, "low": -0.2, "high": 0.1}
    systems = {"early stopping": system(2.0), "labels": system(1.0)}
    systems |= {arm: system(0.9, change) for arm in ("bin", "kernel")}
    result = {"pixels": {"systems": systems, "slices": {"test": 7}, "patients": {"test": 3}}}
    lines = script("fassio_page.py")["summary"](result)
    (of_bins,) = (line for line in lines if "CaPE, bins" in line)
    assert "-55.0 against early stopping; -10.0 (-20.0 to +10.0) against as many steps" in of_bins
    assert "7 slices, 3 patients" in of_bins
    assert any("slices" in line and "not run" in line for line in lines)


def test_a_source_of_samples_has_its_figures_and_not_those_of_another(script):
    def method(ged16, ged100):
        figures = {"ged16": ged16, "ged100": ged100}
        return {"all": {k: {"value": v, "low": v - 0.1, "high": v + 0.1} for k, v in figures.items()}}

    names = ("stochastic, rank 10; 4 raters", "per voxel; 1 rater", "stochastic, rank 2; 4 raters")
    methods = {name: method(0.3 + i / 10, 0.2 + i / 10) for i, name in enumerate(names)}
    result = {"methods": methods, "data": {"slices": 9}, "patients": {"test": 4}}
    table = [line for line in script("monteiro_page.py")["summary"](result) if line.startswith("| ")][1:]
    assert table == [
        "| stochastic, rank 10; 4 raters | MoSE .213, GED(16) | 0.300 (0.200-0.400); 0.200 (0.100-0.300) |",
        "| per voxel; 1 rater | - | 0.400 (0.300-0.500); 0.300 (0.200-0.400) |",
    ]
