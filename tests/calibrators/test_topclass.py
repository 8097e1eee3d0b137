"""One temperature per predicted class."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibration_cohorts import cohort, constant
from segtrust import calibrators as c
from segtrust.errors import ModelError, ShapeError
from strategies import probs


def test_only_the_predicted_class_is_scaled_with_its_temperature():
    # class 0 ahead: T = 1 leaves (.64, .36); class 1 ahead: T = 2 gives square roots .6 and .8 over 1.4
    got = c.TopClassTemperature((1.0, 2.0)).apply(torch.tensor([[0.64, 0.36], [0.36, 0.64]]), torch.zeros(2))
    np.testing.assert_allclose(got, [[0.64, 0.6 / 1.4], [0.36, 0.8 / 1.4]], atol=1e-6)


@given(p=probs(classes=st.just(3), dtype=torch.float32))
def test_every_margin_is_divided_by_one_temperature(p):
    p = (p[0] + 0.01) / (p[0] + 0.01).sum(0)
    t = torch.tensor([0.5, 1.5, 4.0])
    got = c.TopClassTemperature((0.5, 1.5, 4.0)).apply(p, torch.zeros(p.shape[1:]))
    scale = t[p.argmax(0)]
    for a in range(3):
        for b in range(3):
            expected = (p[a].log() - p[b].log()) / scale
            np.testing.assert_allclose(got[a].log() - got[b].log(), expected, atol=1e-4)


def test_each_class_gets_its_own_temperature_back():
    # class 0 ahead is over-confident by 2, the others are right
    scans = cohort(constant(1.0), n=6000)
    rng = np.random.default_rng(5)
    changed = []
    for scan in scans:
        first = scan.logits.argmax(1) == 0
        z = scan.logits / np.where(first, 2.0, 1.0)[:, None]
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        labels = (p.cumsum(1) < rng.random((len(z), 1))).sum(1).clip(0, 2)
        changed.append(c.CalibrationVoxels(scan.logits, labels, scan.distance, scan.weight, scan.subject))
    # 10 000 voxels a class: one standard error of ln T is 1.5 %
    np.testing.assert_allclose(c.fit_top_class_temperature(changed).temperatures, [2.0, 1.0, 1.0], rtol=0.08)


def test_with_one_temperature_for_all_it_is_the_pooled_one():
    p = torch.softmax(torch.randn(3, 40, generator=torch.Generator().manual_seed(0)), 0)
    a = c.TopClassTemperature((1.7,) * 3).apply(p, torch.zeros(40))
    torch.testing.assert_close(a, c.PooledTemperature(1.7).apply(p, torch.zeros(40)), rtol=0, atol=1e-6)


def test_a_class_that_was_never_predicted_is_left_alone():
    scans = [
        c.CalibrationVoxels(
            np.log(np.array([[0.8, 0.2]] * 5, np.float32)), np.array([0, 0, 0, 1, 1]),
            np.zeros(5, np.float32), np.ones(5), str(i),
        )
        for i in range(5)
    ]  # fmt: skip
    # predicted .8, right 3 of 5: T = ln 4 / ln 1.5 for class 0
    expected = [np.log(4) / np.log(1.5), 1]
    np.testing.assert_allclose(c.fit_top_class_temperature(scans).temperatures, expected, atol=1e-2)


def test_it_comes_back_from_json():
    one = c.TopClassTemperature((1.0, 2.0))
    assert c.calibrator_from_json(json.loads(json.dumps(one.to_json()))) == one


def test_another_number_of_classes_is_refused():
    with pytest.raises(ShapeError, match="softmax over 2 classes, got softmax over 3"):
        c.TopClassTemperature((1.0, 2.0)).apply(torch.full((3, 1), 1 / 3), torch.zeros(1))


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ModelError, match="above 0"):
        c.TopClassTemperature((1.0, 0.0))
