"""Masks of a stochastic model: which are shown, where they agree, through the predictor."""

import numpy as np
import pytest
import torch

from phantoms import BALL, TINY_NETWORK, FixedSource, make_blob, spec_of, version_of
from segtrust.errors import SettingError
from segtrust.inference import Predictor, SampleMasks, StochasticSource
from segtrust.inference.windows import head_probabilities
from segtrust.models import Head, open_version
from segtrust.stochastic import n_channels

SPEC = spec_of(
    name="drawn",
    labels=BALL,
    head=Head(rank=2),
    network={**TINY_NETWORK, "out_channels": n_channels(2, 2)},
    members=1,
)


def bars(*lengths):
    drawn = np.zeros((len(lengths), 10, 1, 1), np.uint8)
    for mask, length in zip(drawn, lengths, strict=True):
        mask[:length] = 1
    return drawn


def test_masks_go_from_small_to_large_at_the_percentiles():
    # eleven draws of sizes 0..10 in disorder: percentile p of 11 values is the value p / 10
    found = SampleMasks.of(bars(5, 0, 10, 3, 8, 1, 2, 9, 4, 7, 6))
    assert [int(mask.sum()) for mask in found.masks] == [1, 3, 5, 7, 9]
    assert found.voxels == tuple(range(11))


def test_levels_are_closed_on_the_right_and_zero_is_none():
    # of four draws 4, 3, 2, 1, 0 have the voxel: shares 1, .75, .5, .25, 0
    found = SampleMasks.of(bars(4, 3, 2, 1))
    assert found.share[:5, 0, 0].tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert found.levels()[:5, 0, 0].tolist() == [4, 3, 2, 1, 0]


@pytest.fixture(scope="module")
def drawn_model(make_model):
    return make_model(SPEC)


def test_a_stochastic_model_predicts_with_its_samples(drawn_model):
    scan = make_blob()
    prediction = Predictor(open_version(drawn_model)).predict_scan(scan)
    assert prediction.members == 32
    assert prediction.probs.shape == (2, *scan.shape)
    assert prediction.samples.masks.shape == (5, *scan.shape)
    # share of draws that mark a voxel and votes of the running totals count the same draws
    votes = prediction.member_maps["votes"]
    winners = np.maximum(prediction.samples.share, 1 - prediction.samples.share)
    np.testing.assert_allclose(votes, 1 - winners, atol=1e-6)


def test_a_model_without_a_distribution_has_no_samples(tiny_version):
    assert Predictor(tiny_version).predict_scan(make_blob()).samples is None


def test_two_windows_share_the_noise_of_the_factors():
    # one factor that is 3 everywhere, nothing else: every draw is all foreground or all background, though
    # the scan takes several windows
    def channels(network, image):
        planes = torch.zeros(6, *image.shape[1:])
        planes[2:4] = -30
        planes[5] = 3
        return planes

    source = StochasticSource([torch.nn.Identity], 1, lambda z: head_probabilities(z, Head()), draws=8)
    image = torch.zeros(1, 40, 8, 8)
    drawn = [sample.argmax(0) for sample in source.samples(image, channels)]
    assert all((mask == mask.flatten()[0]).all() for mask in drawn)
    assert {int(mask.flatten()[0]) for mask in drawn} == {0, 1}


def test_pairs_are_mirrored_and_the_same_seed_draws_the_same():
    def channels(network, image):
        return torch.zeros(6, *image.shape[1:])

    source = StochasticSource([torch.nn.Identity], 1, lambda z: z, draws=4)
    first, again = (list(source.samples(torch.zeros(1, 4, 4, 4), channels)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0], -first[1])
    assert not torch.equal(first[0], first[2])


@pytest.mark.parametrize("draws", [0, 3])
def test_an_odd_number_of_draws_is_refused(draws):
    with pytest.raises(SettingError, match=f"`draws` must be even and at least 2, got {draws}"):
        StochasticSource([torch.nn.Identity], 1, lambda z: z, draws=draws)


def test_masks_come_in_the_order_of_the_scan_not_of_the_network():
    # foreground is the upper half of the scan's first axis, stored the other way round
    scan = make_blob(affine=np.diag([-1.0, 1.0, 1.0, 1.0]))
    half = scan.shape[0] // 2

    def right(image):
        probs = torch.zeros(2, *image.shape[1:])
        probs[1, half:] = 1
        probs[0, :half] = 1
        return probs

    predictor = Predictor(version_of(SPEC), source=FixedSource(right, right))
    assert np.array_equal(predictor.predict_scan(scan).samples.masks[0], predictor.predict_scan(scan).mask)
    assert predictor.predict_scan(scan).samples.masks[0, :half].all()
