"""The oracle: it alone knows the labels of the pool, gives one when a scan is opened, and counts the cost."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from segtrust.inference.scan import read_labels
from segtrust.simulate.folder import CORRUPTED, ReplayFolder
from segtrust.training.cases import LabelledFiles

__all__ = ["Cost", "Effort", "Oracle", "total_cost"]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Minutes that an annotator is assumed to need: to open a scan, and to outline one slice of it.

    These are assumptions, no measurements; put your own.
    """

    scan: float = 1.0
    slice: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What labelling took: scans opened, slices with foreground, foreground voxels, minutes estimated."""

    scans: int = 0
    slices: int = 0
    foreground_voxels: int = 0
    minutes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def to_json(self) -> dict[str, float]:
        """Plain numbers."""
        return asdict(self)


def total_cost(costs: Iterable[Cost]) -> Cost:
    """Add costs; of none the cost of nothing."""
    return sum(costs, Cost())


class Oracle:
    """Labels scans of the pool when asked; a corrupted scan is opened, costs a minute and gets no label.

    Args:
        folder: the labelled folder.
        effort: minutes per scan and slice.
    """

    def __init__(self, folder: ReplayFolder, effort: Effort) -> None:
        self._folder, self._effort = folder, effort

    def label(self, scan_id: str) -> LabelledFiles | None:
        """The scan with its label, or ``None`` if nobody could label it."""
        return None if self._is_corrupted(scan_id) else self._folder.files(scan_id)

    def cost(self, scan_id: str) -> Cost:
        """What opening and labelling one scan takes; slices are counted along the third axis of the file."""
        if self._is_corrupted(scan_id):
            return Cost(scans=1, minutes=self._effort.scan)
        values, _ = read_labels(self._folder.files(scan_id).label)
        inside = values.numpy() > 0
        slices = int(np.count_nonzero(inside.any(axis=(0, 1))))
        minutes = self._effort.scan + slices * self._effort.slice
        return Cost(scans=1, slices=slices, foreground_voxels=int(np.count_nonzero(inside)), minutes=minutes)

    def _is_corrupted(self, scan_id: str) -> bool:
        return self._folder.junk.get(scan_id) == CORRUPTED
