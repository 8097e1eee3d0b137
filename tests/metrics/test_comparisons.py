"""Paired differences and many of them."""

import itertools

import numpy as np
import pytest

from segtrust.errors import ShapeError
from segtrust.metrics import holm, sign_flip_p


def test_holm_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and the last may not fall below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_five_in_any_order():
    # 5 x .01, 4 x .02, 3 x .03, 2 x .6 and 1 x .9, the last two cut at 1 (the first of them) and held there
    assert holm([0.9, 0.02, 0.01, 0.6, 0.03]) == pytest.approx([1.0, 0.08, 0.05, 1.0, 0.09])


def test_holm_never_makes_a_p_value_smaller_nor_larger_than_bonferroni():
    p = np.random.default_rng(0).uniform(0, 0.2, 30)
    got = np.array(holm(p.tolist()))
    assert (got >= p).all()
    assert (got <= np.minimum(1, 30 * p) + 1e-12).all()
    assert np.all(np.diff(got[np.argsort(p)]) >= 0)


def test_the_p_value_agrees_with_all_sign_patterns():
    d = np.array([0.5, -0.2, 0.9, 0.4, 0.1, 0.7, -0.1, 0.3])
    flipped = [abs(np.dot(s, d)) for s in itertools.product((-1, 1), repeat=len(d))]
    exact = np.mean(np.array(flipped) >= abs(d.sum()) - 1e-12)
    # 20,000 draws: standard error sqrt(p (1 - p) / 20000) below .002
    assert sign_flip_p(d.tolist()) == pytest.approx(exact, abs=0.008)


def test_differences_of_one_sign_give_the_smallest_p_value_that_so_many_subjects_allow():
    # of 2^20 patterns only two reach the sum: hardly ever drawn
    assert sign_flip_p([1.0] * 20, draws=1000) <= 2 / 1001


def test_no_difference_is_no_finding():
    assert sign_flip_p([1.0, -1.0, 1.0, -1.0]) == 1.0


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")]], ids=["none", "not a number"])
def test_differences_must_be_there_and_finite(bad):
    with pytest.raises(ShapeError, match="at least one finite number per subject"):
        sign_flip_p(bad)
