"""Scans in which a structure is small or missed: what a score of doubt should notice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segtrust.errors import SettingError
from segtrust.inference.nnunet import NnunetSource
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan
from segtrust.inference.sources import SampleSource, Slide

__all__ = ["HARDSHIPS", "Hardship", "HidingSource"]

Kind = Literal["shrunk", "erased", "missed", "missed by most"]
HARDSHIPS: tuple[Kind, ...] = get_args(Kind)
"""What may be hard about a scan."""

T = TypeVar("T", bound=np.generic)

_SCALE = 0.6
_RIM = 1  # voxels around a structure that are erased with it
_BLUR = 1.5
_LEFT = 1e-3


@dataclass(frozen=True)
class Hardship:
    """One way in which structure ``value`` of a scan is hard; ``axes`` of space are those that may shrink.

    ``shrunk``: image and labels at 0.6 of their size, around them the edge goes on. ``erased``: the image
    in and around the structure is filled from what surrounds it, and its label stays. ``missed``: every
    sample loses its probability to the background but for a thousandth; ``missed by most``: every sample but
    the first.
    """

    kind: Kind
    value: int
    axes: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        if self.kind not in HARDSHIPS:
            raise SettingError(f"a scan is hard by {', '.join(HARDSHIPS)}, got {self.kind!r}.")

    def __str__(self) -> str:
        return f"{self.kind.replace(' ', '_')}-{self.value}"

    def of(self, scan: Scan, labels: Tensor) -> tuple[Scan, Tensor]:
        """The scan and its labels under this hardship.

        Args:
            scan: the scan.
            labels: reference, ``(X, Y, Z)``.

        Returns:
            New ones of the same shape; the same ones for ``missed``, where the members change.
        """
        if self.kind == "shrunk":
            small = [_shrink(channel, self.axes, order=1) for channel in scan.data.numpy()]
            return (
                replace(scan, data=torch.from_numpy(np.stack(small))),
                torch.from_numpy(_shrink(labels.numpy(), self.axes, order=0)),
            )
        if self.kind == "erased":
            region = ndimage.binary_dilation(labels.numpy() == self.value, iterations=_RIM)
            filled = [_fill(channel, region) for channel in scan.data.numpy()]
            return replace(scan, data=torch.from_numpy(np.stack(filled))), labels
        return scan, labels

    def judge(self, predictor: Predictor) -> Predictor:
        """Who predicts the scan: the same members, some of which miss the structure."""
        if self.kind not in ("missed", "missed by most"):
            return predictor
        members = predictor.source
        assert not isinstance(members, NnunetSource)  # those here are of our own networks
        source = HidingSource(members, self.value, spared=int(self.kind == "missed by most"))
        return Predictor(predictor.version, source=source, calibrator=predictor.calibrator)


@dataclass(frozen=True)
class HidingSource:
    """Samples of a softmax head that lose a structure to the background; the first ``spared`` keep it."""

    source: SampleSource
    value: int
    spared: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield the samples."""
        for index, sample in enumerate(self.source.samples(image, slide)):
            if index >= self.spared:
                lost = sample[self.value] * (1 - _LEFT)
                sample[0] += lost
                sample[self.value] -= lost
            yield sample


def _shrink(values: NDArray[T], axes: Sequence[int], *, order: int) -> NDArray[T]:
    """The middle of a volume at a smaller size; its edge goes on around it, labels are 0 there."""
    stretch = np.array([1 / _SCALE if axis in axes else 1.0 for axis in range(values.ndim)])
    middle = (np.array(values.shape) - 1) / 2
    mode = "nearest" if order else "constant"
    moved: NDArray[T] = ndimage.affine_transform(
        values, stretch, offset=middle * (1 - stretch), order=order, mode=mode
    )
    return moved


def _fill(values: NDArray[np.float32], region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A volume with a region filled by the nearest values outside it, smoothed."""
    if not region.any() or region.all():
        return values
    nearest = ndimage.distance_transform_edt(region, return_distances=False, return_indices=True)
    flat = values[tuple(nearest)]
    return np.where(region, ndimage.gaussian_filter(flat, _BLUR), values).astype(np.float32)
