"""Simulated calibration sets: intervals, as an answer shows them, hold as often as they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from segtrust.experiments.interval_coverage import LAWS, World, coverage_of, simulate

MEANS = (0.5, 0.83, 0.97, 0.993)
FRESH = 60


def least_mean(subjects, sets):
    """90 % less three standard errors, for intervals that hold exactly as often as their rank says."""
    rank = math.ceil((subjects + 1) * 0.9 - 1e-9)
    spread = stats.beta(rank, subjects + 1 - rank).var() + 0.9 * 0.1 / FRESH
    return 0.9 - 3 * math.sqrt(spread / sets)


@pytest.mark.parametrize("law", ["beta", "lognormal"])
@pytest.mark.parametrize("mean", MEANS)
def test_scans_have_the_mean_dice_of_their_world(law, mean):
    rng = np.random.default_rng(0)
    dice = [t.dice for _ in range(2000) for t in World(law, mean).patient(rng)]
    # floor: a log-normal error above 1 counts as a Dice of 0
    assert np.mean(dice) == pytest.approx(mean, abs=0.02 + 0.05 * (law == "lognormal" and mean == 0.5))
    assert 0 <= min(dice) <= max(dice) <= 1


def test_a_mixture_has_wholly_wrong_and_perfect_scans_and_borders_only_where_something_is_there():
    rng = np.random.default_rng(0)
    scans = [t for _ in range(2000) for t in World("mixture", 0.83).patient(rng)]
    dice = np.array([t.dice for t in scans])
    assert np.mean(dice == 0) == pytest.approx(0.1, abs=0.02)  # three standard errors
    assert np.mean(dice == 1) == pytest.approx(0.15, abs=0.024)
    absent = [t for t in scans if t.volume_ratio == 0]
    assert absent
    assert all(t.dice == 0 and t.border_mm is None for t in absent)


def test_scans_of_one_patient_are_alike():
    rng = np.random.default_rng(0)
    pairs = [[t.dice for t in World("beta", 0.83, scans=2).patient(rng)] for _ in range(1000)]
    assert stats.spearmanr(*np.transpose(pairs)).statistic == pytest.approx(0.68, abs=0.06)


def test_figures_by_hand_and_sets_without_an_interval_do_not_count():
    figures = coverage_of({"dice": [0.8, 1.0, math.nan], "volume": [math.nan]})
    assert set(figures) == {"dice"}
    assert figures["dice"]["mean"] == pytest.approx(0.9)
    assert figures["dice"]["error"] == pytest.approx(0.1)
    assert figures["dice"]["worst"] == pytest.approx(0.81)
    assert figures["dice"]["reach"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("subjects", "sets"), [(10, 16), (20, 10)])
@pytest.mark.parametrize("mean", MEANS)
def test_intervals_hold_nine_times_in_ten_for_any_mean_dice(mean, subjects, sets):
    figures = coverage_of(simulate(World("beta", mean), subjects, sets, FRESH, seed=7)["usual"])
    for target in ("dice", "volume", "border"):
        assert figures[target]["mean"] >= least_mean(subjects, sets), target


@pytest.mark.slow
@pytest.mark.parametrize("mean", MEANS)
def test_intervals_of_fifty_patients_hold_nine_times_in_ten_and_confident_ones_more_often(mean):
    shares = simulate(World("beta", mean, targets=("dice",)), 50, 6, FRESH, seed=8)
    usual, confident = (coverage_of(shares[kind])["dice"]["mean"] for kind in ("usual", "confident"))
    assert usual >= least_mean(50, 6)
    assert confident >= max(usual, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_intervals_hold_nearly_perfect_scans_whatever_their_law_and_with_several_scans_of_a_patient(law):
    shares = simulate(World(law, 0.993, scans=2), 12, 12, FRESH, seed=9)
    opened = coverage_of(shares["usual"])
    assert all(figures["mean"] >= least_mean(12, 12) for figures in opened.values())
    closed = coverage_of(shares["closed"])["border"]["mean"]
    assert closed < least_mean(12, 12)  # so the clip does harm here, if left closed
