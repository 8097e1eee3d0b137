"""Which slices of a submitted label somebody looked at, where the client says it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segtrust.errors import SettingError
from segtrust.files import Grid
from segtrust.files.label import read_label_file
from segtrust.slices import review_axis

__all__ = ["reviewed_slices"]


def reviewed_slices(
    params: Mapping[str, Any], label: Path, grid: Callable[[], Grid | None] = lambda: None
) -> tuple[list[int], int] | None:
    """Read what a client sent with a label.

    Args:
        params: its ``reviewed_slices`` is ``"all"``, or a list of numbers from 0 along the axis of the hints.
        label: the file that it sent.
        grid: says where the scan lies, whose slices are meant if the label is stored in another order.

    Returns:
        The slices, and how many the scan has; ``None`` if the client did not say.

    Raises:
        SettingError: if they are not slices of the label.
        ScanError: if the label cannot be read.
    """
    reviewed = params.get("reviewed_slices")
    if reviewed is None:
        return None
    place = grid() or read_label_file(label).grid
    slices = place.shape[review_axis(np.linalg.norm(place.affine[:3, :3], axis=0).tolist())]
    if reviewed == "all":
        return list(range(slices)), slices
    if not isinstance(reviewed, list) or not all(type(n) is int and 0 <= n < slices for n in reviewed):
        raise SettingError(
            f"`reviewed_slices` must be 'all' or a list of whole numbers from 0 to {slices - 1}, "
            f"got {reviewed!r}."
        )
    return reviewed, slices
