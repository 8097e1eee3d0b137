"""Likelihood of whole label maps: against quadrature, against autograd, in bounded memory."""

import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from segtrust.errors import SettingError, ShapeError
from segtrust.losses import StochasticLoss, parse_loss, stochastic_nll
from segtrust.losses import stochastic as module
from segtrust.stochastic import LogitDistribution, draw_noise, sample_logits


def channels_of(mean, variance, factors):
    """Channels ``(1, K (2 + R), V)`` of a given distribution; undoes scale and bound of the factors."""
    factors = 10 * np.arctanh(np.array(factors) / 10) / 0.3
    rows = np.concatenate([np.array(mean), np.log(variance) + 4, factors.reshape(-1, np.shape(mean)[1])])
    return torch.from_numpy(rows)[None]


ONE_VOXEL = channels_of([[0.3], [-0.4]], [[0.2], [0.5]], [[[1.0], [-0.7]]])


def plain(channels, labels, rank, seeds):
    """The formula as it stands, with a graph through every draw."""
    distribution = LogitDistribution.from_channels(channels, rank)
    terms = []
    for seed in seeds:
        noise = draw_noise(distribution, seed)
        for each in (noise, noise.mirrored()):
            logs = torch.log_softmax(sample_logits(distribution, each), dim=1)
            terms.append(logs.gather(1, labels[:, None]).flatten(1).sum(1))
    stacked = torch.stack(terms)
    return -(stacked.logsumexp(0) - math.log(len(terms))).sum() / labels.numel()


def seeds_after(seed, pairs):
    torch.manual_seed(seed)
    seeds = torch.randint(2**62, (pairs,)).tolist()
    torch.manual_seed(seed)
    return seeds


def test_one_voxel_agrees_with_quadrature():
    # difference of the two logits ~ N(-0.7, (-0.7 - 1)^2 + 0.2 + 0.5); acceptance vector 4: .93651
    grid = np.linspace(-12, 12, 20001)
    d = -0.7 + math.sqrt(1.7**2 + 0.7) * grid
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    exact = -math.log(np.sum(density / (1 + np.exp(-d))) * (grid[1] - grid[0]))
    assert exact == pytest.approx(0.93651, abs=1e-5)
    torch.manual_seed(0)
    many = ONE_VOXEL.expand(400, -1, -1)
    labels = torch.ones(400, 1, dtype=torch.long)
    assert stochastic_nll(many, labels, rank=1, samples=200).item() == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_two_passes_give_value_and_gradient_of_plain_autograd(rank):
    generator = torch.Generator().manual_seed(rank)
    channels = torch.randn(3, 3 * (2 + rank), 5, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (3, 5, 4), generator=generator)
    ours, theirs = (channels.clone().requires_grad_() for _ in range(2))
    expected = plain(theirs, labels, rank, seeds_after(7, 5))
    value = stochastic_nll(ours, labels, rank=rank, samples=10)
    torch.testing.assert_close(value, expected)
    (3 * value).backward()
    (3 * expected).backward()
    assert (ours.grad - theirs.grad).norm() / theirs.grad.norm() < 1e-5


def test_draws_without_weight_are_not_drawn_again(monkeypatch):
    # on large maps one draw carries the weight: of 10 pairs of one scan only a few are drawn a second time
    drawn = []
    real = module.draw_noise
    monkeypatch.setattr(module, "draw_noise", lambda d, seed: drawn.append(seed) or real(d, seed))
    torch.manual_seed(0)
    channels = (5 * torch.randn(1, 2 * 4, 64, 64)).requires_grad_()
    labels = (torch.rand(1, 64, 64) < 0.3).long()
    stochastic_nll(channels, labels, rank=2, samples=20)
    assert 11 <= len(drawn) <= 13


def test_memory_kept_for_the_gradient_does_not_grow_with_the_draws():
    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor

    def kept(samples):
        alive = weakref.WeakSet()

        def pack(tensor):
            alive.add(holder := Kept(tensor))
            return holder

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
            channels = torch.zeros(1, 8, 16, 16, requires_grad=True)
            loss = stochastic_nll(channels, torch.zeros(1, 16, 16, dtype=torch.long), rank=2, samples=samples)
        return loss.requires_grad and sum(holder.tensor.numel() for holder in alive)

    assert kept(2) == kept(40)


