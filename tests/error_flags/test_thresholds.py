"""Rules for the threshold above which a voxel is flagged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.error_flags import RULES, FlagRule, otsu_threshold, recall_threshold
from segtrust.errors import SettingError

SCORES = np.array([0.0, 0.1, 0.2, 0.3, 0.9])


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("fixed:0.25", 0.25),
        ("mean", 0.3),
        # squares of the differences: .09 + .04 + .01 + 0 + .36 = .5; a fifth is .1
        ("mean_sd", 0.3 + np.sqrt(0.1)),
        ("mean_sd:-1", 0.3 - np.sqrt(0.1)),
        ("quantile:0.5", 0.2),
        ("budget:0.2", 0.3),
        ("budget:0.39", 0.3),
        ("budget:0.4", 0.2),
    ],
)
def test_thresholds_by_hand(rule, threshold):
    assert FlagRule.parse(rule).threshold(SCORES) == pytest.approx(threshold)


def test_otsu_parts_two_heaps():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.03, 900), rng.normal(0.7, 0.03, 100)])
    assert np.array_equal(np.flatnonzero(values > otsu_threshold(values)), range(900, 1000))


@pytest.mark.parametrize("seed", range(5))
def test_otsu_agrees_with_scikit_image(seed):
    filters = pytest.importorskip("skimage.filters", reason="scikit-image is not installed")
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.beta(2, 8, 3000), rng.beta(6, 3, 500 * seed + 100)])
    half = (values.max() - values.min()) / 512  # theirs is the middle of the bin, ours its upper edge
    assert otsu_threshold(values) == pytest.approx(filters.threshold_otsu(values) + half, abs=1e-9)


@pytest.mark.parametrize("rule", ["mean", "otsu", "quantile", "budget"])
def test_equal_scores_are_not_flagged(rule):
    values = np.full(7, 0.3)
    assert not (values > FlagRule.parse(rule).threshold(values)).any()


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]), min_size=1, max_size=30),
    st.floats(0.01, 1),
)
def test_no_more_than_the_budget_is_flagged_and_no_lower_threshold_would_do(values, share):
    scores = np.array(values)
    threshold = FlagRule("budget", share).threshold(scores)
    flagged = np.count_nonzero(scores > threshold)
    assert flagged <= share * scores.size
    ties = np.count_nonzero(scores == threshold)
    assert flagged + ties > int(share * scores.size) or ties + flagged == scores.size


def test_the_calibrated_threshold_is_the_highest_that_finds_enough():
    # cells of a quarter; above .75 lie 8 of 10, above .5 lie 9, above 0 all
    wrong = np.array([1, 0, 1, 8])
    assert [recall_threshold(wrong, r) for r in (0.5, 0.8, 0.81, 0.9, 0.91, 1.0)] == [
        0.75, 0.75, 0.5, 0.5, -1.0, -1.0,
    ]  # fmt: skip


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20).filter(any), st.floats(0.01, 1))
def test_the_calibrated_recall_is_kept_on_the_voxels_it_was_learnt_from(counts, recall):
    wrong = np.array(counts)
    threshold = FlagRule("calibrated", recall).threshold(np.zeros(1), wrong=wrong)
    middles = (np.arange(wrong.size) + 0.5) / wrong.size
    assert wrong[middles > threshold].sum() >= recall * wrong.sum()
    higher = threshold + 1 / wrong.size if threshold >= 0 else 1 / wrong.size
    assert wrong[middles > higher].sum() < recall * wrong.sum()


def test_nothing_to_learn_from_is_an_error_and_nothing_to_flag_is_not():
    with pytest.raises(SettingError, match="needs counts of wrong voxels of labelled scans"):
        FlagRule.parse("calibrated").threshold(SCORES)
    with pytest.raises(SettingError, match="needs labelled scans with wrong voxels"):
        recall_threshold(np.zeros(4), 0.9)
    for name in set(RULES) - {"fixed", "calibrated"}:
        assert FlagRule.parse(name).threshold(SCORES[:0]) == np.inf


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("median", "must be one of fixed, mean, mean_sd, quantile, otsu, budget, calibrated"),
        ("budget:0", "must lie above 0 and not above 1, got 0"),
        ("quantile:1.5", "must lie above 0 and not above 1, got 1.5"),
        ("budget:many", "must be NAME or NAME:NUMBER, got 'budget:many'"),
        ("fixed:nan", "must be a finite number, got nan"),
    ],
)
def test_a_bad_rule_is_refused_in_words(text, words):
    with pytest.raises(SettingError, match=words):
        FlagRule.parse(text)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_read_back_from_its_text(name):
    assert FlagRule.parse(str(FlagRule.parse(name))) == FlagRule.parse(name)
