"""Likelihood of a stochastic segmentation network, with an exact gradient in memory that does not grow."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust.errors import SettingError
from segtrust.losses._voxels import in_full_precision, voxels_of
from segtrust.losses.specification import LossSum
from segtrust.stochastic import LogitDistribution, Noise, draw_noise, sample_logits
from segtrust.uncertainty import HeadKind

__all__ = ["StochasticLoss", "stochastic_nll"]

_NEGLIGIBLE = 1e-6  # share of a draw below which it is left out of the gradient


@in_full_precision
def stochastic_nll(
    channels: Tensor,
    labels: Tensor,
    *,
    rank: int,
    samples: int = 20,
    head: HeadKind = "softmax",
    ignore: int | None = None,
) -> Tensor:
    r"""Negative log-likelihood of whole label maps under a low-rank Gaussian over logits; low is good.

    .. math:: L = -\frac1{BV} \sum_b \left[ \ln \sum_s e^{\ell_{bs}} - \ln S \right], \qquad
              \ell_{bs} = \sum_i \ln p(y_{bi} \mid \eta_{bi}^{(s)})

    Draws come in pairs of opposite noise. All are judged without a graph first; then those that carry weight
    are drawn again and their gradients added up, so that memory does not grow with S. From a few thousand
    voxels on, one or two draws carry all the weight.

    Args:
        channels: ``(B, K (2 + R), *spatial)``, see :class:`segtrust.stochastic.LogitDistribution`.
        labels: integers ``(B, *spatial)``, see :func:`segtrust.losses.cross_entropy`.
        rank: R.
        samples: S, even.
        head: ``softmax``, or ``sigmoid`` for one yes-or-no question per structure.
        ignore: label of voxels that do not count; ``None``: all count.

    Returns:
        Scalar, nats per voxel: the sum over a scan's voxels stands inside the exponential, the division
        outside. Seeds come from torch's global generator.

    Raises:
        ShapeError: if the shapes do not fit.
        SettingError: if ``samples`` is odd or below 2.

    Source:
        Monteiro et al. 2020, equation 5 and appendix A; the two passes are ours.
    """
    if samples < 2 or samples % 2:
        raise SettingError(f"`samples` must be even and at least 2, got {samples}.")
    distribution = LogitDistribution.from_channels(channels, rank)
    seeds = torch.randint(2**62, (samples // 2,)).tolist()
    loss: Tensor = _TwoPass.apply(
        distribution.mean, distribution.log_variance, distribution.factors, labels, seeds, head, ignore
    )
    return loss


class _TwoPass(torch.autograd.Function):
    """The gradient is computed together with the value: it needs the same draws."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's own
        mean: Tensor,
        log_variance: Tensor,
        factors: Tensor,
        labels: Tensor,
        seeds: list[int],
        head: HeadKind,
        ignore: int | None,
    ) -> Tensor:
        distribution = LogitDistribution(mean, log_variance, factors)
        likelihoods = torch.stack(
            [
                _log_likelihood(sample_logits(distribution, each), labels, head, ignore)
                for seed in seeds
                for each in _pair(distribution, seed)
            ]
        )  # (S, B), float64
        size = labels.numel()
        value = likelihoods.new_tensor(len(likelihoods)).log() - likelihoods.logsumexp(dim=0)
        if any(ctx.needs_input_grad):
            weights = likelihoods.softmax(dim=0) / size
            ctx.save_for_backward(*_gradient(distribution, labels, seeds, weights, head, ignore))
        return (value.sum() / size).to(mean.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        mean, log_variance, factors = ctx.saved_tensors
        (outer,) = grads
        return outer * mean, outer * log_variance, outer * factors, None, None, None, None


def _pair(distribution: LogitDistribution, seed: int) -> tuple[Noise, Noise]:
    noise = draw_noise(distribution, seed)
    return noise, noise.mirrored()


def _log_likelihood(logits: Tensor, labels: Tensor, head: HeadKind, ignore: int | None) -> Tensor:
    """Sum over the voxels of each scan, ``(B,)`` float64."""
    voxels = voxels_of(logits, labels, head=head, ignore=ignore)
    nll = F.cross_entropy(voxels.logits, voxels.labels, reduction="none")
    if voxels.valid is not None:
        nll = nll * voxels.valid
    return -nll.reshape(len(logits), -1).sum(dim=1, dtype=torch.float64)


def _gradient(
    distribution: LogitDistribution,
    labels: Tensor,
    seeds: list[int],
    weights: Tensor,
    head: HeadKind,
    ignore: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Second pass: slopes of the loss in means, log-variances and factors, of scans and draws that count."""
    mean, log_variance, factors = (
        torch.zeros_like(part, memory_format=torch.contiguous_format)
        for part in (distribution.mean, distribution.log_variance, distribution.factors)
    )
    counts = weights * labels.numel() > _NEGLIGIBLE
    spread = distribution.log_variance.mul(0.5).exp()
    axes = (1,) * (mean.ndim - 1)
    for pair, seed in enumerate(seeds):
        if not counts[2 * pair : 2 * pair + 2].any():
            continue
        for draw, noise in enumerate(_pair(distribution, seed), start=2 * pair):
            rows = counts[draw].nonzero().flatten()
            if not len(rows):
                continue
            part = LogitDistribution(*(t[rows] for t in vars(distribution).values()))
            own = Noise(noise.factors[rows], noise.voxels[rows])
            with torch.enable_grad():
                logits = sample_logits(part, own).requires_grad_()
                likelihood = _log_likelihood(logits, labels[rows], head, ignore)
                (slope,) = torch.autograd.grad(-(likelihood * weights[draw, rows]).sum(), logits)
            mean[rows] += slope
            log_variance[rows] += slope * own.voxels * spread[rows] / 2
            factors[rows] += slope.unsqueeze(1) * own.factors.view(*own.factors.shape, *axes)
    return mean, log_variance, factors


@dataclass(frozen=True)
class StochasticLoss:
    """What a training run of a stochastic network minimises: first a loss of the mean alone, then the NLL.

    Args:
        rank: R of the network's head.
        start: loss of the mean logits; the variance learns nothing meanwhile.
        share: share of the training that ``start`` gets.
        samples: draws per scan.

    Source:
        Monteiro et al. 2020, appendix (mean first); a share of the run as in ValUES (Kahl et al. 2024).
    """

    rank: int
    start: LossSum
    share: float = 0.3
    samples: int = 20

    def __call__(
        self,
        channels: Tensor,
        labels: Tensor,
        *,
        progress: float = 1.0,
        head: HeadKind = "softmax",
        ignore: int | None = None,
    ) -> Tensor:
        """The loss at a moment of the training; low is good.

        Args:
            channels: output of the network, see :func:`stochastic_nll`.
            labels: integers ``(B, *spatial)``.
            progress: share of the training that is done, 0 to 1.
            head: ``softmax`` or ``sigmoid``.
            ignore: label of voxels that do not count.

        Returns:
            Scalar, float32.

        Raises:
            ShapeError: if the shapes do not fit.
            ProbabilityError: if a label is outside the range.
        """
        if progress < self.share:
            mean = LogitDistribution.from_channels(channels, self.rank).mean
            return self.start(mean, labels, progress=progress, head=head, ignore=ignore)
        return stochastic_nll(
            channels, labels, rank=self.rank, samples=self.samples, head=head, ignore=ignore
        )
