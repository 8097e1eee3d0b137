"""Areas under risk-coverage curves over scans."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from segtrust.errors import ShapeError
from segtrust.metrics import augrc, aurc

scans = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 10).map(lambda k: k / 10)), min_size=1, max_size=5
)


def slow_aurc(risks):
    return np.mean([np.mean(risks[:n]) for n in range(1, len(risks) + 1)])


def slow_augrc(risks):
    heights = np.cumsum([0.0, *risks]) / len(risks)
    return np.mean((heights[1:] + heights[:-1]) / 2)


def test_areas_by_hand():
    # surest first: risks 0, .5, .4. Running means 0, .25, .3; mean .55 / 3
    # generalised: 0, 0, .5/3, .9/3: trapezoids (0 + .25/3 + .7/3) / 3
    uncertainty, risk = [0.1, 0.3, 0.2], [0.0, 0.4, 0.5]
    assert aurc(uncertainty, risk) == pytest.approx(0.55 / 3, abs=1e-12)
    assert augrc(uncertainty, risk) == pytest.approx(0.95 / 9, abs=1e-12)


@given(scans)
def test_equal_scores_are_the_mean_over_every_order(table):
    orders = [
        [risk for _, risk in order]
        for order in itertools.permutations(table)
        if [score for score, _ in order] == sorted(score for score, _ in table)
    ]
    scores, risks = zip(*table, strict=True)
    assert aurc(scores, risks) == pytest.approx(np.mean([slow_aurc(o) for o in orders]), abs=1e-12)
    assert augrc(scores, risks) == pytest.approx(np.mean([slow_augrc(o) for o in orders]), abs=1e-12)


@given(scans)
def test_no_score_does_better_than_the_risk_itself(table):
    scores, risks = zip(*table, strict=True)
    assert aurc(scores, risks) >= aurc(risks, risks) - 1e-12


def test_area_of_right_and_wrong_scans_follows_from_auroc():
    # Traub et al. 2024, the closed form: (1 - AUROC) a (1 - a) + (1 - a)^2 / 2; ties included
    rng = np.random.default_rng(0)
    score, wrong = rng.integers(0, 40, 200), rng.random(200) < 0.3
    a = 1 - wrong.mean()
    expected = (1 - roc_auc_score(wrong, score)) * a * (1 - a) + (1 - a) ** 2 / 2
    assert augrc(score.tolist(), wrong.astype(float).tolist()) == pytest.approx(expected, abs=1e-12)


def test_a_score_that_says_nothing_loses_the_mean_risk():
    assert aurc([1.0] * 4, [0.0, 0.2, 0.4, 0.6]) == pytest.approx(0.3)
    assert augrc([1.0] * 4, [0.0, 0.2, 0.4, 0.6]) == pytest.approx(0.15)


def test_no_scans_have_no_area():
    assert math.isnan(aurc([], []))
    assert math.isnan(augrc([], []))


@pytest.mark.parametrize(
    ("score", "risk"), [([1.0], [0.0, 1.0]), ([math.nan], [0.0])], ids=["lengths", "nan"]
)
def test_scans_without_a_number_are_refused(score, risk):
    with pytest.raises(ShapeError, match="Leave out scans without a score"):
        aurc(score, risk)
