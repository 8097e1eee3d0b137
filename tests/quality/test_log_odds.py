"""Scales on which quality is predicted: what is clipped, and that the way back holds all of it."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segtrust.quality import logit_dice
from segtrust.quality.log_odds import clipped_log, dice_range, factor_range

ENDS = st.floats(-8, 8) | st.sampled_from([-3.0, 3.0, logit_dice(0.0), logit_dice(1.0)])


def test_a_dice_of_zero_does_not_run_to_infinity():
    assert logit_dice(0.0) == pytest.approx(-5.2933, abs=1e-4)
    assert logit_dice(0.75) == pytest.approx(np.log(3))


def test_a_factor_of_zero_or_of_a_thousand_counts_as_one_of_twenty():
    assert (clipped_log(0.0), clipped_log(1000.0)) == (-3, 3)
    assert math.exp(3) == pytest.approx(20.1, abs=0.02)
    assert clipped_log(2.0) == math.log(2)


@given(ENDS, ENDS, st.floats(0, 1))
@example(logit_dice(0.8), logit_dice(0.8), 0.8)
@example(0.0, logit_dice(1.0), 0.9999)
@example(-9.0, -8.0, 0.0)
def test_every_dice_whose_clipped_log_odds_lie_in_an_interval_lies_in_the_one_that_is_shown(one, two, dice):
    low, high = sorted((one, two))
    shown = dice_range(low, high)
    assert 0 <= shown[0] <= shown[1] <= 1
    if low <= logit_dice(dice) <= high:
        assert shown[0] <= dice <= shown[1]


@given(ENDS, ENDS, st.floats(0, 1e6))
@example(0.5, 3.0, 500.0)
@example(-3.0, 0.5, 0.0)
@example(4.0, 5.0, 30.0)
def test_every_factor_whose_clipped_log_lies_in_an_interval_lies_in_the_one_that_is_shown(one, two, value):
    low, high = sorted((one, two))
    shown = factor_range(low, high)
    assert 0 <= shown[0] <= shown[1]
    if low <= clipped_log(value) <= high:
        assert shown[0] <= value <= shown[1]


def test_ends_away_from_the_clip_are_those_of_the_log_odds():
    assert dice_range(logit_dice(0.6), logit_dice(0.9)) == pytest.approx((0.6, 0.9), abs=1e-8)
    assert factor_range(math.log(0.5), math.log(2)) == pytest.approx((0.5, 2), abs=1e-8)
