"""A low-rank Gaussian over all logits of a scan, and draws from it that are coherent over the whole scan.

A stochastic segmentation network has K (2 + R) output channels: K means, K logarithms of variances and R
factors of K channels, so that the last layer of any network with so many channels is its head. Windows are
blended first; then one vector of R numbers per draw moves all voxels of the scan together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from segtrust.errors import ShapeError

__all__ = [
    "LogitDistribution",
    "Noise",
    "content_key",
    "draw_noise",
    "n_channels",
    "sample_logits",
    "seed_of",
]

_LARGEST_LOG_VARIANCE = 10.0
_FIRST_LOG_VARIANCE = -4.0  # of an untrained head: noise of one voxel is small beside what moves all
_LARGEST_FACTOR = 10.0
_FACTOR_SCALE = 0.3


def n_channels(classes: int, rank: int) -> int:
    """Output channels that a network needs.

    Args:
        classes: K.
        rank: R, 0 for voxels that are drawn independently.

    Returns:
        K (2 + R).

    Source:
        Monteiro et al. 2020, section 3.

    Example:
        >>> n_channels(classes=2, rank=10)
        24
    """
    return classes * (2 + rank)


@dataclass(frozen=True)
class LogitDistribution:
    r"""The Gaussian :math:`\eta \sim N(\mu, P P^\top + \mathrm{diag}(D))` over all logits of each scan.

    Args:
        mean: :math:`\mu`, ``(B, K, *spatial)``.
        log_variance: :math:`\ln D`, ``(B, K, *spatial)``.
        factors: P, ``(B, R, K, *spatial)``.
    """

    mean: Tensor
    log_variance: Tensor
    factors: Tensor

    @property
    def rank(self) -> int:
        """R, number of factors."""
        return self.factors.shape[1]

    @classmethod
    def from_channels(cls, channels: Tensor, rank: int) -> Self:
        r"""Read the output of a network, in full precision and within bounds.

        Args:
            channels: ``(B, K (2 + R), *spatial)``: means, logarithms of variances plus 4, factor by factor.
            rank: R.

        Returns:
            The distribution, float32 (float64 if ``channels`` are). :math:`\ln D` is clamped to [-10, 10] and
            factors pass through :math:`10 \tanh(0.3 \cdot / 10)`, so that no output of a network is invalid
            and an untrained network is nearly sure of its mean. The likelihood follows the best draws, which
            lie near the mean wherever the scan is quiet: a variance that starts large there hardly shrinks.

        Raises:
            ShapeError: if the channels cannot be divided that way.

        Source:
            Monteiro et al. 2020, section 3; the bounds are ours, instead of a fallback when a Cholesky fails.
        """
        classes, rest = divmod(channels.shape[1], 2 + rank)
        if rest or not classes:
            raise ShapeError(
                f"`channels` must be K (2 + {rank}) for K classes, got {channels.shape[1]}. Set the output "
                "channels of `network` to segtrust.stochastic.n_channels(K, rank)."
            )
        wide = (channels if channels.dtype == torch.float64 else channels.float()).contiguous()
        mean, log_variance, factors = wide.split((classes, classes, classes * rank), dim=1)
        return cls(
            mean,
            (log_variance + _FIRST_LOG_VARIANCE).clamp(-_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE),
            _LARGEST_FACTOR
            * torch.tanh(
                factors.reshape(len(wide), rank, *mean.shape[1:]) * (_FACTOR_SCALE / _LARGEST_FACTOR)
            ),
        )


class Noise(NamedTuple):
    """Standard normal numbers of one draw: ``factors`` ``(B, R)``, ``voxels`` ``(B, K, *spatial)``."""

    factors: Tensor
    voxels: Tensor

    def mirrored(self) -> "Noise":
        """The antithetic draw: the same noise with the other sign."""
        return Noise(-self.factors, -self.voxels)


def draw_noise(distribution: LogitDistribution, seed: int) -> Noise:
    """Draw the random part of one sample; the same seed draws the same noise.

    Args:
        distribution: gives shapes, number type and device.
        seed: of a generator on the distribution's device.

    Returns:
        Noise for :func:`sample_logits`.
    """
    mean = distribution.mean
    generator = torch.Generator(mean.device).manual_seed(seed)

    def normal(shape: Sequence[int]) -> Tensor:
        return torch.randn(shape, generator=generator, device=mean.device, dtype=mean.dtype)

    return Noise(normal((mean.shape[0], distribution.rank)), normal(mean.shape))


def content_key(image: Tensor) -> str:
    """Name what is in a scan: SHA-256 of the shape and the voxels on the network's grid.

    Args:
        image: ``(C, *grid)``, any number type and device.

    Returns:
        64 hexadecimal digits; the same content has the same key, whatever the file is called.
    """
    digest = hashlib.sha256(f"{image.dtype} {tuple(image.shape)}".encode())
    digest.update(image.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def seed_of(key: str, *numbers: int) -> int:
    """Seed of one draw, for :func:`draw_noise`.

    Args:
        key: of the scan, from :func:`content_key`.
        numbers: which draw.

    Returns:
        Below 2^63; other keys or other numbers have other seeds, up to chance (one in 2^63).
    """
    text = "|".join([key, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def sample_logits(
    distribution: LogitDistribution,
    noise: Noise,
    *,
    temperature: float = 1.0,
    factor_weights: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    r"""Turn noise into logits; no matrix is factorised.

    .. math:: \eta_k = \mu_k + c_k \tau \left(\sum_r P_{rk} a_r w_r + \sqrt{D_k} e_k\right)

    Args:
        distribution: the Gaussian.
        noise: w and e, from :func:`draw_noise`.
        temperature: :math:`\tau \ge 0`; 0 gives the mean, above 1 exaggerates.
        factor_weights: a, ``(R,)``: how much each factor takes part; 1 unless given.
        class_weights: c, ``(K,)``: how much each class leaves its mean, negative for the opposite; 1 unless
            given.

    Returns:
        Logits ``(B, K, *spatial)``, in the distribution's number type.

    Source:
        Monteiro et al. 2020, sections 3 and 5.4 (manipulation of samples).

    Example:
        >>> flat = LogitDistribution(torch.ones(1, 2, 3), torch.zeros(1, 2, 3), torch.ones(1, 1, 2, 3))
        >>> sample_logits(flat, Noise(torch.ones(1, 1), torch.zeros(1, 2, 3)))[0, :, 0]
        tensor([2., 2.])
    """
    shared = noise.factors if factor_weights is None else noise.factors * factor_weights
    moved = distribution.log_variance.mul(0.5).exp() * noise.voxels
    moved += torch.bmm(shared.unsqueeze(1), distribution.factors.flatten(2)).view(moved.shape)
    if class_weights is not None:
        moved *= class_weights.view(1, -1, *(1,) * (moved.ndim - 2))
    return moved.mul_(temperature).add_(distribution.mean)
