"""Areas, penalties, efficiency and advice, with numbers worked by hand."""

import math

import numpy as np
import pytest

from segtrust.errors import ShapeError
from segtrust.metrics.bootstrap import Interval
from segtrust.simulate.figures import (
    area_under_budget,
    crossed_bootstrap,
    foreground_efficiency,
    penalty_matrix,
    scans_to_reach,
    stop_after,
)


def test_area_weighs_each_piece_by_its_share_of_the_budget():
    # 10 to 20 is a third of the budget at a mean height of .3, 20 to 40 two thirds at .7
    assert area_under_budget([10, 20, 40], [0.2, 0.4, 1.0]) == pytest.approx(0.3 / 3 + 0.7 * 2 / 3)


def test_area_of_a_flat_curve_is_its_height_for_every_row():
    assert area_under_budget([3, 4, 9], [[0.5] * 3, [0.7] * 3]).tolist() == pytest.approx([0.5, 0.7])


def test_area_lies_between_the_smallest_and_the_largest_value():
    values = np.random.default_rng(0).random((200, 4))
    areas = area_under_budget([10, 17, 25, 40], values)
    assert (values.min(axis=1) < areas).all()
    assert (areas < values.max(axis=1)).all()


@pytest.mark.parametrize(
    ("counts", "values"),
    [([10], [0.5]), ([10, 10], [0.5, 0.5]), ([10, 20], [0.5])],
    ids=["one budget", "equal budgets", "a value missing"],
)
def test_area_without_a_value_at_each_of_two_rising_budgets_is_refused(counts, values):
    with pytest.raises(ShapeError, match="at least two rising budgets"):
        area_under_budget(counts, values)


def test_fewer_than_thirty_subjects_give_no_interval():
    found = crossed_bootstrap([[0.0] * 29, [1.0] * 29])
    assert (found.value, found.subjects, found.method) == (0.5, 29, "n too small")
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_interval_of_two_seeds_that_differ_reaches_from_one_to_the_other():
    # a quarter of the draws takes the first seed twice, a quarter the second
    found = crossed_bootstrap([[0.0] * 30, [1.0] * 30])
    assert (found.low, found.high, found.subjects) == (0.0, 1.0, 30)


def test_interval_agrees_with_a_slow_loop():
    table = np.random.default_rng(3).normal(size=(4, 30))
    rng, drawn = np.random.default_rng(9), []
    for _ in range(6000):
        rows, columns = rng.integers(0, 4, 4), rng.integers(0, 30, 30)
        drawn.append(table[rows][:, columns].mean())
    found = crossed_bootstrap(table, draws=6000)
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_a_figure_that_is_not_defined_does_not_count():
    assert crossed_bootstrap([[0.2, math.nan], [0.4, math.nan]]).value == pytest.approx(0.3)


def test_penalty_counts_the_budgets_at_which_the_t_test_tells_two_strategies_apart():
    # t = mean / (sd / sqrt 3) must pass 4.303: 1.9, 2.0, 2.1 give 34.6, and 1, 2, 3 give 3.46
    other = np.zeros((3, 2))
    own = np.array([[1.9, 1.0], [2.0, 2.0], [2.1, 3.0]])
    found = penalty_matrix({"own": own, "other": other})
    assert found == {"own": {"other": 0.5}, "other": {"own": 0.0}}


def test_penalty_of_strategies_that_are_the_same_or_have_one_seed_is_zero():
    same = np.full((3, 2), 0.5)
    assert penalty_matrix({"a": same, "b": same})["a"]["b"] == 0
    assert penalty_matrix({"a": [[0.9, 0.9]], "b": [[0.1, 0.1]]})["a"]["b"] == 0


def test_penalty_of_curves_that_do_not_match_is_refused():
    with pytest.raises(ShapeError, match="one shape"):
        penalty_matrix({"a": [[0.1, 0.2]], "b": [[0.1]]})


def test_efficiency_is_the_rate_of_the_exponential():
    shares = np.array([0.1, 0.15, 0.2, 0.3])
    values = 0.9 - 0.4 * np.exp(-5 * (shares - 0.1))
    assert values[1] == pytest.approx(0.9 - 0.4 * 0.7788, abs=1e-4)
    assert foreground_efficiency(shares, values, full=0.9) == pytest.approx(5, rel=1e-4)


def test_efficiency_of_labels_that_help_faster_is_larger():
    shares = [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]
    slow = foreground_efficiency(shares, [[0.5, 0.55, 0.6], [0.5, 0.57, 0.62]], full=0.8)
    fast = foreground_efficiency(shares, [[0.5, 0.65, 0.7], [0.5, 0.67, 0.72]], full=0.8)
    assert fast > slow > 0


def test_efficiency_is_not_defined_where_the_start_is_as_good_as_the_whole_pool():
    assert foreground_efficiency([0.1, 0.2], [0.8, 0.8], full=0.8) is None


@pytest.mark.parametrize(
    ("target", "scans"),
    [(0.5, 10.0), (0.7, 20.0), (0.75, 30.0), (0.81, None)],
    ids=["at once", "at a round", "between rounds", "never"],
)
def test_scans_to_reach_lie_on_the_straight_line_between_rounds(target, scans):
    assert scans_to_reach([10, 20, 40], [0.5, 0.7, 0.8], target) == scans


def test_advice_is_the_first_round_that_surely_gained_too_little():
    unsure, small = Interval(0.001, -0.01, 0.01, 9), Interval(0.001, 0.0, 0.004, 9)
    assert stop_after([unsure, small, small]) == 3
    assert stop_after([unsure, unsure]) is None
