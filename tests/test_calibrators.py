"""Calibrators: what they do to probabilities, and what a fit finds."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from calibration_cohorts import cohort, constant, true_scan
from segtrust import calibrators as c
from segtrust.calibrators.voxels import thinned
from segtrust.errors import ModelError, ShapeError
from strategies import probs, sigmoid_probs

CALIBRATORS = [
    c.Identity(),
    c.PooledTemperature(2.5),
    c.PooledTemperature(0.4),
    c.DistanceTemperature(math.log(2.5), 0.0, 4.0, 1.0),
]
NAMES = [f"{k.name}-{i}" for i, k in enumerate(CALIBRATORS)]


# --- applying ----------------------------------------------------------------------------------------------


def test_pooled_temperature_by_hand():
    # T = 2: square roots of (.64, .36) are (.8, .6), divided by their sum 1.4
    got = c.PooledTemperature(2.0).apply(torch.tensor([[0.64], [0.36]]), torch.zeros(1))
    np.testing.assert_allclose(got[:, 0], [0.8 / 1.4, 0.6 / 1.4], atol=1e-6)


def test_temperature_at_the_middle_distance_is_the_geometric_mean():
    # ln T(d0) = (a + b) / 2: sqrt(4 * 1) = 2
    curve = c.DistanceTemperature(math.log(4), 0.0, 4.0, 1.0)
    assert curve.temperature_at(torch.tensor(4.0)).item() == pytest.approx(2, abs=1e-6)


def test_far_away_the_temperature_is_the_outer_one():
    curve = c.DistanceTemperature(math.log(4), math.log(1.5), 4.0, 0.5)
    assert curve.temperature_at(torch.tensor(50.0)).item() == pytest.approx(1.5, abs=1e-5)


def test_distance_temperature_by_hand():
    # one voxel inside (d = 0, T = 2 as the change is at 100 mm), one far (d = 200, T = 1)
    curve = c.DistanceTemperature(math.log(2), 0.0, 100.0, 1.0)
    got = curve.apply(torch.tensor([[0.64, 0.64], [0.36, 0.36]]), torch.tensor([0.0, 200.0]))
    np.testing.assert_allclose(got, [[0.8 / 1.4, 0.64], [0.6 / 1.4, 0.36]], atol=1e-6)


def test_an_empty_prediction_is_scaled_as_inside():
    curve = c.DistanceTemperature(math.log(3), 0.0, 4.0, 1.0)
    infinite = torch.full((2, 2), math.inf)
    np.testing.assert_allclose(curve.temperature_at(infinite), np.full((2, 2), 3.0), rtol=1e-6)


def test_a_sigmoid_channel_is_scaled_on_its_log_odds():
    # odds .8/.2 = 4; T = 2: odds 2, p = 2/3
    got = c.PooledTemperature(2.0).apply(torch.tensor([[0.8]]), torch.zeros(1), head="sigmoid")
    assert got.item() == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=NAMES)
@given(p=probs(dtype=torch.float32), mm=st.floats(0, 20))
def test_every_calibrator_keeps_the_order_of_the_classes(calibrator, p, mm):
    p = p[0]
    got = calibrator.apply(p, torch.full(p.shape[1:], mm))
    for a in range(len(p)):
        for b in range(len(p)):
            # where one class is really ahead it stays ahead; far below 1e-12 both are the same
            ahead = (p[a] > p[b]) & (p[a] > 1e-6)
            assert (got[a][ahead] >= got[b][ahead]).all()


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=NAMES)
@given(p=probs(dtype=torch.float32))
def test_every_calibrator_gives_probabilities(calibrator, p):
    got = calibrator.apply(p[0], torch.zeros(p.shape[2:]))
    assert got.dtype == torch.float32
    assert (got >= 0).all()
    np.testing.assert_allclose(got.sum(0), np.ones(got.shape[1:]), atol=1e-5)


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=NAMES)
@given(p=sigmoid_probs(leading=()))
def test_every_calibrator_keeps_a_half_of_a_sigmoid_channel_where_it_is(calibrator, p):
    got = calibrator.apply(p, torch.zeros(p.shape[1:]), head="sigmoid")
    assert ((got > 0.5) == (p > 0.5)).all()
    np.testing.assert_allclose(got[p == 0.5], 0.5, atol=1e-6)


def test_temperature_one_changes_nothing():
    p = torch.softmax(torch.randn(3, 50, generator=torch.Generator().manual_seed(0)), 0)
    torch.testing.assert_close(c.PooledTemperature(1.0).apply(p, torch.zeros(50)), p, rtol=0, atol=1e-6)


def test_identity_returns_the_very_same_tensor():
    p = torch.rand(2, 3)
    assert c.Identity().apply(p, torch.zeros(3)) is p


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=NAMES)
def test_a_calibrator_comes_back_from_json(calibrator):
    assert c.calibrator_from_json(calibrator.to_json()) == calibrator


@pytest.mark.parametrize(
    "document",
    [{"name": "isotonic"}, {}, {"name": "pooled_temperature"}, {"name": "identity", "temperature": 2}],
    ids=["unknown", "no name", "number missing", "number too many"],
)
def test_a_calibrator_of_another_form_is_refused(document):
    known = "identity, pooled_temperature, distance_temperature"
    with pytest.raises(ModelError, match=f"must be one of {known} with its numbers, got"):
        c.calibrator_from_json(document)


# --- fitting -----------------------------------------------------------------------------------------------


def test_the_pooled_temperature_is_found_again():
    # 20 000 voxels: the standard error of ln T is below 1 %, five of them are 5 %
    fitted = c.fit_pooled_temperature(cohort(constant(1.9)))
    assert fitted.temperature == pytest.approx(1.9, rel=0.05)


def test_an_under_confident_model_is_sharpened():
    assert c.fit_pooled_temperature(cohort(constant(0.6))).temperature == pytest.approx(0.6, rel=0.05)


def test_the_distance_temperature_is_found_again():
    truth = c.DistanceTemperature(math.log(2.5), math.log(1.2), 4.0, 0.8)
    fitted = c.fit_distance_temperature(
        cohort(lambda d: truth.temperature_at(torch.from_numpy(d)).numpy(), n=8000)
    )
    where = torch.tensor([0.0, 2.0, 4.0, 6.0, 10.0])
    # each stretch holds a few thousand voxels: 3 to 5 % of noise in T
    np.testing.assert_allclose(fitted.temperature_at(where), truth.temperature_at(where), rtol=0.1)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperatures_stay_ordered_and_never_sharpen(true_temperature):
    fitted = c.fit_distance_temperature(cohort(constant(true_temperature), n=500))
    assert 1 <= math.exp(fitted.b) <= math.exp(fitted.a)


def test_a_temperature_that_should_rise_outwards_is_held_flat():
    fitted = c.fit_distance_temperature(cohort(lambda d: np.where(d < 4, 1.0, 3.0), n=500))
    assert fitted.a >= fitted.b


@pytest.mark.parametrize(
    "fit", [c.fit_pooled_temperature, c.fit_distance_temperature], ids=lambda f: f.__name__
)
def test_fewer_than_five_subjects_give_the_identity(fit):
    assert fit(cohort(constant(2.0), subjects=4, n=50)) == c.Identity()


@pytest.mark.parametrize(
    "fit", [c.fit_pooled_temperature, c.fit_distance_temperature], ids=lambda f: f.__name__
)
def test_two_scans_of_one_person_are_one_subject(fit):
    scans = [true_scan("1", temperature=constant(2.0), n=50, seed=i) for i in range(8)]
    assert fit(scans) == c.Identity()


@pytest.mark.parametrize(
    "fit", [c.fit_pooled_temperature, c.fit_distance_temperature], ids=lambda f: f.__name__
)
def test_every_subject_counts_alike_whatever_the_size_of_its_scans(fit):
    small = cohort(constant(2.0), n=400)
    # the first subject's scan, ten times over, must not weigh ten times as much
    repeated = c.CalibrationVoxels(
        *(
            np.concatenate([getattr(small[0], name)] * 10)
            for name in ("logits", "labels", "distance", "weight")
        ),
        subject=small[0].subject,
    )
    once, often = fit(small).to_json(), fit([repeated, *small[1:]]).to_json()
    assert all(often[k] == pytest.approx(once[k], rel=1e-3, abs=1e-3) for k in once if k != "name")


def test_scans_with_an_empty_prediction_take_no_part_in_the_distance_fit():
    scans = cohort(constant(2.0), subjects=5, n=200)
    empty = c.CalibrationVoxels(
        scans[0].logits, scans[0].labels, np.full(200, np.inf, np.float32), scans[0].weight, "empty"
    )
    assert c.fit_distance_temperature([*scans, empty]) == c.fit_distance_temperature(scans)


def captured_objective(monkeypatch, scans):
    seen = {}
    real = optimize.minimize

    def spy(fun, **options):
        seen["fun"] = fun
        return real(fun, **options)

    monkeypatch.setattr(optimize, "minimize", spy)
    c.fit_distance_temperature(scans)
    return seen["fun"]


def sigmoid_scan(subject):
    rng = np.random.default_rng(int(subject))
    logits = rng.normal(0, 3, (60, 2)).astype(np.float32)
    labels = (rng.random((60, 2)) < 0.5).astype(np.int64)
    return c.CalibrationVoxels(logits, labels, rng.uniform(0, 9, 60).astype(np.float32), np.ones(60), subject)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("theta", [(0.1, 0.7, 3.0, 0.9), (0.3, 0.01, 6.0, 3.0)])
def test_the_gradient_of_the_fit_agrees_with_finite_differences(monkeypatch, head, theta):
    scans = cohort(constant(2.0), n=60) if head == "softmax" else [sigmoid_scan(str(i)) for i in range(5)]
    objective, theta, step = captured_objective(monkeypatch, scans), np.array(theta), 1e-6
    _, gradient = objective(theta)
    for i in range(4):
        ahead, behind = theta.copy(), theta.copy()
        ahead[i] += step
        behind[i] -= step
        slope = (objective(ahead)[0] - objective(behind)[0]) / (2 * step)
        # central differences: error of order step^2, rounding 1e-16 / step
        assert gradient[i] == pytest.approx(slope, abs=1e-7)


def test_the_fitted_loss_is_the_mean_of_the_subjects_likelihoods(monkeypatch):
    scans = cohort(constant(2.0), n=40)
    objective = captured_objective(monkeypatch, scans)
    curve = c.DistanceTemperature(0.2 + 0.5, 0.2, 3.0, 1.0)
    means = []
    for scan in scans:
        p = curve.apply(torch.from_numpy(scan.logits).exp().T, torch.from_numpy(scan.distance))
        means.append(-p.log()[scan.labels, range(40)].mean().item())
    # float32 probabilities against float64 logits
    assert objective(np.array([0.2, 0.5, 3.0, 1.0]))[0] == pytest.approx(np.mean(means), abs=1e-5)


# --- drawing -----------------------------------------------------------------------------------------------


def drawn(seed=0, *, head="softmax", valid=None, side=30):
    generator = torch.Generator().manual_seed(0)
    shape = (side, side, side)
    p = torch.rand((2, *shape), generator=generator)
    p = p / p.sum(0) if head == "softmax" else p
    labels = (torch.rand(shape if head == "softmax" else (2, *shape), generator=generator) < 0.5).long()
    distance = torch.rand(shape, generator=generator) * 16
    return distance, c.draw_voxels(p, labels, distance, subject="s", seed=seed, head=head, valid=valid)


def test_every_voxel_within_eight_millimetres_is_drawn_once():
    distance, got = drawn()
    assert (got.distance <= 8).sum() == int((distance <= 8).sum())
    assert (got.weight[got.distance <= 8] == 1).all()


def test_the_weights_stand_for_all_voxels():
    _, got = drawn()
    # 13 500 far voxels, each kept with .3 and weight 1/.3: sd = sqrt(13500 * .7 / .3) = 177; five are 890
    assert got.weight.sum() == pytest.approx(27_000, abs=890)


def test_the_same_seed_draws_the_same_voxels():
    assert np.array_equal(drawn(3)[1].logits, drawn(3)[1].logits)
    assert len(drawn(3)[1].logits) != len(drawn(4)[1].logits)


def test_padding_is_not_drawn():
    valid = torch.zeros(30, 30, 30, dtype=torch.bool)
    valid[:15] = True
    distance, got = drawn(valid=valid)
    assert (got.distance <= 8).sum() == int((distance[:15] <= 8).sum())


def test_a_softmax_draw_keeps_logarithms_of_probabilities():
    _, got = drawn()
    np.testing.assert_allclose(np.exp(got.logits).sum(1), 1, atol=1e-5)


def test_a_sigmoid_draw_keeps_log_odds_and_one_label_per_channel():
    _, got = drawn(head="sigmoid")
    assert got.labels.shape == got.logits.shape
    assert got.logits.min() < 0 < got.logits.max()


def test_volumes_of_different_size_are_refused():
    with pytest.raises(ShapeError, match="must cover the same voxels"):
        c.draw_voxels(
            torch.full((2, 3, 3, 3), 0.5), torch.zeros(3, 3, 3, dtype=torch.long), torch.zeros(3, 3, 4),
            subject="s", seed=0,
        )  # fmt: skip


def test_a_fit_from_a_draw_agrees_with_a_fit_from_all_voxels(monkeypatch):
    def scan(i):
        full = true_scan(str(i), temperature=constant(2.0), n=3000, classes=2, seed=9)
        p = torch.from_numpy(full.logits).exp().T
        return p / p.sum(0), torch.from_numpy(full.labels), torch.from_numpy(full.distance) * 2

    def fit(share):
        monkeypatch.setattr("segtrust.calibrators.voxels._FAR_SHARE", share)
        voxels = [c.draw_voxels(*scan(i), subject=str(i), seed=i) for i in range(5)]
        return c.fit_pooled_temperature(voxels).temperature

    # 15 000 voxels, 70 % of two thirds dropped: some 2 % noise in T
    assert fit(0.3) == pytest.approx(fit(1.0), rel=0.08)


def test_a_thinned_draw_keeps_weights_and_temperature():
    scans = [true_scan(subject, temperature=lambda d: 2 + 0 * d) for subject in "12345"]
    few = thinned(scans, 10_000)
    # each voxel stays with a chance of one half: 2000 of 4000, standard deviation 32; it counts twice then
    assert [len(scan.weight) for scan in few] == pytest.approx([2000] * 5, abs=4 * 32)
    assert all((scan.weight == 2).all() for scan in few)
    assert thinned(scans, 20_000) == scans
    full, part = (c.fit_pooled_temperature(drawn).temperature for drawn in (scans, few))
    assert full == pytest.approx(2, rel=0.05)
    assert part == pytest.approx(full, rel=0.05)
