"""The low-rank Gaussian over logits: reading channels, drawing, manipulating draws."""

import pytest
import torch

from segtrust.errors import ShapeError
from segtrust.stochastic import LogitDistribution, Noise, draw_noise, n_channels, sample_logits


def distribution_of(mean, variance, factors):
    """A scan of a few logits; ``factors`` R rows of K V numbers in the order of ``mean``."""
    mean, variance = (torch.tensor(v, dtype=torch.float64)[None] for v in (mean, variance))
    factors = torch.tensor(factors, dtype=torch.float64).reshape(1, -1, *mean.shape[1:])
    return LogitDistribution(mean, variance.log(), factors)


SMALL = distribution_of([[0.3, 1.0], [-0.4, 0.0]], [[0.2, 0.1], [0.5, 0.3]], [[1, 2, -0.7, 0], [0, 1, 1, -1]])


def test_channels_are_means_log_variances_and_then_factor_by_factor():
    channels = torch.arange(2.0 * (2 + 3)).view(1, -1, 1).expand(1, 10, 4) / 100
    read = LogitDistribution.from_channels(channels, rank=3)
    assert n_channels(2, 3) == 10
    assert read.mean[0, :, 0].tolist() == pytest.approx([0.00, 0.01])
    assert read.log_variance[0, :, 0].tolist() == pytest.approx([0.02 - 4, 0.03 - 4])
    expected = torch.tensor([[0.04, 0.05], [0.06, 0.07], [0.08, 0.09]])
    torch.testing.assert_close(read.factors[0, :, :, 0], 10 * torch.tanh(0.3 * expected / 10))


def test_no_output_of_a_network_is_an_invalid_distribution():
    channels = torch.full((1, 6, 5), 3e4, dtype=torch.float16)  # exp overflows float16 at 11.1
    read = LogitDistribution.from_channels(channels, rank=1)
    assert read.log_variance.max() == 10
    assert read.factors.max() == 10
    assert torch.isfinite(sample_logits(read, draw_noise(read, 0))).all()


@pytest.mark.parametrize("channels", [7, 2])
def test_a_wrong_number_of_channels_is_refused_with_the_fix(channels):
    with pytest.raises(ShapeError, match=rf"must be K \(2 \+ 2\) for K classes, got {channels}.*n_channels"):
        LogitDistribution.from_channels(torch.zeros(1, channels, 4), rank=2)


def test_draws_have_mean_and_covariance_of_the_gaussian():
    many = 20_000
    wide = LogitDistribution(*(t.expand(many, *t.shape[1:]) for t in vars(SMALL).values()))
    drawn = sample_logits(wide, draw_noise(wide, 1)).flatten(1)
    p = SMALL.factors[0].flatten(1)
    expected = p.T @ p + torch.diag(SMALL.log_variance[0].flatten().exp())
    torch.testing.assert_close(drawn.mean(0), SMALL.mean[0].flatten(), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), expected, atol=0.12, rtol=0)


def test_draws_agree_with_the_distribution_that_torch_has():
    # the log-density that torch computes by Cholesky falls by the same sum of squares for both samplers
    flat = SMALL.mean[0].flatten()
    gaussian = torch.distributions.LowRankMultivariateNormal(
        flat, SMALL.factors[0].flatten(1).T, SMALL.log_variance[0].flatten().exp()
    )
    draws = torch.stack([sample_logits(SMALL, draw_noise(SMALL, s))[0].flatten() for s in range(4000)])
    assert gaussian.log_prob(draws).mean().item() == pytest.approx(-gaussian.entropy().item(), abs=0.08)


def test_the_same_seed_draws_the_same_and_another_does_not():
    a, b, c = (sample_logits(SMALL, draw_noise(SMALL, seed)) for seed in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_draw_and_its_mirror_image_average_to_the_mean():
    noise = draw_noise(SMALL, 3)
    both = sample_logits(SMALL, noise) + sample_logits(SMALL, noise.mirrored())
    torch.testing.assert_close(both / 2, SMALL.mean)


def test_one_number_moves_all_voxels_together():
    # without voxel noise two voxels with equal factors keep their difference in every draw
    flat = distribution_of([[0.0, 2.0]], [[1e-12, 1e-12]], [[1.5, 1.5]])
    draws = torch.stack([sample_logits(flat, draw_noise(flat, seed))[0, 0] for seed in range(50)])
    torch.testing.assert_close(draws[:, 1] - draws[:, 0], torch.full((50,), 2.0).double(), atol=1e-4, rtol=0)
    assert draws[:, 0].std() > 1


def test_temperature_zero_is_the_mean_and_two_goes_twice_as_far():
    noise = draw_noise(SMALL, 0)
    torch.testing.assert_close(sample_logits(SMALL, noise, temperature=0), SMALL.mean)
    once, twice = (sample_logits(SMALL, noise, temperature=t) - SMALL.mean for t in (1, 2))
    torch.testing.assert_close(twice, 2 * once)


def test_a_class_with_weight_zero_stays_at_its_mean():
    moved = sample_logits(SMALL, draw_noise(SMALL, 0), class_weights=torch.tensor([0.0, 1.0]))
    plain = sample_logits(SMALL, draw_noise(SMALL, 0))
    assert torch.equal(moved[:, 0], SMALL.mean[:, 0])
    torch.testing.assert_close(moved[:, 1], plain[:, 1])


def test_factors_are_switched_off_one_by_one():
    # by hand, first logit: 0.3 + 1 * w0 * a0 + 0 * w1 * a1 with w = (2, 5) and no voxel noise
    noise = Noise(torch.tensor([[2.0, 5.0]]).double(), torch.zeros_like(SMALL.mean))
    first = sample_logits(SMALL, noise, factor_weights=torch.tensor([1.0, 0.0]))
    assert first[0, :, 0].tolist() == pytest.approx([0.3 + 2, -0.4 - 0.7 * 2])
    second = sample_logits(SMALL, noise, factor_weights=torch.tensor([0.0, 1.0]))
    assert second[0, :, 0].tolist() == pytest.approx([0.3, -0.4 + 5])


def test_rank_zero_draws_every_voxel_alone():
    alone = LogitDistribution.from_channels(torch.full((4000, 4, 2), 4.0), rank=0)  # variance exp(4 - 4) = 1
    drawn = sample_logits(alone, draw_noise(alone, 0)).flatten(1)
    torch.testing.assert_close(torch.cov(drawn.T), torch.eye(4), atol=0.1, rtol=0)
