"""Dice of every two samples, from bits: equal to comparing the masks themselves."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segtrust.metrics.overlap import dice_per_structure
from segtrust.pairwise import SampleBits


def bits_of(samples, n_structures):
    bits = SampleBits(n_structures)
    for labels in samples:
        bits.add(labels)
    return bits


def slow_dice(samples, n_structures):
    """Every pair by itself; what neither of a pair has is NaN there and left out."""
    pairs = [dice_per_structure(a, b, n_structures) for a, b in itertools.combinations(samples, 2)]
    columns = np.array(pairs).reshape(-1, n_structures).T
    return [np.mean(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in columns]


@st.composite
def label_stacks(draw):
    """One to six label maps of one grid, values 0..3; whole maps and structures may be empty."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    arrays = hnp.arrays(draw(st.sampled_from([np.uint8, np.int32])), shape, elements=st.integers(0, 3))
    return draw(st.lists(arrays, min_size=1, max_size=6))


@given(label_stacks())
def test_dice_agrees_with_comparing_all_pairs_of_masks(samples):
    # the same integers, divided and averaged in float64
    np.testing.assert_allclose(bits_of(samples, 3).dice(), slow_dice(samples, 3), rtol=1e-12)


@given(label_stacks(), st.randoms())
def test_the_order_of_samples_does_not_matter(samples, random):
    first = bits_of(samples, 3).dice()
    random.shuffle(samples)
    np.testing.assert_allclose(bits_of(samples, 3).dice(), first, rtol=1e-12)


def test_one_failing_member_of_five_shows_by_hand():
    # four members agree on the same 200 voxels, the fifth marks 25 of them: 6 pairs of Dice 1 and 4 of
    # 2 * 25 / 225 = .2222, mean (6 + 4 * .2222) / 10 = .6889, where the pooled Dice is
    # (6 * 400 + 4 * 50) / (6 * 400 + 4 * 225) = .7879
    whole, part = np.ones(200, np.uint8), np.arange(200) < 25
    got = bits_of([whole] * 4 + [part.astype(np.uint8)], 1).dice()
    assert got.tolist() == pytest.approx([(6 + 4 * 50 / 225) / 10])
    assert got[0] == pytest.approx(0.6889, abs=5e-5)


def test_what_one_of_five_has_agrees_with_nobody():
    nothing, something = np.zeros((3, 3), np.uint8), np.ones((3, 3), np.uint8)
    assert bits_of([nothing] * 4 + [something], 1).dice().tolist() == [0.0]


def test_one_sample_has_no_pairs():
    assert np.isnan(bits_of([np.ones((2, 2), np.uint8)], 1).dice()).all()


def test_what_nobody_has_is_not_defined():
    assert np.isnan(bits_of([np.zeros((2, 2), np.uint8)] * 3, 2).dice()).all()


def test_more_samples_than_bits_in_a_word():
    rng = np.random.default_rng(0)
    samples = list(rng.integers(0, 3, (70, 5, 6, 7)).astype(np.uint8))
    np.testing.assert_allclose(bits_of(samples, 2).dice(), slow_dice(samples, 2), rtol=1e-12)


def test_counts_are_exact_above_the_voxels_that_are_unpacked_at_a_time():
    # 300^3 = 27 million voxels, more than float32 counts: the sizes differ by one voxel
    whole = np.ones((300, 300, 300), np.uint8)
    less = whole.copy()
    less[0, 0, 0] = 0
    n = whole.size
    assert bits_of([whole, less], 1).dice().tolist() == [2 * (n - 1) / (2 * n - 1)]


def test_bits_take_an_eighth_of_a_byte_per_voxel_of_the_box():
    labels = np.zeros((50, 60, 70), np.uint8)
    labels[10:18, 20:28, 30:38] = 1
    bits = bits_of([labels] * 20, 1)
    assert bits.nbytes == 20 * 8**3 // 8


def test_labels_may_be_overwritten_after_they_were_added():
    scratch = np.ones((2, 2), np.uint8)
    bits = SampleBits(1).add(scratch)
    scratch[:] = 0
    scratch[0] = 1
    assert bits.add(scratch).dice().tolist() == pytest.approx([2 * 2 / 6])


@given(hnp.arrays(np.bool_, (3, 2, 4, 3)))
def test_sets_that_overlap_count_like_the_masks_of_each_structure_alone(samples):
    both = SampleBits(2)
    alone = [SampleBits(1), SampleBits(1)]
    for sets in samples:
        both.add_sets(sets)
        for bits, held in zip(alone, sets, strict=True):
            bits.add(held.astype(np.uint8))
    np.testing.assert_array_equal(both.dice(), np.concatenate([bits.dice() for bits in alone]))
