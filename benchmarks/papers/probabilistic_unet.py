"""A network of the kind of the Probabilistic U-Net (Kohl et al. 2018): a code per scan, drawn from a prior.

For comparison only. A prior network sees the image, a posterior network image and label; a code drawn from
one of them joins the features of the backbone before three 1 x 1 convolutions.
"""

import copy
import math
from collections.abc import Iterator

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name

__all__ = ["ProbabilisticUNet", "foreground", "train"]

CODE = 6


def foreground(logits: Tensor) -> Tensor:
    """Where the second of two classes is the likelier; ``argmax`` over two takes fifty times as long."""
    return logits[:, 1] > logits[:, 0]


class _Encoder(nn.Module):
    """Mean and log-variance of a code, from an image or an image with its label."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for width in (8, 16, 32, 32):
            steps += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.steps, self.last = nn.Sequential(*steps), nn.Linear(channels, 2 * CODE)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.last(self.steps(planes).mean(dim=(2, 3))).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)


class ProbabilisticUNet(nn.Module):
    """Backbone, prior and posterior.

    Args:
        backbone: arguments of MONAI's ``BasicUNet``; its output counts as features.
        features: output channels of the backbone.
    """

    def __init__(self, backbone: dict[str, object], features: int = 8) -> None:
        super().__init__()
        self.backbone = BasicUNet(**{**backbone, "out_channels": features})
        self.prior, self.posterior = _Encoder(1), _Encoder(2)
        self.join = nn.Sequential(
            nn.Conv2d(features + CODE, features, 1),
            nn.ReLU(),
            nn.Conv2d(features, features, 1),
            nn.ReLU(),
            nn.Conv2d(features, 2, 1),
        )

    def decode(self, features: Tensor, code: Tensor) -> Tensor:
        """Logits for one code per scan."""
        spread = code[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.join(torch.cat([torch.relu(features), spread], dim=1))

    def loss(self, images: Tensor, labels: Tensor, beta: float) -> Tensor:
        """Negative evidence lower bound, nats per pixel: the KL divergence has the weight ``beta``."""
        prior, posterior = self.prior(images), self.posterior(torch.cat([images, labels[:, None].float()], 1))
        code = posterior[0] + torch.exp(posterior[1] / 2) * torch.randn_like(posterior[0])
        nll = F.cross_entropy(self.decode(self.backbone(images), code), labels, reduction="sum")
        ratio = (posterior[1] - prior[1]).exp() + (posterior[0] - prior[0]).square() / prior[1].exp()
        divergence = (ratio - 1 + prior[1] - posterior[1]).sum() / 2
        return (nll + beta * divergence) / labels.numel()

    def draws(self, images: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Masks of all images ``(B, *spatial)``, draw after draw without end."""
        features, (mean, log_variance) = self.backbone(images), self.prior(images)
        while True:
            code = mean + torch.exp(log_variance / 2) * torch.randn(mean.shape, generator=generator)
            yield foreground(self.decode(features, code))


def train(
    model: ProbabilisticUNet,
    batches: Iterator[tuple[Tensor, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    average: float,
    beta: float,
) -> nn.Module:
    """Optimiser, schedule and average of segtrust's training loop, with the bound as loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-4)
    warm = max(1, int(0.03 * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, s / steps))))
    )
    kept = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(average), use_buffers=True
    )
    model.train()
    for images, labels in batches:
        optimiser.zero_grad(set_to_none=True)
        model.loss(images, labels, beta).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 12.0)
        optimiser.step()
        schedule.step()
        kept.update_parameters(model)
    return copy.deepcopy(kept.module).eval()
