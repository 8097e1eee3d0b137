"""Whole masks that a stochastic model finds plausible: a few of them by size, and how far all agree."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["AGREEMENT_EDGES", "PERCENTILES", "SampleMasks"]

PERCENTILES = (10, 30, 50, 70, 90)
"""Of the foreground's size among samples that mark something: the masks that are shown, small to large."""

AGREEMENT_EDGES = (0.25, 0.5, 0.75)
"""Upper edges of the levels of agreement but the last; a share equal to an edge is in the level below."""


@dataclass(frozen=True)
class SampleMasks:
    """Masks of the samples of one scan.

    Args:
        masks: one mask per entry of :data:`PERCENTILES`, ``(5, X, Y, Z)`` uint8, values 0..N.
        share: share of all samples in which a voxel belongs to any structure, ``(X, Y, Z)`` float32.
        voxels: foreground voxels of every sample, rising.
    """

    masks: NDArray[np.uint8]
    share: NDArray[np.float32]
    voxels: tuple[int, ...]

    @classmethod
    def of(cls, drawn: NDArray[np.uint8]) -> Self:
        """Order samples by the size of their foreground and keep a few.

        Args:
            drawn: masks of all samples, ``(S, X, Y, Z)``.

        Returns:
            The masks at the percentiles, lower of two neighbours, and the share over all samples. Percentiles
            are those of samples that mark something: that others mark nothing is said by ``voxels``, and an
            empty mask has no place to start from. If all are empty, so are the masks.

        Note:
            10th, 50th and 90th percentile masks are three ways to start a label from.
        """
        sizes = np.array([np.count_nonzero(mask) for mask in drawn])
        order = np.argsort(sizes, kind="stable")
        marking = order[sizes[order] > 0] if sizes.any() else order
        places = [int(percent / 100 * (len(marking) - 1)) for percent in PERCENTILES]
        return cls(
            masks=drawn[marking[places]],
            share=(np.count_nonzero(drawn, axis=0) / len(drawn)).astype(np.float32),
            voxels=tuple(sizes[order].tolist()),
        )

    def levels(self) -> NDArray[np.uint8]:
        """Agreement as a label map: 0 where no sample has a structure, then 1..4 for rising shares.

        Returns:
            ``(X, Y, Z)`` uint8.
        """
        edges = np.asarray(AGREEMENT_EDGES, dtype=np.float32)
        level = np.digitize(self.share, edges, right=True).astype(np.uint8) + np.uint8(1)
        return np.where(self.share > 0, level, np.uint8(0))
