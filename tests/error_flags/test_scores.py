"""Scores of voxel error."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from segtrust.ensemble import RunningTotals
from segtrust.error_flags import PROBABILITY_SCORES, SAMPLE_SCORES, probability_scores, sample_scores
from segtrust.errors import ProbabilityError


def totals_of(*samples):
    totals = RunningTotals()
    for sample in samples:
        totals.add(torch.tensor(sample).reshape(len(sample), 1, 1, 1))
    return totals.finish()


def test_probability_scores_by_hand():
    # p = (1/2, 1/4, 1/4): entropy 1.5 ln 2 of ln 3, margin 1 - 1/4, largest 1/2, squares 3/8 of at most 2/3
    found = {name: float(s[0]) for name, s in probability_scores(np.array([[0.5], [0.25], [0.25]])).items()}
    assert found == pytest.approx(
        {"entropy": 1.5 * np.log(2) / np.log(3), "margin": 0.75, "variation_ratio": 0.5, "gini": 0.9375}
    )


def test_sample_scores_by_hand():
    # two of three say the first class; its probabilities 1, 1, 0 have the variance 2/9, so have the second's
    found = sample_scores(totals_of([1.0, 0.0], [1.0, 0.0], [0.0, 1.0]))
    assert found["deviation"].item() == pytest.approx(np.sqrt(4 / 9))
    assert found["votes"].item() == pytest.approx(1 / 3)


def test_identical_samples_have_no_deviation():
    found = sample_scores(totals_of([0.7, 0.3], [0.7, 0.3]))
    assert {name: score.item() for name, score in found.items()} == {"deviation": 0, "votes": 0}


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_every_score_is_0_where_the_model_is_sure_and_largest_where_it_knows_nothing(head):
    sure, lost = ([1.0, 0.0], [0.5, 0.5])
    for name, score in probability_scores(np.array([sure, lost]).T, head=head).items():
        assert score[0] == pytest.approx(0, abs=1e-6), name
        assert score[1] == pytest.approx(0.5 if name == "variation_ratio" else 1), name


def test_for_two_classes_all_probability_scores_find_errors_equally_well():
    rng = np.random.default_rng(0)
    first = rng.random(3000)
    wrong = rng.random(3000) < np.minimum(first, 1 - first)
    found = {
        name: roc_auc_score(wrong, score.round(5))
        for name, score in probability_scores(np.stack([first, 1 - first])).items()
    }
    assert set(found) == set(PROBABILITY_SCORES)
    assert max(found.values()) - min(found.values()) < 1e-3  # rounding makes ties
    assert min(found.values()) > 0.6


def test_logits_are_refused():
    with pytest.raises(ProbabilityError, match="Were logits passed"):
        probability_scores(np.array([[2.0], [-1.0]]))


def test_names_do_not_meet():
    assert not set(PROBABILITY_SCORES) & set(SAMPLE_SCORES)