def test_ignored_voxels_have_neither_value_nor_gradient():
    torch.manual_seed(0)
    channels = torch.randn(1, 6, 4, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[0, 1, 255, 255]])
    stochastic_nll(channels, labels, rank=1, ignore=255).backward()
    assert torch.equal(channels.grad[..., 2:], torch.zeros(1, 6, 2).double())
    assert channels.grad[..., :2].abs().min() > 0


def test_a_sigmoid_head_asks_one_question_per_structure():
    # no noise (log-variance -10): the plain binary cross-entropy of each structure, summed, per voxel
    mean = torch.tensor([[[2.0], [-1.0]]])
    channels = torch.cat([mean, torch.full((1, 2, 1), -30.0)], dim=1)
    value = stochastic_nll(channels, torch.tensor([[1]]), rank=0, head="sigmoid", samples=40)
    by_hand = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))
    assert value.item() == pytest.approx(by_hand, abs=0.01)


@pytest.mark.parametrize("samples", [0, 7])
def test_draws_come_in_pairs(samples):
    with pytest.raises(SettingError, match=f"`samples` must be even and at least 2, got {samples}"):
        stochastic_nll(ONE_VOXEL, torch.ones(1, 1, dtype=torch.long), rank=1, samples=samples)


def test_labels_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"`labels` must be \(B, \*spatial\)"):
        stochastic_nll(ONE_VOXEL, torch.ones(1, 2, dtype=torch.long), rank=1)


def test_the_mean_learns_first_and_alone():
    loss = StochasticLoss(1, parse_loss("ce"), share=0.5)
    channels = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([[0, 1, 1, 0]])
    early = loss(channels, labels, progress=0.49)
    torch.testing.assert_close(early, nn.functional.cross_entropy(channels[:, :2], labels))
    early.backward()
    assert not channels.grad[:, 2:].any()
    channels.grad = None
    loss(channels, labels, progress=0.5).backward()
    assert channels.grad[:, 2:].any()


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "coherent"), [(2, True), (0, False)], ids=["low rank", "diagonal"])
def test_a_toy_that_flips_jointly_is_learnt_by_factors_and_not_without(rank, coherent):
    # 21 voxels, the middle seven flip together. Best possible: ln 1/2 = -0.693; voxel by voxel: 7 ln 1/2 =
    # -4.852. Acceptance vector 4: above -1.0, and -4.852 within .01
    torch.manual_seed(0)
    sizes = {"mean": (2, 21), "log_variance": (2, 21), "direction": (rank, 2, 21), "scale": (rank, 1, 1)}
    p = {k: nn.Parameter(0.1 * torch.randn(s, dtype=torch.float64)) for k, s in sizes.items()}
    labels = torch.zeros(2, 21, dtype=torch.long)
    labels[:, 14:], labels[1, 7:14] = 1, 1  # the two label maps, equally likely
    optimiser = torch.optim.Adam(p.values(), lr=3e-2)

    def channels(with_noise=True):
        norm = p["direction"].flatten(1).norm(dim=1).clamp_min(1e-9).view(-1, 1, 1)
        factors = (p["scale"].exp() * p["direction"] / norm).reshape(-1, 21)
        rows = torch.cat([p["mean"], p["log_variance"], factors])
        return rows.expand(2, -1, -1)

    first, steps = 1500, 1900  # the mean alone is cheap
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: min(1, (steps - s) / (steps - first)))
    for step in range(steps):
        optimiser.zero_grad()
        if step < first:
            loss = nn.functional.cross_entropy(p["mean"].expand(2, -1, -1), labels)
        else:
            loss = stochastic_nll(channels(), labels, rank=rank, samples=20)
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        log_likelihood = -21 * stochastic_nll(channels(), labels, rank=rank, samples=2000).item()
        distribution = LogitDistribution.from_channels(channels()[:1], rank)
        draws = [sample_logits(distribution, draw_noise(distribution, s)).argmax(1)[0] for s in range(300)]
    together = np.mean([bool((d[7:14] == d[7]).all()) for d in draws])
    if coherent:
        assert log_likelihood > -1.0
        assert together > 0.95
    else:
        assert log_likelihood == pytest.approx(-4.852, abs=0.01)
        assert together < 0.2
