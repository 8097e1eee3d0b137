"""Calibrators: what they do to probabilities, and what a fit finds."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibration_cohorts import cohort, constant, true_scan
from segtrust import calibrators as c
from segtrust.calibrators.voxels import thinned
from segtrust.decisions import LabelRule
from segtrust.errors import ModelError, ProbabilityError, ShapeError
from segtrust.regions import within
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


def edge_probs(thresholds):
    """Around each threshold the nearest float32 numbers, and the ends of the unit interval."""
    one = np.float32(1)
    limits = [np.float32(t) for t in thresholds]
    near = [v for t in limits for v in (np.nextafter(t, 0 * one), t, np.nextafter(t, one))]
    ends = [0, np.nextafter(0 * one, one), 1e-20, 1e-7, np.nextafter(one, 0 * one), 1]
    values = torch.tensor(np.array([*near, *ends], np.float32))
    return torch.cartesian_prod(*[values] * len(thresholds)).view(-1, len(thresholds)).T.contiguous()


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=NAMES)
@pytest.mark.parametrize("thresholds", [(0.3,), (0.5,), (0.7,), (0.3, 0.7)], ids=str)
@pytest.mark.parametrize("mm", [0.0, 4.0, 20.0])
def test_no_calibrator_moves_a_structure_across_its_threshold(calibrator, thresholds, mm):
    p = edge_probs(thresholds)
    rule = LabelRule("sigmoid", tuple(range(1, len(p) + 1)), thresholds)
    got = calibrator.apply(p, torch.full(p.shape[1:], mm), head="sigmoid", threshold=thresholds)
    assert torch.equal(rule.sets(got), rule.sets(p))
    assert torch.equal(rule.labels(got), rule.labels(p))
    assert 0 <= got.min() <= got.max() <= 1


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=NAMES)
@given(p=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8), threshold=st.floats(0.02, 0.98))
def test_masks_and_calibrated_probabilities_never_contradict_each_other(calibrator, p, threshold):
    p = torch.tensor([p])
    got = calibrator.apply(p, torch.zeros(p.shape[1]), head="sigmoid", threshold=threshold)
    rule = LabelRule("sigmoid", (1,), threshold)
    assert torch.equal(rule.labels(got), rule.labels(p))
    limit = np.float32(threshold)
    assert (got.numpy()[0][rule.labels(p).numpy() == 1] > limit).all()
    assert (got.numpy()[0][rule.labels(p).numpy() == 0] <= limit).all()


def test_a_temperature_turns_about_the_threshold_by_hand():
    # odds of the threshold 1/5 are 1/4; p = .8 has 16 times as much, of which T = 2 leaves 4 times: odds 1
    got = c.PooledTemperature(2.0).apply(
        torch.tensor([[0.8, 0.2]]), torch.zeros(2), head="sigmoid", threshold=0.2
    )
    np.testing.assert_allclose(got, [[0.5, 0.2]], atol=1e-6)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("fit", [c.fit_pooled_temperature, c.fit_distance_temperature])
def test_a_fit_to_a_sigmoid_head_is_served_as_it_was_fitted(fit, threshold):
    # the likelihood that the fit lowers is that of the probabilities that are served
    rng = np.random.default_rng(3)
    scans, served = [], []
    for subject in range(5):
        p = torch.from_numpy(rng.uniform(0.02, 0.98, (2, 400)).astype(np.float32))
        truth = torch.from_numpy(rng.random((2, 400)) < 0.5 + 0.5 * (p.numpy() - 0.5)).long()
        distance = torch.from_numpy(rng.uniform(0, 8, 400).astype(np.float32))
        served.append((p, truth, distance))
        scans.append(
            c.draw_voxels(
                p, truth, distance, subject=str(subject), seed=0, head="sigmoid", threshold=threshold
            )
        )
    calibrator = fit(scans)

    def nll(calibrator):
        total = 0.0
        for p, truth, distance in served:
            q = calibrator.apply(p, distance, head="sigmoid", threshold=threshold).double()
            total -= torch.where(truth == 1, q, 1 - q).log().sum(0).mean().item() / len(served)
        return total

    data = c.voxels.stack_voxels(scans)
    beta = np.ones(data.n)
    if isinstance(calibrator, c.DistanceTemperature):
        beta = 1 / calibrator.temperature_at(torch.from_numpy(data.distance)).numpy()
    elif isinstance(calibrator, c.PooledTemperature):
        beta /= calibrator.temperature
    assert nll(calibrator) == pytest.approx(data.nll(beta), rel=1e-5)  # float32 probabilities
    assert nll(calibrator) <= nll(c.Identity())


def test_scans_drawn_with_other_thresholds_are_not_fitted_together():
    one = c.draw_voxels(
        torch.tensor([[0.2, 0.6]]), torch.tensor([[0, 1]]), torch.zeros(2), subject="a", seed=0,
        head="sigmoid", threshold=0.3,
    )  # fmt: skip
    other = c.draw_voxels(
        torch.tensor([[0.2, 0.6]]),
        torch.tensor([[0, 1]]),
        torch.zeros(2),
        subject="b",
        seed=0,
        head="sigmoid",
    )
    with pytest.raises(ShapeError, match="must be drawn with the same thresholds"):
        c.fit_pooled_temperature([one, other], least=2)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("ignore", [-1, 255])
def test_a_voxel_that_is_ignored_changes_nothing(head, ignore):
    rng = np.random.default_rng(0)
    p = torch.softmax(torch.from_numpy(rng.normal(size=(2, 60))), 0).float()
    labels = torch.from_numpy(rng.integers(0, 2, (2, 60) if head == "sigmoid" else 60))
    distance = torch.from_numpy(rng.uniform(0, 30, 60).astype(np.float32))
    kept = torch.from_numpy(rng.random(60) < 0.7)
    blanked = torch.where(kept, labels, ignore)

    def drawn(labels, **options):
        return c.draw_voxels(p, labels, distance, subject="s", seed=1, head=head, **options)

    for got, expected in zip(
        vars(drawn(blanked, ignore=ignore)).values(), vars(drawn(labels, valid=kept)).values(), strict=True
    ):
        assert np.array_equal(got, expected)


@pytest.mark.parametrize(
    ("head", "value"), [("softmax", -1), ("softmax", 2), ("softmax", 255), ("sigmoid", -1), ("sigmoid", 2)]
)
def test_a_label_that_is_no_class_is_refused_and_not_counted_from_the_end(head, value):
    labels = torch.tensor([0, value])
    with pytest.raises(ProbabilityError, match=rf"`labels` must be between 0 and 1, got .*{value}"):
        c.draw_voxels(
            torch.full((2, 2), 0.5), labels.expand(2, 2) if head == "sigmoid" else labels, torch.zeros(2),
            subject="s", seed=0, head=head,
        )  # fmt: skip


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
    near = sum(int(within(scan.distance, 8).sum()) for scan in scans)
    # near and far have 5000 each, drawn by chance: standard deviation below sqrt(5000) = 71, four of them
    assert sum(int(within(scan.distance, 8).sum()) for scan in few) == pytest.approx(5000, abs=284)
    assert sum(len(scan.weight) for scan in few) == pytest.approx(10_000, abs=400)
    for scan in few:
        np.testing.assert_allclose(scan.weight[within(scan.distance, 8)], near / 5000)
        np.testing.assert_allclose(scan.weight[~within(scan.distance, 8)], (20_000 - near) / 5000)
    assert thinned(scans, 20_000) == scans
    full, part = (c.fit_pooled_temperature(drawn).temperature for drawn in (scans, few))
    assert full == pytest.approx(2, rel=0.05)
    assert part == pytest.approx(full, rel=0.05)


def test_thinning_leaves_no_voxel_near_a_small_structure_out():
    # one voxel in a hundred is near: a draw of one tenth, blind to that, would have left 2 of 20
    scan = true_scan("1", temperature=constant(2.0), n=2000)
    distance = np.where(np.arange(2000) < 20, 1.0, 50.0).astype(np.float32)
    (few,) = thinned([dataclasses.replace(scan, distance=distance)], 200)
    assert (few.distance <= 8).sum() == 20
    assert (few.weight[few.distance <= 8] == 1).all()
    # 1980 far ones stand for themselves: each drawn with 180 / 1980, sd of their sum 1980 / sqrt(180) = 148
    assert few.weight.sum() == pytest.approx(2000, abs=4 * 148)
