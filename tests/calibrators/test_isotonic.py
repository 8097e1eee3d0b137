"""A monotone map of the top label's log odds."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.isotonic import IsotonicRegression

from calibration_cohorts import cohort, constant
from segtrust import calibrators as c
from segtrust.errors import ModelError, ShapeError
from strategies import probs

BEND = c.TopLabelIsotonic((-1.0, 1.0, 5.0), (0.2, 0.6, 0.9))


def test_a_voxel_by_hand():
    # m = .75 among (.75, .2, .05): l = ln 3 = 1.0986, between corners 1 and 5: .6 + .3 * .0986 / 4 = .6074
    # rest 1 - .60740 in shares .8 and .2
    got = BEND.apply(torch.tensor([[0.75], [0.2], [0.05]]), torch.zeros(1))[:, 0]
    np.testing.assert_allclose(got, [0.60740, 0.8 * 0.39260, 0.2 * 0.39260], atol=1e-5)


def test_the_winner_stays_just_ahead_where_the_map_says_less():
    # rest of (.6, .4) is all runner-up: r = 1, so the winner gets 1/2 + 1e-6 although f says .05
    low = c.TopLabelIsotonic((0.0,), (0.05,))
    got = low.apply(torch.tensor([[0.6], [0.4]]), torch.zeros(1))
    np.testing.assert_allclose(got[:, 0], [0.500001, 0.499999], atol=1e-7)


def test_a_certain_voxel_shares_its_new_rest_evenly():
    got = BEND.apply(torch.tensor([[1.0], [0.0], [0.0]]), torch.zeros(1))
    np.testing.assert_allclose(got[:, 0], [0.9, 0.05, 0.05], atol=1e-7)


@given(p=probs(dtype=torch.float32))
def test_the_full_order_of_the_classes_is_kept(p):
    p = p[0]
    got = BEND.apply(p, torch.zeros(p.shape[1:]))
    for a in range(len(p)):
        for b in range(len(p)):
            ahead = p[a] > p[b]
            assert (got[a][ahead] >= got[b][ahead]).all()


def test_the_map_agrees_with_isotonic_regression_on_all_voxels():
    scans = cohort(constant(2.0), n=3000)
    fitted = c.fit_top_label_isotonic(scans)
    logits = np.concatenate([s.logits for s in scans]).astype(np.float64)
    right = logits.argmax(1) == np.concatenate([s.labels for s in scans])
    p = np.exp(logits)
    odds = np.log(p.max(1)) - np.log(p.sum(1) - p.max(1))
    slow = IsotonicRegression(out_of_bounds="clip").fit(odds, right)
    at = np.linspace(0, 8, 50)
    # steps end inside cells of 0.016: a step of some .03 in height may come one cell early
    gap = np.abs(np.interp(at, fitted.at, fitted.confidence) - slow.predict(at))
    assert gap.mean() < 0.005


@pytest.mark.parametrize("true_temperature", [0.5, 2.0], ids=["under-confident", "over-confident"])
def test_both_kinds_of_miscalibration_are_repaired(true_temperature):
    fitted = c.fit_top_label_isotonic(cohort(constant(true_temperature), n=8000))
    at = np.array([1.0, 2.0])
    # with two classes far behind the true chance is about that of the scaled log odds
    truth = 1 / (1 + np.exp(-at / true_temperature))
    got = np.interp(at, fitted.at, fitted.confidence)
    raw = 1 / (1 + np.exp(-at))
    assert (np.abs(got - truth) < np.abs(raw - truth)).all()


def test_no_number_of_right_voxels_proves_certainty():
    scans = [
        c.CalibrationVoxels(
            np.log(np.array([[0.9, 0.1]] * 9, np.float32)),
            np.zeros(9, np.int64),
            np.zeros(9, np.float32),
            np.ones(9),
            str(i),
        )
        for i in range(5)
    ]
    assert c.fit_top_label_isotonic(scans).confidence[-1] == pytest.approx(1 - 1e-6, abs=1e-12)


def test_it_comes_back_from_json():
    assert c.calibrator_from_json(json.loads(json.dumps(BEND.to_json()))) == BEND


@pytest.mark.parametrize(
    ("at", "confidence"),
    [((), ()), ((0.0,), (0.1, 0.2)), ((1.0, 0.0), (0.1, 0.2)), ((0.0, 1.0), (0.2, 0.1)), ((0.0,), (1.5,))],
    ids=["empty", "unequal", "falling odds", "falling map", "above one"],
)
def test_a_map_that_does_not_rise_is_refused(at, confidence):
    with pytest.raises(ModelError, match="needs rising log odds"):
        c.TopLabelIsotonic(at, confidence)


def test_a_sigmoid_head_is_refused():
    with pytest.raises(ShapeError, match="needs a softmax head, got sigmoid"):
        BEND.apply(torch.rand(2, 3), torch.zeros(3), head="sigmoid")
