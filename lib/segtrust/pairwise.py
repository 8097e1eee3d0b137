"""How far samples agree, pair by pair: one bit per voxel, structure and sample until pairs are counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["SampleBits"]

_VOXELS = (
    1 << 22
)  # of all samples together that are unpacked at a time; below 2^24, where float32 counts stop

Box = tuple[slice, ...]
Bits = tuple[Box, NDArray[np.uint8]]


class SampleBits:
    """Masks of samples that come one at a time, packed to bits inside the box of each structure.

    Takes one bit per voxel of the box of a sample's own structure, so that 50 samples of a structure take as
    much as six label maps of its box, whatever the size of the scan.

    Args:
        n_structures: N; labels above it are refused by nobody and counted nowhere.

    Example:
        >>> bits = SampleBits(1).add(np.array([1, 1, 0])).add(np.array([0, 1, 1])).add(np.array([1, 1, 0]))
        >>> bits.dice().round(4).tolist()  # (1/2 + 1/2 + 1) / 3
        [0.6667]
    """

    def __init__(self, n_structures: int) -> None:
        self._masks: tuple[list[Bits | None], ...] = tuple([] for _ in range(n_structures))

    def add(self, labels: NDArray[np.integer[Any]]) -> "SampleBits":
        """Take the labels of one sample; they may be changed afterwards.

        Args:
            labels: ``(*spatial)``, 0 = background, the same grid each time.

        Returns:
            Itself.
        """
        boxes: Sequence[Box | None] = ndimage.find_objects(labels, max_label=len(self._masks))
        for value, (masks, box) in enumerate(zip(self._masks, boxes, strict=True), start=1):
            masks.append(None if box is None else (box, np.packbits(labels[box] == value)))
        return self

    def add_sets(self, sets: NDArray[np.bool_]) -> "SampleBits":
        """Take the structures of one sample, which may overlap; they may be changed afterwards.

        Args:
            sets: voxels of each structure, ``(N, *spatial)``, the same grid each time.

        Returns:
            Itself.
        """
        for masks, held in zip(self._masks, sets, strict=True):
            boxes: Sequence[Box] = ndimage.find_objects(held.astype(np.uint8))
            masks.append((boxes[0], np.packbits(held[boxes[0]])) if boxes else None)
        return self

    @property
    def nbytes(self) -> int:
        """Bytes that the masks take."""
        return sum(mask[1].nbytes for masks in self._masks for mask in masks if mask is not None)

    def dice(self) -> NDArray[np.float64]:
        r"""Mean over pairs of samples of the Dice between their masks, one number per structure; high: agree.

        .. math:: \frac{1}{|P_k|} \sum_{(i, j) \in P_k} \frac{2 |A_i \cap A_j|}{|A_i| + |A_j|}

        ``P_k`` are the pairs of which at least one has structure k; a pair of which neither has it says
        nothing about where it is and is left out, as
        :func:`segtrust.metrics.overlap.dice_per_structure` does. If one of five samples has it and four miss
        it, the mean is 0.

        Returns:
            ``(N,)``, unitless, in [0, 1]; NaN with fewer than two samples and where no sample has the
            structure. Peak memory: the bits once more, in the box of all samples, and 20 MB.

        Source:
            Roy et al. 2019, "Bayesian QuickNAT" (Dice agreement of samples: mean over all pairs).
        """
        return np.array([_mean_dice(masks) for masks in self._masks], dtype=np.float64)


def _mean_dice(masks: Sequence[Bits | None]) -> float:
    overlaps = _overlaps([mask for mask in masks if mask is not None])
    present, missing = len(overlaps), len(masks) - len(overlaps)
    pairs = present * (present - 1) // 2 + present * missing  # missing against present: Dice 0
    if not pairs:
        return float("nan")
    sizes = np.diag(overlaps)
    one, two = np.triu_indices(present, 1)
    return float((2 * overlaps[one, two] / (sizes[one] + sizes[two])).sum() / pairs)


def _overlaps(masks: Sequence[Bits]) -> NDArray[np.int64]:
    """Voxels that each two masks share, ``(n, n)``; their own sizes on the diagonal."""
    counts = np.zeros((len(masks), len(masks)), dtype=np.int64)
    if not masks:
        return counts
    union = _union([box for box, _ in masks])
    rows = np.stack([_moved(mask, union) for mask in masks])
    step = max(1, _VOXELS // (8 * len(masks)))
    for start in range(0, rows.shape[1], step):
        part = np.unpackbits(rows[:, start : start + step], axis=1).astype(np.float32)
        counts += np.rint(part @ part.T).astype(np.int64)
    return counts


def _union(boxes: Sequence[Box]) -> Box:
    return tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True)
    )


def _moved(mask: Bits, union: Box) -> NDArray[np.uint8]:
    """The bits of a mask in a larger box."""
    box, bits = mask
    inside = np.unpackbits(bits, count=int(np.prod([s.stop - s.start for s in box])))
    whole = np.zeros([s.stop - s.start for s in union], dtype=np.uint8)
    at = tuple(slice(b.start - u.start, b.stop - u.start) for b, u in zip(box, union, strict=True))
    whole[at] = inside.reshape([s.stop - s.start for s in box])
    return np.packbits(whole)
