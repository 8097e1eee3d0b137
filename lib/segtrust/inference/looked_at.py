"""Which parts of a scan were looked at, where a model is run on boxes inside of it and not on all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOT_LOOKED_AT", "Box", "LookedAt", "Place"]

NOT_LOOKED_AT = -1.0
"""Value of maps where nobody looked; all others lie in [0, 1]."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Place:
    """A box that was looked at: ``name`` of what was looked for, voxels of the file, facts for the answer."""

    name: str
    box: Box
    about: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """First voxel, size in voxels, and the facts."""
        return {
            "name": self.name,
            "first_voxel": [part.start for part in self.box],
            "voxels": [part.stop - part.start for part in self.box],
            **self.about,
        }


@dataclass(frozen=True)
class LookedAt:
    """Boxes of a scan of ``shape`` voxels; outside of them nothing is known."""

    shape: tuple[int, ...]
    places: tuple[Place, ...]

    @property
    def window(self) -> Box:
        """The smallest box that holds all of them; without any, one voxel, so that arrays are never empty."""
        if not self.places:
            return (slice(0, 1), slice(0, 1), slice(0, 1))
        first, second, third = (
            slice(
                min(place.box[axis].start for place in self.places),
                max(place.box[axis].stop for place in self.places),
            )
            for axis in range(3)
        )
        return first, second, third

    def inside(self) -> NDArray[np.bool_]:
        """Voxels that were looked at, ``(X, Y, Z)``."""
        inside = np.zeros(self.shape, dtype=bool)
        for place in self.places:
            inside[place.box] = True
        return inside

    def spread(self, values: NDArray[Any], outside: float) -> NDArray[Any]:
        """Put what is known of the window onto the whole scan.

        Args:
            values: of the voxels of :attr:`window`.
            outside: value of every voxel that was not looked at, also in the window.

        Returns:
            ``(X, Y, Z)`` of the same type.

        Example:
            >>> place = Place("left", (slice(1, 2), slice(0, 1), slice(0, 1)), {})
            >>> LookedAt((3, 1, 1), (place,)).spread(np.full((1, 1, 1), 0.5), -1).ravel().tolist()
            [-1.0, 0.5, -1.0]
        """
        whole = np.full(self.shape, outside, dtype=values.dtype)
        start = [part.start for part in self.window]
        for place in self.places:
            own = tuple(
                slice(part.start - s, part.stop - s) for part, s in zip(place.box, start, strict=True)
            )
            whole[place.box] = values[own]
        return whole
