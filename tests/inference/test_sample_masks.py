"""Masks of a stochastic model: which are shown, where they agree, through the predictor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from phantoms import BALL, TINY_NETWORK, FixedSource, make_blob, spec_of, version_of
from segtrust.errors import SettingError
from segtrust.inference import DrawBound, Predictor, SampleMasks, StochasticSource
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
    # draws of sizes 0..10 in disorder, of which ten mark something: rank int(p / 100 * 9) of 1..10
    found = SampleMasks.of(bars(5, 0, 10, 3, 8, 1, 2, 9, 4, 7, 6))
    assert [int(mask.sum()) for mask in found.masks] == [1, 3, 5, 7, 9]
    assert found.voxels == tuple(range(11))


def test_a_draw_that_marks_nothing_is_counted_but_not_shown():
    # two of three draws are empty, as most are of a slice that most raters left empty
    found = SampleMasks.of(bars(0, 4, 0))
    assert [int(mask.sum()) for mask in found.masks] == [4] * 5
    assert found.voxels == (0, 0, 4)
    assert found.share.max() == np.float32(1 / 3)


def test_where_all_draws_are_empty_an_empty_mask_is_shown():
    assert not SampleMasks.of(bars(0, 0)).masks.any()


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
    # one factor that is 7 everywhere, nearly nothing else: a draw is all foreground or all background, though
    # the scan takes several windows; with seed 0 one of the draws is nearly the mean, where voxels decide
    def channels(network, image):
        planes = torch.zeros(6, *image.shape[1:])
        planes[2:4] = -30
        planes[5] = 30
        return planes

    source = StochasticSource(
        [torch.nn.Identity], 1, lambda z: head_probabilities(z, Head()), draws=8, seed=1
    )
    image = torch.zeros(1, 40, 8, 8)
    drawn = [sample.argmax(0) for sample in source.samples(image, channels)]
    assert all((mask == mask.flatten()[0]).all() for mask in drawn)
    assert {int(mask.flatten()[0]) for mask in drawn} == {0, 1}


def drawn_from(image, **options):
    """Draws of a network that puts out zeros, apart from its voxels' own variance."""

    def channels(network, image):
        return torch.zeros(6, *image.shape[1:])

    source = StochasticSource([torch.nn.Identity], 1, lambda z: z, draws=4, **options)
    return torch.stack(list(source.samples(image, channels)))


def test_two_scans_share_no_noise():
    # the network says the same of both, so that draws differ by their noise alone
    one, other = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    other[0, 0, 0, 0] = 1e-6
    assert torch.equal(drawn_from(one), drawn_from(one.clone()))
    assert not (drawn_from(one) == drawn_from(other)).any()
    correlation = torch.corrcoef(torch.stack([drawn_from(one).flatten(), drawn_from(other).flatten()]))[0, 1]
    assert abs(correlation) < 0.25  # 512 numbers, half of them mirrored: 4 / sqrt(256)


def test_another_seed_draws_other_samples_of_the_same_scan():
    image = torch.ones(1, 4, 4, 4)
    assert not (drawn_from(image) == drawn_from(image, seed=1)).any()


def flooding(size):
    """A network whose one factor marks so many voxels of a row of ten at w > .5: the first, the next, ..."""

    def channels(network, image):
        planes = torch.full((6, *image.shape[1:]), -30.0)
        steps = torch.arange(1.0, size + 1).view(-1, 1, 1)
        planes[0], planes[1] = 0, -5
        planes[1, :size] = -steps  # marked where 7 w exceeds the step
        planes[4], planes[5] = 0, 0
        planes[5, :size] = 30
        return planes

    return channels


def sizes_of(bound, *, draws, scans, size=10):
    source = StochasticSource(
        [torch.nn.Identity], 1, lambda z: head_probabilities(z, Head()), draws=draws, bound=bound
    )
    images = torch.arange(float(scans)).view(-1, 1, 1, 1, 1).expand(-1, 1, 10, 1, 1)
    return [
        int((sample.argmax(0) > 0).sum())
        for image in images
        for sample in source.samples(image, flooding(size))
    ]


