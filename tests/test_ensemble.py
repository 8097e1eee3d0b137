"""Running totals: equal to the stacked computation, with memory that does not grow."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrust import uncertainty as u
from segtrust._checks import check_probs
from segtrust.ensemble import RunningTotals, unit_map
from segtrust.errors import ProbabilityError, ShapeError
from segtrust.metrics.overlap import dice_per_structure
from segtrust.uncertainty import normalise
from strategies import sample_stacks, sigmoid_probs

# totals are float32; between is a difference of two entropies of size one
SINGLE = {"rtol": 0, "atol": 2e-6}


def totals_of(samples, **options):
    totals = RunningTotals(**options)
    for sample in samples:
        totals.add(sample)
    return totals.finish()


def random_samples(n, classes=3, shape=(6, 5, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn((n, classes, *shape), generator=generator), dim=1)


@given(sample_stacks())
def test_running_totals_equal_the_stacked_computation(stack):
    samples = stack[:, 0]
    got, expected = totals_of(samples), stack[:, :1]
    np.testing.assert_allclose(got.mean, expected.mean(0)[0], **SINGLE)
    np.testing.assert_allclose(got.total, u.entropy(expected.mean(0))[0], **SINGLE)
    np.testing.assert_allclose(got.within, u.expected_entropy(expected)[0], **SINGLE)
    np.testing.assert_allclose(got.between, u.mutual_information(expected)[0], **SINGLE)
    np.testing.assert_allclose(got.variance, u.variance(expected)[0], **SINGLE)


@given(sigmoid_probs(leading=("S",)))
def test_sigmoid_totals_equal_the_stacked_computation(samples):
    stack = samples[:, None]
    got = totals_of(samples, head="sigmoid")
    np.testing.assert_allclose(got.total, u.entropy(stack.mean(0), head="sigmoid")[0], **SINGLE)
    np.testing.assert_allclose(got.within, u.expected_entropy(stack, head="sigmoid")[0], **SINGLE)
    np.testing.assert_allclose(got.between, u.mutual_information(stack, head="sigmoid")[0], **SINGLE)
    np.testing.assert_allclose(got.variance, u.variance(stack, head="sigmoid")[0].amax(0), **SINGLE)


def test_totals_of_two_opposite_samples_by_hand():
    # mean (.5, .5): total ln 2, within 0, so all of it lies between the samples; variance .25 per class
    got = totals_of([torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])])
    assert got.total.item() == pytest.approx(math.log(2), abs=1e-6)
    assert got.within.item() == 0
    assert got.between.item() == pytest.approx(math.log(2), abs=1e-6)
    assert got.variance.item() == 0.5
    assert got.votes.item() == 0.5


@given(sample_stacks(dtype=torch.float32))
def test_between_member_information_is_never_negative(stack):
    assert totals_of(stack[:, 0]).between.min() >= 0


@given(sample_stacks(), st.randoms())
def test_the_order_of_samples_changes_nothing(stack, random):
    samples = list(stack[:, 0])
    first = totals_of(samples)
    random.shuffle(samples)
    second = totals_of(samples)
    np.testing.assert_allclose(first.between, second.between, **SINGLE)
    np.testing.assert_array_equal(first.votes, second.votes)


def test_a_sample_may_be_overwritten_after_it_was_added():
    kept, scratch = random_samples(3), random_samples(3)
    totals = RunningTotals()
    for sample in kept:
        scratch[0].copy_(sample)
        totals.add(scratch[0])
        scratch[0].zero_()
    torch.testing.assert_close(totals.finish().mean, kept.mean(0), **SINGLE)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_memory_does_not_grow_with_the_number_of_samples(head):
    # tracemalloc does not see torch: count the bytes of every tensor that the object holds on to
    def held(totals):
        tensors = [v for v in vars(totals).values() if isinstance(v, torch.Tensor)]
        lists = [t for v in vars(totals).values() if isinstance(v, list) for t in v]
        maps = sum(t.untyped_storage().nbytes() for t in tensors)
        return maps, sum(t.untyped_storage().nbytes() for t in lists)

    totals = RunningTotals(head=head)
    samples = random_samples(20)
    totals.add(samples[0])
    maps, _ = held(totals)
    for sample in samples[1:]:
        totals.add(sample)
    maps_after, lists_after = held(totals)
    assert maps_after == maps
    # one int64 per sample and channel: no maps
    assert lists_after == 20 * 8 * 3


def test_voxels_of_each_structure_are_counted_per_sample():
    samples = random_samples(4)
    got = totals_of(samples).sample_voxels
    labels = samples.argmax(1)
    expected = [[int((sample == value).sum()) for value in (1, 2)] for sample in labels]
    assert got.tolist() == expected


def test_pairwise_dice_by_hand():
    # three voxels; masks A = {0, 1}, B = {1, 2}: Dice = 2 * 1 / (2 + 2) = .5
    a = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    b = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert totals_of([a, b]).pairwise_dice.tolist() == [0.5]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_pairwise_dice_is_the_mean_over_pairs_of_members(n):
    samples = random_samples(n, seed=n)
    labels = samples.argmax(1).numpy()
    pairs = [dice_per_structure(a, b, 2) for a, b in itertools.combinations(labels, 2)]
    np.testing.assert_allclose(totals_of(samples).pairwise_dice, np.mean(pairs, axis=0), rtol=1e-12)


def test_one_member_that_fails_lowers_the_mean_more_than_the_pooled_dice():
    # A and B mark three voxels, C one of them: pairs 1, 2/4, 2/4, mean 2/3;
    # pooled (6 + 2 + 2) / (6 + 4 + 4) = 5/7
    def marks(*voxels):
        return torch.stack([1 - torch.tensor(voxels, dtype=torch.float32), torch.tensor(voxels)])

    got = totals_of([marks(1.0, 1.0, 1.0), marks(1.0, 1.0, 1.0), marks(1.0, 0.0, 0.0)])
    assert got.pairwise_dice.item() == pytest.approx(2 / 3)
    assert got.pooled_pairwise_dice.item() == pytest.approx(5 / 7)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_pooled_pairwise_dice_agrees_with_counting_pairs(n):
    # sum n(n-1) / ((S-1) sum n) is the ratio of summed overlaps to summed sizes over all pairs
    samples = random_samples(n, seed=n)
    labels = samples.argmax(1).numpy()
    pairs = [(i, j) for i in range(n) for j in range(i)]
    for value, got in enumerate(totals_of(samples).pooled_pairwise_dice.tolist(), start=1):
        overlap = sum(2 * np.count_nonzero((labels[i] == value) & (labels[j] == value)) for i, j in pairs)
        size = sum(
            np.count_nonzero(labels[i] == value) + np.count_nonzero(labels[j] == value) for i, j in pairs
        )
        assert got == pytest.approx(overlap / size, abs=1e-12)


def test_pairwise_dice_of_one_sample_is_unknown():
    assert totals_of(random_samples(1)).pairwise_dice.isnan().all()


def test_pairwise_dice_of_an_absent_structure_is_unknown():
    background = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert totals_of([background, background]).pairwise_dice.isnan().all()


@given(sample_stacks())
def test_votes_agree_with_the_formula(stack):
    samples = stack[:, 0].float()
    votes = torch.nn.functional.one_hot(samples.argmax(1), samples.shape[1]).sum(0).movedim(-1, 0)
    np.testing.assert_array_equal(
        totals_of(samples).votes, u.vote_disagreement(votes[None], n_samples=len(samples))[0]
    )


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_a_unit_map_of_even_probabilities_is_one(head):
    # two classes or two channels, each at one half: ln 2 / ln 2
    statistics = totals_of([torch.full((2, 4), 0.5)], head=head)
    np.testing.assert_allclose(unit_map(statistics, "total", head=head), np.ones(4), **SINGLE)


def test_the_unit_map_of_a_sigmoid_head_shows_its_least_sure_channel():
    statistics = totals_of([torch.tensor([[1.0], [0.5]])], head="sigmoid")
    assert unit_map(statistics, "within", head="sigmoid").item() == pytest.approx(1, abs=1e-6)


def test_half_precision_samples_are_summed_in_single_precision():
    got = totals_of(random_samples(5).half())
    assert got.mean.dtype == torch.float32
    assert got.total.dtype == torch.float32


@given(sample_stacks())
def test_samples_of_eight_bits_give_probabilities(stack):
    # a member in bfloat16 sums to one within 2^-8 only; the mean is what later steps take
    got = totals_of(stack[:, 0].to(torch.bfloat16))
    check_probs(got.mean, class_axis=0)
    np.testing.assert_allclose(got.mean, stack[:, 0].mean(0), atol=2**-7)
    assert got.between.min() >= 0


def test_a_voxel_is_counted_for_every_structure_that_holds_it():
    # whole tumour in all three voxels, its core in two, of which one sample sees one
    first = torch.tensor([[0.9, 0.9, 0.9], [0.9, 0.9, 0.1]])
    second = torch.tensor([[0.9, 0.9, 0.9], [0.9, 0.1, 0.1]])
    got = totals_of([first, second], head="sigmoid", priority=(1, 2), structures="nested")
    assert got.sample_voxels.tolist() == [[3, 2], [3, 1]]
    np.testing.assert_allclose(got.pairwise_dice, [1, 2 / 3])
    assert got.votes.tolist() == [0, 0.5, 0]


def test_an_inner_structure_counts_for_the_outer_one_that_was_not_seen():
    p = torch.tensor([[0.1], [0.9]])
    nested = totals_of([p], head="sigmoid", structures="nested")
    apart = totals_of([p], head="sigmoid")
    assert nested.sample_voxels.tolist() == [[1, 1]]
    assert apart.sample_voxels.tolist() == [[0, 1]]


def test_rounding_below_zero_gives_no_infinity():
    sample = torch.tensor([[1.0005], [-0.0005]])
    assert torch.isfinite(totals_of([sample, sample]).within).all()


def test_totals_of_nothing_are_refused():
    with pytest.raises(ShapeError, match="at least one sample must be added first"):
        RunningTotals().finish()


def test_a_sample_of_another_shape_is_refused():
    totals = RunningTotals().add(torch.full((2, 4), 0.5))
    with pytest.raises(ShapeError, match=r"shape \(2, 4\), got \(2, 5\)"):
        totals.add(torch.full((2, 5), 0.5))


def test_logits_are_refused():
    with pytest.raises(ProbabilityError, match="Were logits passed"):
        RunningTotals().add(torch.tensor([[4.0], [-4.0]]))


def test_normalise_divides_by_the_logarithm_of_the_outcomes():
    assert normalise(torch.tensor(math.log(4)), 4).item() == pytest.approx(1, abs=1e-6)
    assert normalise(torch.tensor(math.log(2)), 4, head="sigmoid").item() == pytest.approx(1, abs=1e-6)
