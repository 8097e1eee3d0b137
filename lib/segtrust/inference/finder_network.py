"""The small U-Net that looks for two structures in a whole head; quick on a CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FinderNetwork", "from_blocks", "to_blocks"]

_BLOCK = 2


class FinderNetwork(nn.Module):
    """A U-Net of four levels on blocks of 2 x 2 x 2 voxels: the finest level has eight times fewer places.

    Args:
        channels: of the four levels.
        classes: output channels.
    """

    def __init__(self, channels: Sequence[int], classes: int = 3) -> None:
        super().__init__()
        first, second, third, fourth = channels
        cell = _BLOCK**3
        self.down1 = _block(cell, first)
        self.down2 = nn.Sequential(_block(first, second, 2), _block(second, second))
        self.down3 = nn.Sequential(_block(second, third, 2), _block(third, third))
        self.down4 = nn.Sequential(_block(third, fourth, 2), _block(fourth, fourth))
        self.up3 = _block(fourth + third, third)
        self.up2 = _block(third + second, second)
        self.up1 = _block(second + first, second)
        self.out = nn.Conv3d(second, classes * cell, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits.

        Args:
            image: ``(B, 1, X, Y, Z)``, sizes even.

        Returns:
            ``(B, classes, X, Y, Z)``.
        """
        one = self.down1(to_blocks(image))
        two = self.down2(one)
        three = self.down3(two)
        up = self.up3(_beside(self.down4(three), three))
        up = self.up2(_beside(up, two))
        return from_blocks(self.out(self.up1(_beside(up, one))))


def to_blocks(image: Tensor) -> Tensor:
    """Each block of 2 x 2 x 2 voxels as one place with eight times as many channels; exact.

    Example:
        >>> to_blocks(torch.arange(8.0).reshape(1, 1, 2, 2, 2)).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    batch, channels, *sizes = image.shape
    x, y, z = (size // _BLOCK for size in sizes)
    cells = image.reshape(batch, channels, x, _BLOCK, y, _BLOCK, z, _BLOCK)
    return cells.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * _BLOCK**3, x, y, z)


def from_blocks(places: Tensor) -> Tensor:
    """What :func:`to_blocks` made, as it was."""
    batch, channels, x, y, z = places.shape
    cells = places.reshape(batch, channels // _BLOCK**3, _BLOCK, _BLOCK, _BLOCK, x, y, z)
    whole = cells.permute(0, 1, 5, 2, 6, 3, 7, 4)
    return whole.reshape(batch, channels // _BLOCK**3, x * _BLOCK, y * _BLOCK, z * _BLOCK)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _beside(coarse: Tensor, fine: Tensor) -> Tensor:
    return torch.cat([functional.interpolate(coarse, size=fine.shape[2:], mode="nearest"), fine], dim=1)
