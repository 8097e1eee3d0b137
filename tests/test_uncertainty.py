"""Voxel maps from probabilities and samples."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given

from segtrust import uncertainty as u
from segtrust.errors import ProbabilityError, ShapeError
from strategies import probs, sample_stacks, sigmoid_probs

HEADS = ["softmax", "sigmoid"]
# float64 inputs: sums of a few terms of size one
TIGHT = {"rtol": 0, "atol": 1e-12}

ON_PROBS = [u.entropy, u.probability_margin, u.variation_ratio]
ON_SAMPLES = [u.expected_entropy, u.mutual_information, u.variance]


def bernoulli_entropy(p):
    return scipy.stats.entropy(np.stack([p, 1 - p]), axis=0)


# --- by hand -----------------------------------------------------------------------------------------------


def test_entropy_by_hand():
    # -(1/2 ln 1/2 + 2 * 1/4 ln 1/4) = (1/2) ln 2 + (1/2) 2 ln 2 = 1.5 ln 2
    assert u.entropy(torch.tensor([[0.5, 0.25, 0.25]])).item() == pytest.approx(1.5 * math.log(2), abs=1e-6)


def test_entropy_of_certainty_is_zero():
    assert u.entropy(torch.tensor([[1.0, 0.0, 0.0]])).item() == 0


def test_expected_entropy_by_hand():
    # one sample is certain (0), one is even (ln 2): mean ln 2 / 2
    samples = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    assert u.expected_entropy(samples).item() == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_mutual_information_by_hand():
    # mean (.75, .25): H = -(.75 ln .75 + .25 ln .25) = .5623; minus ln 2 / 2 = .3466 -> .2158
    samples = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    assert u.mutual_information(samples).item() == pytest.approx(0.2158, abs=5e-5)


def test_variance_by_hand():
    # class 0: values 1 and .5, variance .0625; class 1 the same: sum .125
    assert u.variance(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])).item() == 0.125


def test_probability_margin_by_hand():
    # 1 - (.5 - .3) = .8
    assert u.probability_margin(torch.tensor([[0.2, 0.5, 0.3]])).item() == pytest.approx(0.8, abs=1e-6)


def test_variation_ratio_by_hand():
    assert u.variation_ratio(torch.tensor([[0.25, 0.5, 0.25]])).item() == 0.5


def test_vote_disagreement_by_hand():
    # 3 of 5 for the winner: 2/5 did not
    assert u.vote_disagreement(torch.tensor([[1, 3, 1]]), n_samples=5).item() == pytest.approx(0.4, abs=1e-6)


def test_a_sigmoid_head_keeps_its_channels():
    # .5 -> ln 2; .9 -> -(.9 ln .9 + .1 ln .1) = .3251
    got = u.entropy(torch.tensor([[0.5, 0.9]]), head="sigmoid")
    np.testing.assert_allclose(got, [[math.log(2), 0.3251]], atol=5e-5)


def test_the_margin_of_a_sigmoid_channel_by_hand():
    # yes .9, no .1: 1 - .8 = .2
    assert u.probability_margin(torch.tensor([[0.9]]), head="sigmoid").item() == pytest.approx(0.2, abs=1e-6)


def test_the_variation_ratio_of_an_unlikely_sigmoid_channel_by_hand():
    # "no" has .9, so "no" is chosen and wrong with .1
    assert u.variation_ratio(torch.tensor([[0.1]]), head="sigmoid").item() == pytest.approx(0.1, abs=1e-6)


def test_the_least_sure_channel_stands_for_a_sigmoid_head():
    assert u.summarise_channels(torch.tensor([[0.1, 0.7, 0.3]]), head="sigmoid").tolist() == [
        pytest.approx(0.7)
    ]


def test_a_softmax_map_is_its_own_summary():
    per_voxel = torch.tensor([[0.1, 0.2]])
    assert u.summarise_channels(per_voxel) is per_voxel


# --- oracles -----------------------------------------------------------------------------------------------


@given(probs())
def test_entropy_agrees_with_scipy(p):
    np.testing.assert_allclose(u.entropy(p), scipy.stats.entropy(p.numpy(), axis=1), **TIGHT)


@given(sigmoid_probs())
def test_sigmoid_entropy_agrees_with_scipy(p):
    np.testing.assert_allclose(u.entropy(p, head="sigmoid"), bernoulli_entropy(p.numpy()), **TIGHT)


@given(sample_stacks())
def test_mutual_information_is_the_mean_divergence_from_the_mean(samples):
    # BALD written the other way: (1/S) sum_s KL(p_s || mean)
    mean = np.broadcast_to(samples.mean(0).numpy(), samples.shape)
    divergence = scipy.stats.entropy(samples.numpy(), mean, axis=2).mean(0)
    np.testing.assert_allclose(u.mutual_information(samples), divergence, **TIGHT)


@given(sigmoid_probs(leading=("S", "B")))
def test_sigmoid_mutual_information_agrees_with_two_classes(samples):
    got = u.mutual_information(samples, head="sigmoid")
    for channel in range(samples.shape[2]):
        two = torch.stack([1 - samples[:, :, channel], samples[:, :, channel]], dim=2)
        np.testing.assert_allclose(got[:, channel], u.mutual_information(two), **TIGHT)


@given(sample_stacks())
def test_variance_agrees_with_a_slow_loop(samples):
    s, b, c, x = samples.shape
    expected = np.zeros((b, x))
    for i in range(b):
        for j in range(x):
            for k in range(c):
                values = [samples[m, i, k, j].item() for m in range(s)]
                middle = sum(values) / s
                expected[i, j] += sum((v - middle) ** 2 for v in values) / s
    np.testing.assert_allclose(u.variance(samples), expected, **TIGHT)


@given(probs())
def test_margin_and_variation_ratio_agree_with_sorting(p):
    ordered = np.sort(p.numpy(), axis=1)[:, ::-1]
    np.testing.assert_allclose(u.probability_margin(p), 1 - (ordered[:, 0] - ordered[:, 1]), **TIGHT)
    np.testing.assert_allclose(u.variation_ratio(p), 1 - ordered[:, 0], **TIGHT)


@given(sample_stacks())
def test_vote_disagreement_agrees_with_counting(samples):
    votes = torch.nn.functional.one_hot(samples.argmax(2), samples.shape[2]).sum(0).movedim(-1, 1)
    chosen = samples.argmax(2).numpy()
    for (b, x), got in np.ndenumerate(u.vote_disagreement(votes, n_samples=len(samples)).numpy()):
        column = chosen[:, b, x].tolist()
        most = max(column.count(v) for v in set(column))
        assert got == pytest.approx(1 - most / len(column), abs=1e-6)


# --- properties --------------------------------------------------------------------------------------------


@given(sample_stacks())
def test_mutual_information_lies_between_zero_and_its_bounds(samples):
    got = u.mutual_information(samples)
    assert got.min() >= 0
    assert got.max() <= min(math.log(samples.shape[0]), math.log(samples.shape[2])) + 1e-9


@given(sample_stacks(dtype=torch.float32))
def test_mutual_information_is_never_negative_in_single_precision(samples):
    assert u.mutual_information(samples).min() >= 0


@given(sample_stacks())
def test_total_is_within_plus_between(samples):
    total = u.entropy(samples.mean(0))
    np.testing.assert_allclose(u.expected_entropy(samples) + u.mutual_information(samples), total, atol=1e-12)


@given(probs())
def test_normalised_entropy_lies_in_the_unit_interval(p):
    got = u.entropy(p, normalize=True)
    assert got.min() >= 0
    assert got.max() <= 1 + 1e-12


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_an_even_distribution_has_normalised_entropy_one(classes):
    p = torch.full((1, classes), 1 / classes, dtype=torch.float64)
    assert u.entropy(p, normalize=True).item() == pytest.approx(1, abs=1e-12)


def test_a_sigmoid_head_is_normalised_by_ln_2_whatever_its_channels():
    p = torch.full((1, 5), 0.5, dtype=torch.float64)
    np.testing.assert_allclose(u.entropy(p, head="sigmoid", normalize=True), np.ones((1, 5)), atol=1e-12)


@given(sample_stacks())
def test_the_order_of_samples_changes_nothing(samples):
    for measure in ON_SAMPLES:
        np.testing.assert_allclose(measure(samples.flip(0)), measure(samples), **TIGHT)


@given(probs())
def test_the_order_of_classes_changes_nothing(p):
    for measure in ON_PROBS:
        np.testing.assert_allclose(measure(p.flip(1)), measure(p), **TIGHT)


@given(sigmoid_probs())
def test_a_sigmoid_channel_and_its_complement_are_equally_unsure(p):
    for measure in ON_PROBS:
        np.testing.assert_allclose(measure(1 - p, head="sigmoid"), measure(p, head="sigmoid"), **TIGHT)


# --- contract of the family --------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ON_PROBS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("head", "shape"), [("softmax", (2, 4, 5)), ("sigmoid", (2, 3, 4, 5))], ids=HEADS)
def test_shape_and_type_of_maps_from_probabilities(measure, head, shape):
    p = torch.full((2, 3, 4, 5), 1 / 3)
    got = measure(p, head=head)
    assert (tuple(got.shape), got.dtype) == (shape, torch.float32)


@pytest.mark.parametrize("measure", ON_SAMPLES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("head", "shape"), [("softmax", (2, 4)), ("sigmoid", (2, 3, 4))], ids=HEADS)
def test_shape_and_type_of_maps_from_samples(measure, head, shape):
    samples = torch.full((5, 2, 3, 4), 1 / 3)
    got = measure(samples, head=head)
    assert (tuple(got.shape), got.dtype) == (shape, torch.float32)


@pytest.mark.parametrize("measure", ON_PROBS, ids=lambda f: f.__name__)
def test_logits_are_refused(measure):
    with pytest.raises(ProbabilityError, match="Were logits passed"):
        measure(torch.tensor([[4.0, -4.0]]))


@pytest.mark.parametrize("measure", ON_SAMPLES, ids=lambda f: f.__name__)
def test_a_missing_sample_axis_is_refused(measure):
    with pytest.raises(ShapeError, match="`samples` must be"):
        measure(torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("head", HEADS)
@given(stack=sample_stacks())
def test_half_precision_is_computed_in_single(head, half, stack):
    # what is left of half precision is the rounding of the samples themselves: in double precision the
    # rounded samples give the same within a few units of float32, 1.2e-7 each
    rounded = stack.to(half)
    p = rounded.double()

    def nats(q):
        h = torch.special.entr(q)
        return h.sum(dim=1) if head == "softmax" else h + torch.special.entr(1 - q)

    within = torch.stack([nats(sample) for sample in p]).mean(dim=0)
    spread = p.var(dim=0, correction=0)
    exact = {
        u.expected_entropy: within,
        u.mutual_information: (nats(p.mean(dim=0)) - within).clamp_min(0),
        u.variance: spread.sum(dim=1) if head == "softmax" else spread,
    }
    for measure, wanted in exact.items():
        got = measure(rounded, head=head)
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-6)


def test_samples_that_hardly_differ_share_no_information_in_half_precision():
    # in half precision the difference of two entropies of size one was 1e-3
    p = torch.tensor([[0.501, 0.499], [0.499, 0.501]]).half()[:, None, :, None]
    exact = u.mutual_information(p.double()).item()
    assert u.mutual_information(p).item() == pytest.approx(exact, abs=2e-7)


def test_the_margin_of_a_sigmoid_head_is_measured_from_its_threshold():
    # .3 is the threshold: nothing would have to change; .65 is halfway to 1, .15 halfway to 0
    got = u.probability_margin(torch.tensor([[0.3, 0.65, 0.15, 0.0, 1.0]]).T, head="sigmoid", threshold=0.3)
    np.testing.assert_allclose(got[:, 0], [1, 0.5, 0.5, 0, 0], atol=1e-6)


def test_every_structure_has_a_threshold_of_its_own():
    p = torch.tensor([[0.3], [0.75]])[None]
    got = u.probability_margin(p, head="sigmoid", threshold=(0.6, 0.5))
    np.testing.assert_allclose(got[0, :, 0], [0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("off", [-5e-4, 1 + 5e-4], ids=["below 0", "above 1"])
def test_rounding_outside_the_unit_interval_gives_no_infinity(head, off):
    # resampled or half-precision probabilities may miss [0, 1] by the tolerance of the check
    p = torch.tensor([[off, 1 - off]])
    assert torch.isfinite(u.entropy(p, head=head)).all()
    assert torch.isfinite(u.mutual_information(p[None], head=head)).all()
