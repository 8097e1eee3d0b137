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


def cape_system(mse, difference=None, ece=0.003):
    return {"volume": {"mse": {"value": mse, "difference": difference}, "ece": {"value": ece}}}


NO_CHANGE = {"value": 0.01, "low": -0.02, "high": 0.05}
A_GAIN = {"value": -0.2, "low": -0.3, "high": -0.1}


def cape_part(of_bins, of_kernel, best=0.5, last=0.5):
    """Early stopping has an MSE of 2, cross-entropy that goes on 1."""
    systems = {
        "early stopping": cape_system(2.0),
        "labels": cape_system(1.0),
        "bin": cape_system(1.0 + of_bins["value"], of_bins),
        "kernel": cape_system(1.0 + of_kernel["value"], of_kernel),
    }
    watched = {arm: [{"best": best, "last": last}] for arm in ("labels", "bin", "kernel")}
    return {"systems": systems, "watched": watched}


def claimed(script, result):
    return " ".join(" ".join(script("fassio_claims.py")["claims"](result)).split())


def test_a_gain_that_more_steps_have_as_well_is_not_called_one_of_cape(script):
    text = claimed(script, {"pixels": cape_part(NO_CHANGE, NO_CHANGE)})
    assert "bins -49.5 %; kernel -49.5 %; continued cross-entropy -50.0 %" in text
    assert "against as many steps no difference is shown" in text
    text = claimed(script, {"pixels": cape_part(A_GAIN, NO_CHANGE)})
    assert "Against as many steps a difference is shown for bins." in text


def test_classification_gains_more_only_where_it_gains(script):
    less, more = {"value": 0.3, "low": -1.0, "high": 1.0}, {"value": 0.4, "low": -1.0, "high": 1.0}
    # slices +30 % beside pixels +40 %: less harm is no gain
    text = claimed(script, {"pixels": cape_part(more, more), "slices": cape_part(less, less)})
    assert "bins +30.0 % beside +40.0 %" in text
    assert "That is not seen" in text
    text = claimed(
        script, {"pixels": cape_part(NO_CHANGE, NO_CHANGE), "slices": cape_part(A_GAIN, NO_CHANGE)}
    )
    assert "That is seen with bins." in text


def test_where_the_last_epoch_is_the_best_nothing_was_overfitted(script):
    last = {f"{arm}, last epoch": cape_system(mse) for arm, mse in (("labels", 3), ("bin", 2), ("kernel", 1))}
    known = {"0.005": {"systems": last}}
    text = claimed(script, {"synthetic": known, "pixels": cape_part(NO_CHANGE, NO_CHANGE)})
    assert "at a rate of 0.005 continued cross-entropy 3000.0, bins 2000.0, kernel 1000.0" in text
    assert "in 3 of 3 runs: nothing was overfitted there" in text
    text = claimed(script, {"synthetic": known, "pixels": cape_part(NO_CHANGE, NO_CHANGE, last=0.6)})
    assert "in 0 of 3 runs." in text


def test_cells_that_kept_their_start_and_differences_that_chance_makes_are_counted(script):
    def sizes(of_bins, mse):
        systems = {"early stopping": cape_system(2.0), "labels": cape_system(1.0)}
        return {"1": {"systems": {**systems, "5 bins": cape_system(mse, of_bins)}}}

    worse = {"value": 1.0, "low": 0.5, "high": 1.5}
    text = claimed(script, {"pixel sizes": sizes(worse, 2.0), "slice sizes": sizes(NO_CHANGE, 1.01)})
    assert "1 of 2 differences" in text
    assert "1 of them to the worse" in text
    assert "of so many 95 % intervals 0.1 would by chance" in text
    assert "In 1 of the cells no epoch" in text


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


def test_what_a_difference_says_follows_from_its_interval(script):
    verdict = script("monteiro_page.py")["verdict_of"]
    ends = ((0.01, 0.04), (-0.04, -0.01), (-0.04, 0.04), (None, None))
    assert [verdict({"value": 0.0, "low": low, "high": high}) for low, high in ends] == [
        "the longer network is nearer to the raters",
        "it is nearer to the raters",
        "no difference shown",
        "no difference shown",
    ]
