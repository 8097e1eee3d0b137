"""Bounds from a few subjects: by hand, for every order of the subjects, and against MAPIE."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segtrust.errors import SettingError
from segtrust.quality import (
    bound_risk,
    confident_coverage,
    conformal_bound,
    conformal_p_value,
    control_risk,
    least_subjects,
)

SHARES = st.floats(0, 1, allow_nan=False)


def without_each(items):
    return [(items[:i] + items[i + 1 :], items[i]) for i in range(len(items))]


def test_nine_subjects_bound_nine_in_ten_and_eight_do_not():
    assert conformal_bound([5, 1, 4, 2, 3, 9, 8, 7, 6], 0.1) == 9
    assert conformal_bound([5, 1, 4, 2, 3, 9, 8, 7], 0.1) == math.inf
    assert conformal_bound(list(range(19)), 0.1) == 17  # the 18th smallest of 19


def test_nine_subjects_control_a_risk_of_one_in_ten_and_eight_do_not():
    assert control_risk(np.zeros((9, 2)), 0.1) == 0
    assert control_risk(np.zeros((8, 2)), 0.1) is None
    assert bound_risk([0.5] * 9, [False] * 9, 0.1) == -math.inf
    assert bound_risk([0.5] * 8, [False] * 8, 0.1) is None


def test_one_bad_subject_of_nine_moves_the_limit_to_its_score_and_of_nineteen_does_not():
    assert bound_risk([0.9] * 8 + [0.7], [False] * 8 + [True], 0.1) == 0.7
    assert bound_risk([0.9] * 18 + [0.7], [False] * 18 + [True], 0.1) == -math.inf


def test_the_confident_rank_is_the_smallest_that_enough_calibration_sets_reach():
    for subjects in (5, 28, 29, 46, 61, 100):
        # a bound at rank k reaches 90 % unless k or more of n fresh uniform numbers lie below .9
        misses = [stats.binom(subjects, 0.9).sf(k - 1) for k in range(1, subjects + 1)]
        ranks = [k for k, missed in enumerate(misses, 1) if missed <= 0.05]
        coverage = confident_coverage(subjects, 0.9, 0.95)
        assert coverage == (ranks[0] / (subjects + 1) if ranks else None)
        assert (coverage is None) is (subjects < least_subjects(0.9, 0.95))


def test_how_many_patients_a_bound_takes():
    assert least_subjects(0.9) == 9
    assert least_subjects(0.9, 0.95) == 29  # .9 ** 29 = .047, Wilks
    assert least_subjects(0.95, 0.95) == 59
    with pytest.raises(SettingError, match="must lie between 0 and 1"):
        confident_coverage(30, 0.9, 1.0)


@pytest.mark.parametrize("subjects", [29, 60])
def test_of_many_calibration_sets_the_confident_bound_reaches_nine_in_ten_for_all_but_one_in_twenty(subjects):
    draws, coverage = 2000, confident_coverage(subjects, 0.9, 0.95)
    sets = np.random.default_rng(subjects).random((draws, subjects))  # a score's rank in its own law
    reached = np.mean([conformal_bound(scores, 1 - coverage) >= 0.9 for scores in sets])
    assert reached >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)
    usual = np.mean([conformal_bound(scores, 0.1) >= 0.9 for scores in sets])
    assert usual < 0.8  # which the usual bound does not


def test_a_score_that_is_not_a_number_counts_as_infinite_and_a_new_one_is_refused():
    assert conformal_bound([1.0] * 17 + [math.nan] * 2, 0.1) == math.inf  # the 18th smallest of 19
    assert conformal_bound([1.0] * 18 + [math.nan], 0.1) == 1
    assert conformal_p_value([1.0, math.nan, 3.0], 2.0) == 3 / 4
    with pytest.raises(SettingError, match="must be a number, got NaN"):
        conformal_p_value([1.0], math.nan)


@settings(max_examples=20)
@given(st.lists(SHARES, min_size=10, max_size=25), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_over_all_choices_of_the_new_subject_the_bound_is_exceeded_as_rarely_as_promised(scores, alpha):
    beyond = sum(new > conformal_bound(rest, alpha) for rest, new in without_each(scores))
    assert beyond <= alpha * len(scores) + 1e-9


@settings(max_examples=20)
@given(st.lists(SHARES, min_size=2, max_size=25), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_over_all_choices_of_the_new_subject_small_p_values_are_as_rare_as_they_say(scores, alpha):
    small = sum(conformal_p_value(rest, new) <= alpha for rest, new in without_each(scores))
    assert small <= alpha * len(scores) + 1e-9


@settings(max_examples=20)
@given(
    st.lists(st.tuples(SHARES, st.booleans()), min_size=10, max_size=25), st.sampled_from([0.05, 0.1, 0.2])
)
def test_over_all_choices_of_the_new_subject_bad_ones_are_called_fine_as_rarely_as_promised(pairs, alpha):
    wrong = 0
    for rest, (score, bad) in without_each(pairs):
        limit = bound_risk([s for s, _ in rest], [b for _, b in rest], alpha)
        wrong += bad and limit is not None and score > limit
    assert wrong <= alpha * len(pairs) + 1e-9


@pytest.mark.parametrize("alpha", [0.07, 0.13, 0.29])
@pytest.mark.parametrize("subjects", [15, 26, 60])
def test_the_decision_is_that_of_mapie(subjects, alpha):
    methods = pytest.importorskip("mapie.risk_control.methods", reason="MAPIE is not installed")
    draws = np.random.default_rng(subjects).random((subjects, 1))
    lambdas = np.linspace(0, 1, 41)
    losses = (draws > lambdas).astype(float)
    _, upper = methods.get_r_hat_plus(losses, lambdas, "crc", None, None, None)
    expected = methods.find_best_predict_param(lambdas, upper, np.array([alpha]))
    assert lambdas[control_risk(losses, alpha)] == expected.item()


@pytest.mark.parametrize(
    ("losses", "alpha"),
    [([[0.0, 0.1]], 0.1), ([[1.5, 1.0]], 0.1), ([[1.0, 0.0]], 0.0), ([[np.nan, 0.0]], 0.1)],
    ids=["a row that rises", "a loss above one", "no risk at all", "not a number"],
)
def test_what_is_no_risk_is_refused(losses, alpha):
    with pytest.raises(SettingError, match=r"must"):
        control_risk(np.array(losses), alpha)