def test_no_draw_floods_whatever_the_seed():
    # 40 scans of 32 draws; without the bound many mark more than four voxels: w > 5 / 7 in one of four
    free = sizes_of(None, draws=32, scans=40)
    assert 0.15 < np.mean([size > 4 for size in free]) < 0.35
    kept = sizes_of(DrawBound(4, Head().rule), draws=32, scans=40)
    assert max(kept) == 4
    # a draw that keeps the bound stays what it was
    assert all(a == b for a, b in zip(free, kept, strict=True) if a <= 4)


def test_where_no_draw_keeps_the_bound_it_goes_towards_the_mean():
    def always(network, image):
        planes = torch.full((6, *image.shape[1:]), -30.0)
        planes[0], planes[1], planes[4] = 0, 1, 0  # the mean marks everything
        planes[5] = 0
        return planes

    source = StochasticSource(
        [torch.nn.Identity],
        1,
        lambda z: head_probabilities(z, Head()),
        draws=2,
        bound=DrawBound(3, Head().rule),
    )
    drawn = [sample.argmax(0) for sample in source.samples(torch.zeros(1, 4, 4, 4), always)]
    assert all(bool((mask == 1).all()) for mask in drawn)  # the mean is not judged


def test_of_slices_the_fullest_is_judged():
    probs = torch.zeros(2, 4, 4, 3)
    probs[0] = 1
    probs[:, :2, 0, 0], probs[:, :2, 0, 1] = (torch.tensor([[0.0], [1.0]]) for _ in range(2))
    assert DrawBound(2, Head().rule, by_slice=True).holds(probs)  # 2 voxels in each of two slices
    assert not DrawBound(1, Head().rule, by_slice=True).holds(probs)
    assert not DrawBound(3, Head().rule).holds(probs)  # 4 in all


def test_the_limit_of_a_model_reaches_its_draws():
    limited = replace(SPEC, head=Head(rank=2, largest=40))
    assert Predictor(version_of(limited)).source.bound == DrawBound(40, limited.head.rule)
    flat = replace(
        limited, spatial_dims=2, patch=(16, 16), spacing=None, network={**TINY_NETWORK, "spatial_dims": 2}
    )
    assert Predictor(version_of(flat)).source.bound == DrawBound(40, flat.head.rule, by_slice=True)
    assert Predictor(version_of(SPEC)).source.bound is None


def test_draws_of_nested_structures_are_thresholded_like_the_mean():
    # one factor moves both structures up and down, the whole scan at once
    def channels(network, image):
        planes = torch.zeros(6, *image.shape[1:])  # two means, two logarithms of variances, two factors
        planes[1], planes[2:4], planes[4:6] = -1.0, -30, 8.0
        return planes

    head = Head("sigmoid", (1, 2), (0.3, 0.7), rank=1, structures="nested")
    source = StochasticSource([torch.nn.Identity], 1, lambda z: head_probabilities(z, head), draws=32)
    scan = make_blob((6, 5, 4))
    drawn = [head.rule.labels(p) for p in source.samples(torch.zeros(1, 6, 5, 4), channels)]
    assert {value for mask in drawn for value in mask.unique().tolist()} == {0, 1, 2}
    fixed = FixedSource(*(lambda _, p=p: p for p in source.samples(torch.zeros(1, 6, 5, 4), channels)))
    got = Predictor(version_of(spec_of(head=head, spacing=None)), source=fixed).predict_scan(scan)
    assert got.samples.voxels == tuple(sorted(int((mask > 0).sum()) for mask in drawn))
    share = sum((mask > 0).double() for mask in drawn) / len(drawn)
    np.testing.assert_allclose(got.samples.share, share, atol=1e-6)  # float32
    # a draw that shows the core holds the ball as well: its volume reaches from nothing to all
    assert [s.volume_range_ml for s in got.structures] == [pytest.approx((0, 0.12))] * 2
    assert np.array_equal(got.mask, head.rule.labels(torch.from_numpy(got.probs)).numpy())


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
