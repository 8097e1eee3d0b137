"""The fit of the distance temperature: it gets back what it was made from, however little is near."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration_cohorts import cohort, constant, small_structure, true_scan
from segtrust import calibrators as c
from segtrust.calibrators.distance_fit import DistanceObjective
from segtrust.calibrators.voxels import calibrated_probs, stack_voxels

SHARES = [0.2, 1e-2, 2e-4, 1e-5, 1e-6]
"""Of the volume, within 8 mm of the structure; the last is 1 mL in a CT of a cubic metre."""


def recovered(share, temperature, *, near=2000, seed=0):
    """T at 0 mm as fitted, and the standard error of its logarithm by the information of voxels that near."""
    made = [
        small_structure(str(i), share=share, temperature=temperature, near=near, seed=seed) for i in range(5)
    ]
    fitted = c.fit_distance_temperature([scan for scan, _ in made])
    information = sum(float(about[scan.distance < 3].sum()) for scan, about in made)
    at_zero = 1.0 if fitted == c.Identity() else fitted.temperature_at(torch.tensor(0.0)).item()
    return at_zero, 1 / math.sqrt(information)


@pytest.mark.parametrize("share", [0.2, 2e-4, 1e-6])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_of_a_structure_is_found_again(share, temperature):
    got, error = recovered(share, temperature)
    assert abs(math.log(got / temperature)) < 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.5, 3.0, 5.0])
def test_the_temperature_of_a_structure_is_found_again_over_the_whole_grid(share, temperature):
    errors = []
    for seed in (1, 2):
        got, error = recovered(share, temperature, near=3000, seed=seed)
        errors.append(math.log(got / temperature) / error)
    # 50 draws in all: four standard errors are passed once in 300 grids
    assert max(np.abs(errors)) < 4


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_is_to_be_mended_a_fit_gains_no_more_than_chance(share, seed):
    # with T = 1 everywhere no place of a change can be found, and the fit takes the one that chance favours:
    # of the likelihood it gains half a chi-squared of its four parameters, above 25 once in 20,000 draws
    made = [small_structure(str(i), share=share, temperature=1.0, near=3000, seed=seed) for i in range(5)]
    fitted = c.fit_distance_temperature([scan for scan, _ in made])
    if fitted == c.Identity():
        return
    gained = sum(
        float((about * fitted.temperature_at(torch.from_numpy(scan.distance)).log().numpy() ** 2).sum())
        for scan, about in made
    )
    assert gained < 25


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_share_of_the_volume_that_is_near_does_not_matter(temperature):
    found = [recovered(share, temperature, near=1000)[0] for share in SHARES[::2]]
    _, error = recovered(SHARES[0], temperature, near=1000)
    # the same near voxels each time: what differs is far, and moves T by less than half a standard error
    assert max(found) / min(found) < 1 + error / 2


@pytest.mark.slow
@pytest.mark.parametrize("d0", [1.0, 4.0, 7.0])
@pytest.mark.parametrize("s", [0.3, 1.5])
@pytest.mark.parametrize("inside", [0.6, 2.5])
def test_the_place_of_the_change_is_found_again(d0, s, inside):
    truth = c.DistanceTemperature(math.log(inside), 0.0, d0, s)
    scans = cohort(lambda d: truth.temperature_at(torch.from_numpy(d)).numpy(), n=8000)
    fitted = c.fit_distance_temperature(scans)
    where = torch.tensor([0.0, 2.0, 4.0, 6.0, 11.0])
    # each stretch of 2 mm holds 7000 voxels, and one voxel tells ln T within about 1.2: 1.5 % of noise,
    # five of them, and as much again where T changes fast
    np.testing.assert_allclose(fitted.temperature_at(where), truth.temperature_at(where), rtol=0.15)


@settings(max_examples=10, deadline=None)
@given(
    inside=st.floats(0.4, 6), outside=st.floats(0.4, 6), n=st.integers(20, 300), seed=st.integers(0, 2**16)
)
def test_what_is_fitted_makes_its_own_voxels_likelier_near_and_in_all(inside, outside, n, seed):
    scans = cohort(lambda d: np.where(d < 4, inside, outside), n=n, seed=seed)
    fitted = c.fit_distance_temperature(scans)
    if fitted == c.Identity():
        return
    for reach in (8.0, 99.0):
        before, after = (mean_nll(k, scans, reach) for k in (c.Identity(), fitted))
        assert after < before + 1e-6  # distances and temperatures are float32 when they are applied
    assert fitted.b >= 0


def mean_nll(calibrator, scans, reach):
    each = []
    for scan in scans:
        q = calibrated_probs(calibrator, scan).numpy()
        loss = -np.log(q[scan.labels, np.arange(len(scan.labels))])
        each.append(loss[scan.distance <= reach].mean())
    return np.mean(each)


def test_far_away_nothing_is_sharpened():
    fitted = c.fit_distance_temperature(cohort(constant(0.5), n=1500))
    assert fitted.a < 0
    assert fitted.b >= 0


def all_right(subject, margin=3.0):
    z = np.tile([margin, 0.0], (400, 1))
    logits = (z - np.log(np.exp(z).sum(1, keepdims=True))).astype(np.float32)
    distance = np.linspace(0, 12, 400, dtype=np.float32)
    return c.CalibrationVoxels(logits, np.zeros(400, np.int64), distance, np.ones(400), subject)


@pytest.mark.parametrize(
    "fit", [c.fit_distance_temperature, c.fit_pooled_temperature, c.fit_top_class_temperature]
)
def test_voxels_that_are_all_right_prove_no_certainty(fit):
    assert fit([all_right(str(i)) for i in range(5)]) == c.Identity()


def test_certain_and_right_voxels_leave_nothing_to_fit():
    assert c.fit_distance_temperature([all_right(str(i), margin=80.0) for i in range(5)]) == c.Identity()


def test_voxels_of_a_single_class_leave_nothing_to_fit():
    one = [
        c.CalibrationVoxels(np.zeros((9, 1), np.float32), np.zeros(9, np.int64), np.zeros(9), np.ones(9), s)
        for s in "abcde"
    ]
    assert c.fit_distance_temperature(one) == c.Identity()


def test_subjects_without_a_voxel_near_the_prediction_are_fitted_by_what_is_far():
    scans = [replace(scan, distance=scan.distance + 20) for scan in cohort(constant(2.5), n=800)]
    fitted = c.fit_distance_temperature(scans)
    # 4000 voxels: 2 % of noise in T
    assert fitted.temperature_at(torch.tensor(26.0)).item() == pytest.approx(2.5, rel=0.08)


def test_probabilities_of_exactly_zero_do_not_end_the_fit():
    scans = cohort(constant(2.0), n=400)
    impossible = scans[0].logits.copy()
    impossible[0] = (0.0, -np.inf, -np.inf)
    scans[0] = replace(scans[0], logits=impossible)
    assert math.isfinite(c.fit_distance_temperature(scans).a)


def sigmoid_scan(subject):
    rng = np.random.default_rng(int(subject))
    logits = rng.normal(0, 3, (60, 2)).astype(np.float32)
    labels = (rng.random((60, 2)) < 0.5).astype(np.int64)
    return c.CalibrationVoxels(logits, labels, rng.uniform(0, 9, 60).astype(np.float32), np.ones(60), subject)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("theta", [(0.8, 0.1, 3.0, 0.9), (0.3, 0.3, 6.0, 3.0), (-0.7, 0.2, 2.0, 0.5)])
def test_the_gradient_of_the_fit_agrees_with_finite_differences(head, theta):
    scans = cohort(constant(2.0), n=60) if head == "softmax" else [sigmoid_scan(str(i)) for i in range(5)]
    objective, theta, step = DistanceObjective(stack_voxels(scans)), np.array(theta), 1e-6
    _, gradient = objective(theta)
    for i in range(4):
        ahead, behind = theta.copy(), theta.copy()
        ahead[i] += step
        behind[i] -= step
        slope = (objective(ahead)[0] - objective(behind)[0]) / (2 * step)
        # central differences: error of order step^2, rounding 1e-16 / step
        assert gradient[i] == pytest.approx(slope, abs=1e-7)


def test_the_objective_is_the_change_of_the_mean_of_the_subjects_likelihoods():
    scans = cohort(constant(2.0), n=40)
    curve = c.DistanceTemperature(0.7, 0.2, 3.0, 1.0)
    expected = mean_nll(curve, scans, 99) - mean_nll(c.Identity(), scans, 99)
    got, _ = DistanceObjective(stack_voxels(scans))(np.array([0.7, 0.2, 3.0, 1.0]))
    # temperatures are float32 when they are applied
    assert got == pytest.approx(expected, abs=1e-6)


def test_voxels_that_no_temperature_improves_are_left_as_they_are():
    # half of the labels are right at odds of one to one: T = 1 is the optimum, to the last bit
    half = [
        c.CalibrationVoxels(
            np.full((40, 2), -math.log(2), np.float32),
            np.arange(40) % 2,
            np.linspace(0, 9, 40, dtype=np.float32),
            np.ones(40),
            s,
        )
        for s in "abcde"
    ]
    for fit in c.CANDIDATES.values():
        assert fit(half) == c.Identity()


def test_two_scans_of_a_subject_share_its_weight_near_the_structure():
    scans = cohort(constant(2.0), n=300)
    halves = [
        scans[0].take(np.arange(300) < 150),
        scans[0].take(np.arange(300) >= 150),
        *scans[1:],
    ]
    whole, split = (c.fit_distance_temperature(s).to_json() for s in (scans, halves))
    assert all(split[k] == pytest.approx(whole[k], rel=1e-4, abs=1e-4) for k in "ab")


def test_five_subjects_of_one_voxel_do_not_end_the_fit():
    tiny = [true_scan(str(i), temperature=constant(2.0), n=1) for i in range(5)]
    assert c.fit_distance_temperature(tiny).name in ("identity", "distance_temperature")
